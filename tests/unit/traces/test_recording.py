"""Recording of lookups: writing, reading back, and no effect on lookups."""

from __future__ import annotations

import gc
import gzip
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache import ConfigError, DagCache, Loaded
from dagcache.errors import TraceError
from dagcache.traces import recording as trace_module
from dagcache.traces.reading import Trace, read_trace
from dagcache.traces.recording import Recording, new_file_in, parse_max_bytes, record
from dagcache.traces.replay import replay
from tests.stress.test_threads import in_threads, until
from tests.support import probe
from tests.support.caches import KIB, Weighted, demote_all, fill, make_cache, never
from tests.support.patience import PATIENCE

HEADER = '{"dagcache_trace":2,"cache":"scheduler","max_bytes":0}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a trace goes."""
    return tmp_path / "lookups.jsonl"


def rows(path: Path) -> list[list[Any]]:
    """The rows of a trace, as they are written."""
    return [row for line in path.read_text().splitlines() if isinstance(row := json.loads(line), list)]


def is_active(recording: Recording) -> bool:
    """Whether it is; in words that a type checker does not take for a constant."""
    return recording.active


def written(path: Path, text: str) -> Path:
    """The file, with that text in it."""
    path.write_text(text)
    return path


# ---- what is recorded ----


def test_each_lookup_is_one_row_that_says_where_it_was_served_from(path: Path) -> None:
    """Missed, live by the hit path (noted or not), live under the lock, thawed, absent; in their order."""
    cache, clock = make_cache()
    with record(cache, path):
        fill(cache, ["a", "a"])
        clock.advance(10)
        assert cache["a"] == Weighted("a")
        assert cache.fetch("a").value == Weighted("a")
        demote_all(cache)
        fill(cache, ["a"])
        assert cache.get("b") is None
        assert cache.get_or_load("b", lambda _: None) is None
    assert "".join(row[2] for row in rows(path)) == "mlllfaa"
    assert read_trace(path).tiers == {"live": 3, "frozen": 1, "miss": 1, "absent": 2}


def test_a_row_tells_the_facts_once(path: Path) -> None:
    """Sizes, seconds, family and order; afterwards only what is new."""
    cache, _ = make_cache(version_of=lambda key: ("dag", key))
    probe.time_lookups(cache, iter([1.0, 1.25]).__next__)
    with record(cache, path, ids="plain"):
        fill(cache, [7, 7], nbytes=50 * KIB)
    first, second = rows(path)
    frozen_bytes = cache.stats().frozen_bytes
    assert first[1:] == ["7", "m", 0.25, 50 * KIB, frozen_bytes, 0.25, "dag", 7, 0]
    assert second[1:] == ["7", "l", 0]
    [lookup, again] = read_trace(path).lookups
    assert (lookup.key, lookup.live_bytes, lookup.frozen_bytes) == ("7", 50 * KIB, frozen_bytes)
    assert (lookup.load_seconds, lookup.family, lookup.order) == (0.25, "dag", 7)
    assert again.live_bytes == 50 * KIB


def test_the_bytes_of_the_loaders_records_are_facts(path: Path) -> None:
    """A replay accounts for them."""
    cache, _ = make_cache()
    with record(cache, path):
        cache.get_or_load("a", lambda _: Loaded(Weighted("a"), record_bytes=460))
    assert [lookup.record_bytes for lookup in read_trace(path).lookups] == [460]


def test_a_trace_of_format_1_is_read_without_those_bytes(path: Path) -> None:
    """Each format has its own length of a row with facts."""
    former, row = HEADER.replace("2", "1", 1), '[1,"a","m",0,1000,100,0.5,null,0]\n'
    assert [lookup.record_bytes for lookup in read_trace(written(path, former + row)).lookups] == [0]
    for header, wrong in ((former, row.replace("]", ",0]")), (HEADER, row)):
        with pytest.raises(TraceError, match="line 2: expected a row of 4 or"):
            read_trace(written(path, header + wrong))


