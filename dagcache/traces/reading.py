"""The reader of traces: lookups to replay, and the results of the recorded cache.

A trace has the duration of a thaw only for values that were thawed during the recording, and may have no facts yet
about a value that another thread loaded. The reader takes missing facts from the rest of the trace.
"""

from __future__ import annotations

import gzip
import json
import math
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from dagcache.errors import TraceError
from dagcache.traces.recording import FORMAT, TIERS
from dagcache.traces.replay import Lookup

_GZIP = b"\x1f\x8b"  # the first bytes of a file
_LONGEST_LINE = 64 * 1024
_MOST = 2**60  # bytes or seconds: a larger number is an error
_THAW_PER_LOAD = 0.1  # the estimate of the store before the first thaw
_SHORT = 4  # fields of a row
_LONG = {1: 9, FORMAT: 10}  # the same with facts, by format: the former had no bytes of records
_TIER_OF = {letter: tier for tier, letter in TIERS.items()}


@dataclass(frozen=True, slots=True)
class Trace:
    """A recording."""

    header: Mapping[str, Any]
    """The configuration of the cache, and the machine; see `dagcache.traces.recording`."""
    lookups: list[Lookup]
    """All lookups that found a value, in order."""
    tiers: Mapping[str, int]
    """Recorded lookups by tier: live, frozen, miss, absent."""
    seconds: float
    """Seconds from the start to the last lookup."""
    unknown: int
    """Lookups left out because the trace has no facts about their values."""
    lost: int
    """Lookups that the recording lost."""
    ending: str
    """End of the recording: ``"closed"``, ``"full"``, or ``"cut short"``."""

    @property
    def keys(self) -> int:
        """Number of different keys."""
        return len({lookup.key for lookup in self.lookups})


@dataclass(frozen=True, slots=True)
class _Facts:
    live_bytes: int
    frozen_bytes: int
    load_seconds: float
    family: str | None
    order: float
    record_bytes: int


@dataclass(slots=True)
class _Reading:
    """State of a reader."""

    rows: list[tuple[float, str, _Facts | None]] = field(default_factory=list)
    tiers: Counter[str] = field(default_factory=Counter)
    facts: dict[str, _Facts] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    thaws: dict[str, tuple[int, float]] = field(default_factory=dict)
    last: float = 0.0
    end: Mapping[str, Any] | None = None


def read_trace(path: Path | str) -> Trace:
    """Read a whole trace, plain or compressed by gzip; an incomplete last line is left out.

    Raises:
        OSError: the file cannot be read.
        TraceError: (a ValueError) the file is not a trace, or is damaged.

    """
    reading = _Reading()
    with _opened(Path(path)) as file:
        lines = _lines(file)
        header = _header(next(lines, b""))
        long = _LONG[header["dagcache_trace"]]
        for number, line in enumerate(lines, start=2):
            if reading.end is not None:
                raise _error(number, "nothing after the end", line)
            _read(reading, number, line, long)
    return _trace(header, reading)


def _opened(path: Path) -> BinaryIO:
    if not stat.S_ISREG(path.stat().st_mode):
        raise TraceError(f"{path} is not a regular file: to open a pipe may wait without end")
    file = path.open("rb")
    if file.peek(len(_GZIP))[: len(_GZIP)] == _GZIP:
        file.close()
        return cast("BinaryIO", gzip.open(path, "rb"))
    return file


