"""The recorded lookups of real schedulers, on which the policies are compared."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.policies.catalogue import RECORDED, RECORDED_HELD_BACK
from benchmarks.policies.recorded.files import KEPT, TRACES, as_trace, keep, minutely_working_set, recorded, text_of
from benchmarks.policies.recorded.patterns import PATTERNS
from dagcache import DagCache
from dagcache.traces.reading import read_trace
from dagcache.traces.recording import record
from dagcache.traces.replay import Lookup

NAMES = [pattern.name for pattern in PATTERNS]


def lines_of(name: str) -> list[object]:
    """A kept trace, line by line."""
    return [json.loads(line) for line in text_of(name).splitlines()]


def lookup(at: float, key: str, *, nbytes: int = 100, family: str | None = None, order: float = 0) -> Lookup:
    """One of a value with a load of a second."""
    return Lookup(at, key, nbytes, 0, load_seconds=1.0, thaw_seconds=0.1, family=family, order=order)


def test_each_pattern_has_a_trace_and_each_trace_a_pattern() -> None:
    assert sorted(path.name for path in TRACES.iterdir()) == sorted(f"{name}.jsonl.gz" for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_trace_holds_minutes_of_lookups_that_come_back(name: str) -> None:
    """At least four minutes, in the order of time, and most lookups repeat earlier ones."""
    trace = recorded(name)
    assert trace.times[-1] - trace.times[0] > 240
    assert bool(np.all(np.diff(trace.times) >= 0))
    assert len(trace) > 10 * len(set(trace.keys.tolist())) > 1000
    assert trace.sizes.min() > 0
    assert trace.costs.min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_trace_is_small_and_names_nothing(name: str) -> None:
    """Its ids are numbers, and its header says nothing of the machine or the day."""
    header, *rows, end = lines_of(name)
    assert isinstance(header, dict)
    assert sorted(header) == sorted(KEPT)
    assert header["max_bytes"] == 0
    assert end == {"end": "closed", "lost": 0}
    assert all(isinstance(row, list) and row[1].isdigit() and (len(row) == 4 or row[7].isdigit()) for row in rows)
    assert (TRACES / f"{name}.jsonl.gz").stat().st_size < 150 * 1024


def test_half_of_the_traces_are_held_back() -> None:
    """And none is in both halves."""
    tuning, held_back = ({scenario.name for scenario in half} for half in (RECORDED, RECORDED_HELD_BACK))
    assert len(tuning) == len(held_back) == len(PATTERNS) / 2
    assert tuning.isdisjoint(held_back)


def test_what_is_kept_of_a_trace_can_be_replayed_and_tells_no_names(tmp_path: Path) -> None:
    """Neither keys nor families nor the machine; times, sizes and costs stay."""
    cache: DagCache[str, list[int]] = DagCache(max_bytes=0, version_of=lambda key: ("secret", int(key[-1])))
    with record(cache, tmp_path / "recorded.jsonl", ids="plain"):
        for key in ("secret 1", "secret 2", "secret 1"):
            cache.get_or_load(key, lambda _: [1, 2, 3])
    keep(tmp_path / "recorded.jsonl", tmp_path / "kept", "short")
    text = gzip.decompress((tmp_path / "kept" / "short.jsonl.gz").read_bytes())
    assert b"secret" not in text
    assert b"machine" not in text
    (tmp_path / "again.jsonl").write_bytes(text)
    told, kept = (read_trace(tmp_path / name).lookups for name in ("recorded.jsonl", "again.jsonl"))
    assert [each.key for each in kept] == ["0", "1", "0"]
    assert [(each.at, each.live_bytes, each.load_seconds) for each in kept] == [
        (each.at, each.live_bytes, each.load_seconds) for each in told
    ]


def test_keys_ascend_with_age_within_a_family() -> None:
    trace = as_trace("", [lookup(0, "b", family="f", order=2), lookup(1, "c"), lookup(2, "a", family="f", order=1)])
    newest, alone, oldest = trace.keys.tolist()
    assert newest == oldest + 1
    assert trace.families[0] == trace.families[2] != trace.families[1]
    assert sorted([newest, alone, oldest]) == [0, 1, 2]


def test_a_version_has_the_size_last_told_of_it() -> None:
    """A replay has one size for a key."""
    assert as_trace("", [lookup(0, "a", nbytes=1), lookup(1, "a", nbytes=2)]).sizes.tolist() == [2, 2]


def test_the_working_set_is_what_a_minute_looks_up() -> None:
    """Each version once, and the mean of the whole minutes: the last one, which is not whole, does not count."""
    trace = as_trace(
        "", [lookup(0, "a"), lookup(1, "a"), lookup(2, "b"), lookup(70, "a"), lookup(121, "b"), lookup(122, "c")]
    )
    assert minutely_working_set(trace.times, trace.keys, trace.sizes) == (200 + 100) / 2