def test_facts_are_told_again_when_they_change(path: Path) -> None:
    cache, _ = make_cache()
    with record(cache, path):
        fill(cache, ["a"], nbytes=5 * KIB)
        cache.invalidate("a")
        fill(cache, ["a"], nbytes=6 * KIB)
    assert [lookup.live_bytes for lookup in read_trace(path).lookups] == [5 * KIB, 6 * KIB]


def test_what_is_remembered_of_ids_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it the facts are written again: a longer file, no more memory."""
    monkeypatch.setattr(trace_module, "_MOST_KNOWN", 2)
    cache, _ = make_cache()
    with record(cache, path):
        fill(cache, ["a", "b", "a", "c", "a"])
    assert [len(row) for row in rows(path)] == [10, 10, 4, 10, 10]


def test_a_value_that_was_not_kept_is_recorded_with_its_weight(path: Path) -> None:
    """A replay with a larger budget needs it."""
    cache, _ = make_cache(max_bytes=50 * KIB, frozen=False)
    with record(cache, path):
        fill(cache, ["a"], nbytes=100 * KIB)
    assert len(cache) == 0
    assert [lookup.live_bytes for lookup in read_trace(path).lookups] == [100 * KIB]


def test_a_load_that_fails_is_recorded_as_absent(path: Path) -> None:
    """And its error passes."""
    cache, _ = make_cache()
    with record(cache, path), pytest.raises(ZeroDivisionError):
        cache.get_or_load("a", lambda _: 1 / 0)
    assert [row[2] for row in rows(path)] == ["a"]


def test_those_who_wait_for_a_load_are_recorded_too(path: Path) -> None:
    """Each as a miss of the loaded value, or as absent if its own load failed."""
    cache, _ = make_cache()
    loads: list[str] = []

    def loader(key: str) -> Weighted:
        loads.append(key)
        if loads.count(key) == 1:
            until(lambda: probe.waiting_threads(cache) == 2)
        if key == "bad":
            raise ZeroDivisionError
        return Weighted(key)

    with record(cache, path, ids="plain"):
        for key in ("good", "bad"):
            in_threads(3, lambda _, key=key: cache.get_or_load(key, loader))  # type: ignore[misc]
    assert [(row[1], row[2]) for row in rows(path)] == [("good", "m")] * 3 + [("bad", "a")] * 3
    assert {lookup.live_bytes for lookup in read_trace(path).lookups} == {100 * KIB}


def test_a_subclass_with_lookups_of_its_own_is_recorded_too(path: Path) -> None:
    """It has no hit path."""

    class Own(DagCache[str, Weighted]):
        def get(self, key: str, default: Any = None) -> Any:
            """As the cache's."""
            return super().get(key, default)

    cache = Own(max_bytes=0)
    with record(cache, path):
        fill(cache, ["a", "a"])
        assert cache.get("a") == Weighted("a")
    assert [row[2] for row in rows(path)] == ["m", "l", "l"]


def test_the_counts_stay_exact_and_the_hit_path_comes_back(path: Path) -> None:
    """After any number of recordings; later lookups are not recorded."""
    cache, _ = make_cache()
    plain = cache.get.__code__
    for turn in range(3):
        with record(cache, path.with_name(f"{turn}")) as recording:
            fill(cache, ["a"] * 5)
            assert is_active(recording)
        fill(cache, ["a"] * 5)
        assert not is_active(recording)
        assert len(rows(recording.path)) == 5
    stats = cache.stats()
    assert (stats.lookups, stats.hits_live, stats.misses) == (30, 29, 1)
    assert cache.get.__code__ is plain
    cache.check_invariants()


def test_an_expired_entry_is_a_miss_while_lookups_are_recorded(path: Path) -> None:
    """The recorded hit path looks at the time as the plain one does."""
    cache, clock = make_cache(ttl=60)
    with record(cache, path):
        fill(cache, ["a"])
        clock.advance(100)
        fill(cache, ["a"])
    assert [row[2] for row in rows(path)] == ["m", "m"]