def _next_line(file: BinaryIO, number: int) -> bytes:
    """The next line; an empty one is the end. The end of a compressed file may be missing, as that of a plain one."""
    try:
        return file.readline(_LONGEST_LINE)
    except EOFError:
        return b""
    except (gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(f"line {number}: the compressed file is damaged: {error}") from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Iterate over the lines; an incomplete last line is left out."""
    number = 1
    while line := _next_line(file, number):
        if not line.endswith(b"\n"):
            if len(line) == _LONGEST_LINE:
                raise _error(number, f"a line of less than {_LONGEST_LINE} bytes", line)
            try:
                json.loads(line)
            except (ValueError, RecursionError):
                return
        yield line
        number += 1


def _header(line: bytes) -> Mapping[str, Any]:
    expected = f'the header of a trace, {{"dagcache_trace":{FORMAT}, ...}}'
    if not line:
        raise TraceError(f"line 1: expected {expected}, found nothing, or the beginning of one")
    header = _parsed(1, expected, line)
    if not isinstance(header, dict) or header.get("dagcache_trace") not in tuple(_LONG):  # it may be unhashable
        raise _error(1, expected, line)
    return header


def _read(reading: _Reading, number: int, line: bytes, long: int) -> None:
    expected = f"a row of {_SHORT} or {long} fields, or the end"
    row = _parsed(number, expected, line)
    if isinstance(row, dict) and "end" in row:
        reading.end = row
        return
    if not isinstance(row, list) or len(row) not in (_SHORT, long):
        raise _error(number, expected, line)
    at, name, letter, seconds, *stated = row
    texts = isinstance(name, str) and isinstance(letter, str)
    if not (texts and letter in _TIER_OF and _is_number(at) and _is_number(seconds)):
        raise _error(number, f"[seconds, id, one of {''.join(_TIER_OF)}, seconds, ...]", line)
    name = reading.names.setdefault(name, name)  # one string for all rows
    if stated:
        reading.facts[name] = _facts(reading, number, stated, line)
    tier = _TIER_OF[letter]
    reading.tiers[tier] += 1
    reading.last = max(reading.last, at)
    if tier == "absent":
        return
    reading.rows.append((at, name, reading.facts.get(name)))
    if tier == "frozen" and seconds:
        count, total = reading.thaws.get(name, (0, 0.0))
        reading.thaws[name] = count + 1, total + seconds


def _facts(reading: _Reading, number: int, stated: list[Any], line: bytes) -> _Facts:
    live_bytes, frozen_bytes, load_seconds, family, order, *records = stated
    numbers = (live_bytes, frozen_bytes, load_seconds, *records)
    if not all(map(_is_number, numbers)) or not (family is None or isinstance(family, str)) or not _is_order(order):
        expected = "[..., live bytes, frozen bytes, seconds, family or null, order, bytes]"
        raise _error(number, expected, line)
    family = None if family is None else reading.names.setdefault(family, family)
    return _Facts(int(live_bytes), int(frozen_bytes), float(load_seconds), family, order, int(sum(records)))


def _trace(header: Mapping[str, Any], reading: _Reading) -> Trace:
    end = reading.end or {}
    lookups = list(_lookups(reading))
    lost = end.get("lost", 0)
    ending = end.get("end")
    return Trace(
        header=header,
        lookups=lookups,
        tiers={tier: reading.tiers[tier] for tier in TIERS},
        seconds=reading.last,
        unknown=len(reading.rows) - len(lookups),
        lost=int(lost) if _is_number(lost) else 0,
        ending=ending if ending in ("closed", "full") else "cut short",
    )


def _lookups(reading: _Reading) -> Iterator[Lookup]:
    known = reading.facts
    means = {name: total / count for name, (count, total) in reading.thaws.items() if name in known}
    thaw_per_byte = _ratio(sum(means.values()), sum(known[name].live_bytes for name in means))
    loaded = [facts for facts in known.values() if facts.load_seconds]
    load_per_byte = _ratio(sum(facts.load_seconds for facts in loaded), sum(facts.live_bytes for facts in loaded))
    for at, name, then in reading.rows:
        facts = then or known.get(name)
        if facts is None:
            continue
        load = facts.load_seconds or load_per_byte * facts.live_bytes
        thaw = means.get(name) or thaw_per_byte * facts.live_bytes or _THAW_PER_LOAD * load
        sizes = facts.live_bytes, facts.frozen_bytes
        yield Lookup(at, name, *sizes, load, thaw, facts.family, facts.order, facts.record_bytes)


def _ratio(seconds: float, nbytes: int) -> float:
    return seconds / nbytes if nbytes else 0.0


def _parsed(number: int, expected: str, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise _error(number, expected, line) from None


def _error(number: int, expected: str, line: bytes) -> TraceError:
    found = line.rstrip(b"\n").decode("utf-8", "replace")
    return TraceError(f"line {number}: expected {expected}, found {found[:60]!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST


def _is_order(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # more digits than a float has
        return False
