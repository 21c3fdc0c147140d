"""Recorded traces as they are kept, in dagcache's own format, and as the comparison wants them."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.policies.traces import Floats, Ints, Trace
from dagcache.traces.reading import read_trace
from dagcache.traces.replay import Lookup

TRACES = Path(__file__).parent / "traces"
"""Folder of the traces: unpacked by ``gzip -d``, each can be read by `dagcache replay`."""
MINUTE = 60.0
KEPT = ("dagcache_trace", "cache", "ids", "max_bytes", "ttl", "mode", "frozen", "dagcache", "python")
"""Kept fields of a trace's header."""


def keep(trace: Path, folder: Path, name: str) -> int:
    """Write a trace to a folder, without machine and date, and with short ids; return the bytes of the file."""
    header, *rows = map(json.loads, trace.read_text().splitlines())
    versions, families = _Numbers(), _Numbers()
    lines: list[Any] = [{field: header[field] for field in KEPT}]
    for row in rows:
        if isinstance(row, list):
            at, version, tier, seconds, *facts = row
            if facts and facts[3] is not None:
                facts[3] = families.of(facts[3])
            lines.append([at, versions.of(version), tier, seconds, *facts])
        else:
            lines.append(row)
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    data = gzip.compress(text.encode(), 9, mtime=0)
    (folder / f"{name}.jsonl.gz").write_bytes(data)
    return len(data)


class _Numbers:
    """Names by the order in which they came."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def of(self, name: str) -> str:
        return self._given.setdefault(name, str(len(self._given)))


def text_of(name: str) -> bytes:
    """A kept trace as it was written."""
    return gzip.decompress((TRACES / f"{name}.jsonl.gz").read_bytes())


def recorded(name: str) -> Trace:
    """A kept trace, with the working set of `minutely_working_set`."""
    with tempfile.NamedTemporaryFile() as plain:
        plain.write(text_of(name))
        plain.flush()
        return as_trace(name, read_trace(plain.name).lookups)


def as_trace(name: str, lookups: list[Lookup]) -> Trace:
    """Convert lookups for the comparison: each key has the size of its latest facts, and the cost of its loads."""
    latest = {lookup.key: lookup for lookup in lookups}
    by_age = sorted(latest.values(), key=lambda lookup: (str(lookup.family), lookup.order, str(lookup.key)))
    place = {lookup.key: number for number, lookup in enumerate(by_age)}
    families = {family: number for number, family in enumerate(dict.fromkeys(lookup.family for lookup in by_age))}
    times = np.array([lookup.at for lookup in lookups], np.float64)
    keys = np.array([place[lookup.key] for lookup in lookups], np.int64)
    sizes = np.array([lookup.live_bytes for lookup in by_age], np.int64)[keys]
    return Trace(
        name,
        times,
        keys,
        np.array([families[lookup.family] for lookup in by_age], np.int64)[keys],
        sizes,
        np.array([lookup.load_seconds for lookup in lookups], np.float64),
        minutely_working_set(times, keys, sizes),
    )


def minutely_working_set(times: Floats, keys: Ints, sizes: Ints) -> float:
    """Bytes of the versions looked up within a minute: the mean over the minutes that were recorded whole."""
    minutes = (times // MINUTE).astype(np.int64)
    _, first = np.unique(np.stack([minutes, keys]), axis=1, return_index=True)
    per_minute = np.bincount(minutes[first], sizes[first])
    return float(per_minute[: max(1, int(times[-1] // MINUTE))].mean())