def test_a_replay_with_the_recorded_budget_repeats_what_was_recorded(path: Path) -> None:
    """A trace has all inputs of the policy except the values that callers hold. Here no value waits."""
    cache, _ = make_cache(max_bytes=1000 * KIB, breaker=None)
    with record(cache, path):
        for _ in range(5):
            fill(cache, range(30), nbytes=100 * KIB)
    trace = read_trace(path)
    outcome = replay(trace.lookups, 1000 * KIB)
    assert outcome.frozen_hits > 50
    assert (outcome.live_hits, outcome.frozen_hits, outcome.misses) == (
        trace.tiers["live"],
        trace.tiers["frozen"],
        trace.tiers["miss"],
    )


# ---- names ----


def test_a_trace_names_nothing_and_no_two_can_be_brought_together(path: Path) -> None:
    """Neither keys nor families."""
    cache, _ = make_cache(version_of=lambda key: ("payroll", 1))
    ids = set()
    for turn in range(2):
        cache.clear()
        with record(cache, path.with_name(f"{turn}")) as recording:
            fill(cache, ["secret version"])
        assert "payroll" not in recording.path.read_text()
        assert "secret" not in recording.path.read_text()
        ids.add(rows(recording.path)[0][1])
    assert len(ids) == 2


def test_a_key_that_cannot_be_shown_has_an_id(path: Path) -> None:
    """One and the same."""

    class Shy:
        def __str__(self) -> str:
            raise ValueError

    cache, _ = make_cache()
    with record(cache, path):
        fill(cache, [Shy()] * 2)
    assert len({row[1] for row in rows(path)}) == 1


def test_the_header_says_what_the_cache_was_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the versions and the machine's properties, and without names of machines and users."""
    monkeypatch.setattr(trace_module, "own_version", lambda: "0.9.9")
    cache, _ = make_cache(max_bytes="25%", memory_limit="1GiB", workers=2, ttl=60, name="api_server")
    with record(cache, path):
        pass
    header = dict(read_trace(path).header)
    assert (header["cache"], header["max_bytes"], header["ttl"]) == ("api_server", 2**30 // 8, 60)
    assert (header["memory_limit"], header["memory_source"], header["workers"]) == (2**30, "config", 2)
    assert (header["ids"], header["dagcache"]) == ("hashed", "0.9.9")
    assert os.uname().nodename not in path.read_text()


# ---- bounds and failures ----


def test_only_its_owner_may_read_a_trace(path: Path) -> None:
    cache, _ = make_cache()
    before = os.umask(0)
    try:
        record(cache, path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_left_alone(path: Path) -> None:
    """An old trace is not overwritten, and a link cannot redirect the writer."""
    cache, _ = make_cache()
    path.write_text("precious")
    link = path.with_name("link")
    link.symlink_to(path.with_name("elsewhere"))
    for taken in (path, link):
        with pytest.raises(FileExistsError):
            record(cache, taken)
    assert path.read_text() == "precious"
    assert not probe.is_watched(cache)


def test_a_cache_has_one_recording_at_a_time(path: Path) -> None:
    """The second one leaves no file."""
    cache, _ = make_cache()
    second = path.with_name("second")
    with record(cache, path):
        with pytest.raises(RuntimeError, match="watched already"):
            record(cache, second)
        fill(cache, ["a"])
    assert not second.exists()
    assert len(rows(path)) == 1


def test_closing_an_old_recording_does_not_end_the_new_one(path: Path) -> None:
    """Closing twice is harmless."""
    cache, _ = make_cache()
    old = record(cache, path)
    old.close()
    with record(cache, path.with_name("new")) as new:
        old.close()
        assert new.active
        fill(cache, ["a"])
    assert len(rows(new.path)) == 1


@pytest.mark.parametrize(("value", "expected"), [("64MiB", 64 * KIB * KIB), ("0", 0), (1000, 1000)])
def test_the_bound_is_written_as_other_limits_are(value: object, expected: int) -> None:
    """Bytes, or none."""
    assert parse_max_bytes(value) == expected


@pytest.mark.parametrize("settings", [{"max_bytes": "10%"}, {"max_bytes": "soon"}, {"ids": "secret"}])
def test_garbage_is_refused_before_a_file_is_made(path: Path, settings: dict[str, str]) -> None:
    """The error names the setting."""
    cache, _ = make_cache()
    with pytest.raises(ConfigError, match=next(iter(settings))):
        record(cache, path, **settings)
    assert not path.exists()


def test_a_full_trace_ends_with_one_line_in_the_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is whole, as large as it may be, and lookups go on."""
    cache, _ = make_cache()
    with caplog.at_level(logging.INFO, "dagcache"), record(cache, path, max_bytes=2000) as recording:
        fill(cache, range(50))
        recording._ending.set()
        recording._writer.join(PATIENCE)
        assert not is_active(recording)
        fill(cache, range(50))
    trace = read_trace(path)
    assert trace.ending == "full"
    assert 1700 < path.stat().st_size <= 2000
    assert 5 < len(trace.lookups) < 50
    assert [record.getMessage() for record in caplog.records] == [f"recording ended: trace {path} is full (2.0 KiB)"]


def test_the_writer_writes_while_it_records_and_ends_when_the_file_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_module, "_EVERY_SECONDS", 0.001)
    cache, _ = make_cache()
    recording = record(cache, path, max_bytes=3000)
    fill(cache, ["a"])
    until(lambda: len(rows(path)) == 1)
    assert is_active(recording)
    fill(cache, range(100))
    recording._writer.join(PATIENCE)
    assert not is_active(recording)
    assert read_trace(path).ending == "full"


def test_a_full_disk_costs_a_warning_and_the_recording_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lookups never see it."""
    cache, _ = make_cache()
    recording = record(cache, path)

    def full(_data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording._file, "write", full)
    fill(cache, ["a"])
    recording.close()
    fill(cache, ["a", "a"])
    assert not recording.active
    assert [record.getMessage() for record in caplog.records] == [
        f"recording in {path} failed and ended: No space left on device"
    ]
    assert cache.stats().lookups == 3


def test_a_fault_of_the_recordings_own_ends_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its traceback."""
    cache, _ = make_cache()
    recording = record(cache, path)
    monkeypatch.setattr(recording._format, "row", lambda *_: 1 / 0)
    fill(cache, ["a"])
    recording.close()
    assert "ZeroDivisionError" in caplog.text
    assert not probe.is_watched(cache)


def test_a_disk_that_does_not_keep_up_loses_rows_and_says_how_many(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded."""
    cache, _ = make_cache()
    with record(cache, path) as recording:
        monkeypatch.setattr(trace_module, "_MOST_WAITING", 2)
        fill(cache, range(5))
        assert recording.lost == 3
    assert (read_trace(path).lost, len(read_trace(path).lookups)) == (3, 2)


def test_what_cannot_be_noted_is_lost_and_harms_nobody(path: Path) -> None:
    """The cache calls it in the middle of a lookup."""
    cache, _ = make_cache()
    with record(cache, path) as recording:
        recording._started = None  # type: ignore[assignment]
        cache.get("a")
        assert recording.lost == 1


def test_without_a_thread_there_is_no_recording(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the limit of threads, or at the end of the process."""
    cache, _ = make_cache()

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    recording = record(cache, path)
    assert not recording.active
    assert "could not start a thread" in caplog.text
    recording.close()
    fill(cache, ["a"])
    assert not probe.is_watched(cache)


def test_a_recording_ends_with_its_cache(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds neither the cache nor what is in it; and it is whole."""
    monkeypatch.setattr(trace_module, "_EVERY_SECONDS", 0.01)
    cache = make_cache()[0]
    recording = record(cache, path)
    fill(cache, ["a"])
    del cache
    gc.collect()
    recording._writer.join(PATIENCE)
    assert not recording._writer.is_alive()
    assert (read_trace(path).ending, len(rows(path))) == ("closed", 1)


def test_a_new_file_has_a_name_of_its_own_in_a_directory_that_is_made(tmp_path: Path) -> None:
    """Also for two processes of two containers with one process id, started in one second."""
    directory = tmp_path / "var" / "traces"
    paths = {new_file_in(directory, "scheduler") for _ in range(10)}
    assert len(paths) == 10
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert all(path.parent == directory and path.name.startswith("scheduler-20") for path in paths)


# ---- processes ----


def test_a_childs_recording_is_its_parents(path: Path) -> None:
    """Done here what a forked child sees: neither rows nor the end of the file are the child's to write."""
    cache, _ = make_cache()
    recording = record(cache, path)
    recording._pid += 1
    recording.close()
    assert not recording.active
    assert recording._writer.is_alive()
    recording._pid -= 1
    recording.close()
    assert read_trace(path).ending == "closed"


_FORKS = """
import os, sys
from dagcache import DagCache
from dagcache.traces.recording import record
cache = DagCache(max_bytes="1MiB")
recording = record(cache, sys.argv[1], ids="plain")
cache.get_or_load("parent", str)
child = os.fork()
cache.get_or_load("child" if child == 0 else "parent", str)
assert recording.active == (child != 0)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_does_not_write_and_what_waits_at_exit_is_written(path: Path) -> None:
    """Both processes end normally, without closing anything."""
    command = [sys.executable, "-W", "ignore", "-c", _FORKS, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [(row[1], row[2]) for row in rows(path)] == [("parent", "m"), ("parent", "l")]
    assert read_trace(path).ending == "closed"


def test_a_killed_process_leaves_a_trace_that_can_be_read(path: Path) -> None:
    code = _FORKS.split("child =")[0] + "import time\ntime.sleep(0.8)\nos.kill(os.getpid(), 9)"
    command = [sys.executable, "-c", code, str(path)]
    subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert (read_trace(path).ending, read_trace(path).tiers["miss"]) == ("cut short", 1)


# ---- reading ----


def recorded(path: Path) -> bytes:
    """A short trace of several kinds of rows."""
    cache, _ = make_cache(max_bytes=250 * KIB)
    with record(cache, path):
        fill(cache, [*range(4), *range(4)])
        cache.get("absent")
    return path.read_bytes()


def test_a_last_line_that_was_cut_short_is_left_out(path: Path) -> None:
    """At every byte, all lines before it are read."""
    whole = recorded(path)
    complete = len(read_trace(path).lookups)
    ends = [index for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[0] + 1, len(whole)):
        path.write_bytes(whole[:cut])
        trace = read_trace(path)
        assert trace.ending == ("cut short" if cut < len(whole) - 1 else "closed")
        assert sum(trace.tiers.values()) in (sum(end <= cut for end in ends) - 1, 9)
    assert len(read_trace(path).lookups) == complete


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: expected the header of a trace"),
        ('{"dagcache_tra', "line 1: expected the header"),
        ("root:x:0:0\n", "line 1: expected the header of a trace, {\"dagcache_trace\":2, ...}, found 'root:x:0:0'"),
        ('{"dagcache_trace":3}\n', "line 1: expected the header"),
        ("[1]\n", "line 1: expected the header"),
        (HEADER + "garbage\n", "line 2: expected a row of 4 or 10 fields, or the end, found 'garbage'"),
        (HEADER + "{}\n", "line 2: expected a row"),
        (HEADER + '[1,"a","m",0]\n[1,"a","m"]\n', "line 3: expected a row of 4 or 10 fields"),
        (HEADER + '[1,"a","x",0]\n', "line 2: expected [seconds, id, one of lfma"),
        (HEADER + '[-1,"a","m",0]\n', "line 2: expected [seconds, id"),
        (HEADER + '[1,7,"m",0]\n', "line 2: expected [seconds, id"),
        (HEADER + '[1,"a",["m"],0]\n', "line 2: expected [seconds, id"),
        (HEADER + '[1,"a","m",NaN]\n', "line 2: expected [seconds, id"),
        (HEADER + '[1,"a","m",0,-5,1,1,null,0,0]\n', "line 2: expected [..., live bytes"),
        (HEADER + '[1,"a","m",0,5,1,1,7,0,0]\n', "line 2: expected [..., live bytes"),
        (HEADER + '[1,"a","m",0,5,1,1,"dag",NaN,0]\n', "line 2: expected [..., live bytes"),
        (HEADER + '[1,"a","m",0,5,1,true,"dag",0,0]\n', "line 2: expected [..., live bytes"),
        (HEADER + '[1,"a","m",0,5,1,1,"dag",0,-1]\n', "line 2: expected [..., live bytes"),
        (HEADER + '[1,"a","m",0,5,1,1,"dag",0,"1"]\n', "line 2: expected [..., live bytes"),
        (HEADER + '{"end":"closed"}\n[1,"a","m",0]\n', "line 3: expected nothing after the end"),
        (HEADER + "[" * 70_000 + "\n", "line 2: expected a line of less than 65536 bytes"),
        (HEADER + "[" * 60_000 + "\n", "line 2: expected a row"),
        (HEADER + '[1,"a","m",0,5,1,1,"dag",' + "9" * 400 + ",0]\n", "line 2: expected [..., live bytes"),
        (HEADER + '[1,"a","m",0,5,1,1,"dag",' + "9" * 5000 + ",0]\n", "line 2: expected a row"),
        (HEADER + '[1,"a","m",' + "9" * 400 + "]\n", "line 2: expected [seconds, id"),
    ],
)
def test_a_damaged_trace_is_refused_by_line(path: Path, text: str, said: str) -> None:
    with pytest.raises(TraceError) as refusal:
        read_trace(written(path, text))
    assert str(refusal.value).startswith(said)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_trace_or_an_error(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.jsonl"
    path.write_bytes(HEADER.encode() + garbage)
    with suppress(TraceError):
        assert isinstance(read_trace(path), Trace)


def test_an_incomplete_last_line_of_nested_brackets_is_left_out(path: Path) -> None:
    assert read_trace(written(path, HEADER + "[" * 60_000)).ending == "cut short"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this platform")
def test_a_named_pipe_is_refused_instead_of_opened(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(TraceError, match="not a regular file"):
        read_trace(path)


def test_a_trace_that_gzip_compressed_reads_as_before(path: Path) -> None:
    whole = recorded(path)
    expected = read_trace(path)
    path.write_bytes(gzip.compress(whole))
    assert read_trace(path) == expected


@pytest.mark.parametrize("cut", [12, 40, 90])
def test_a_compressed_trace_that_was_cut_short_is_read_as_far_as_it_goes(path: Path, cut: int) -> None:
    """Or there is not even a header: a `TraceError`."""
    path.write_bytes(gzip.compress(recorded(path))[:-cut])
    with suppress(TraceError):
        assert read_trace(path).ending == "cut short"


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_compressed_trace_is_a_trace_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl.gz"
    data = bytearray(gzip.compress((HEADER + '[1,"a","m",0]\n' * 50).encode(), mtime=0))
    data[2 + at % (len(data) - 2)] = byte
    path.write_bytes(data)
    with suppress(TraceError):
        assert isinstance(read_trace(path), Trace)


def test_an_end_of_an_unknown_kind_is_no_end(path: Path) -> None:
    """Nor is a number of losses that is none."""
    trace = read_trace(written(path, HEADER + '{"end":"in tears","lost":"many"}\n'))
    assert (trace.ending, trace.lost, trace.seconds, trace.keys) == ("cut short", 0, 0.0, 0)


def test_facts_that_came_later_serve_what_came_before(path: Path) -> None:
    """And a lookup of which nothing was ever said is left out, and counted."""
    text = HEADER + '[1,"a","m",0]\n[2,"b","m",0]\n[3,"a","l",0,1000,100,0.5,null,0,0]\n'
    trace = read_trace(written(path, text))
    assert [(each.at, each.key, each.live_bytes) for each in trace.lookups] == [(1, "a", 1000), (3, "a", 1000)]
    assert (trace.unknown, trace.keys, trace.seconds) == (1, 1, 3)


def test_a_lookup_that_found_nothing_is_none_to_replay(path: Path) -> None:
    """Though the same id had a value before."""
    trace = read_trace(written(path, HEADER + '[1,"a","m",0,1000,100,0.5,null,0,0]\n[2,"a","a",0]\n'))
    assert (len(trace.lookups), trace.unknown, trace.tiers["absent"]) == (1, 0, 1)


def thaws(path: Path, *lines: str) -> dict[Any, float]:
    """The seconds of a thaw of each id, by a trace of these rows."""
    trace = read_trace(written(path, HEADER + "\n".join(lines) + "\n"))
    return {lookup.key: lookup.thaw_seconds for lookup in trace.lookups}


def test_a_thaw_takes_what_thaws_of_the_same_value_took(path: Path) -> None:
    """On the average; a thaw that another thread did took this one no time, and says nothing."""
    row, other = '[1,"a","f",{},1000,100,0.5,null,0,0]', '[1,"b","f",0.5,1000,100,0.5,null,0,0]'
    found = thaws(path, row.format(0.02), row.format(0.04), row.format(0), other)
    assert found == pytest.approx({"a": 0.03, "b": 0.5})


def test_a_thaw_that_was_never_seen_takes_what_others_of_that_size_took(path: Path) -> None:
    """A value of twice the size takes twice as long."""
    seen, unseen = '[1,"a","f",0.02,1000,100,0.5,null,0,0]', '[1,"b","m",0,2000,100,0.5,null,0,0]'
    assert thaws(path, seen, unseen, '[2,"c","f",0.7]') == pytest.approx({"a": 0.02, "b": 0.04})


def test_where_nothing_was_thawed_a_thaw_takes_a_tenth_of_a_load(path: Path) -> None:
    """As the store reckons, too."""
    assert thaws(path, '[1,"a","m",0,1000,100,0.5,null,0,0]') == pytest.approx({"a": 0.05})


def test_the_load_of_an_assigned_value_takes_what_others_of_that_size_took(path: Path) -> None:
    """It was not measured."""
    loaded, assigned = '[1,"a","m",0,1000,100,0.5,null,0,0]\n', '[1,"b","l",0,3000,100,0,null,0,0]\n'
    both = read_trace(written(path, HEADER + loaded + assigned)).lookups
    assert [lookup.load_seconds for lookup in both] == pytest.approx([0.5, 1.5])
    assert read_trace(written(path, HEADER + assigned)).lookups[0].load_seconds == 0.0


def test_assigned_and_loaded_values_of_nothing_are_values(path: Path) -> None:
    """``Loaded(None)`` is a value, not absent."""
    cache, _ = make_cache(sizer=None)
    with record(cache, path):
        assert cache.get_or_load("a", lambda _: Loaded(None)) is None
        assert cache.get_or_load("a", never) is None
    assert [row[2] for row in rows(path)] == ["m", "l"]


def test_a_recording_is_what_record_gives(path: Path) -> None:
    """A context manager that knows its file."""
    cache, _ = make_cache()
    with record(cache, str(path)) as recording:
        assert isinstance(recording, Recording)
        assert recording.path == path
