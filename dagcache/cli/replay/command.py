"""Computes the cost of recorded lookups with other budgets, and with an LRU cache.

The setting [dagcache] trace, or dagcache.traces.recording.record, makes a cache record its lookups. Each replay starts
with an empty cache: the first lookup of each version is a miss with any budget.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagcache.cli.shared.arguments import byte_limits, seconds_of_setting, whole_number
from dagcache.cli.shared.failure import InputError
from dagcache.cli.shared.progress import LateBars
from dagcache.config import DEFAULT_TTL
from dagcache.errors import TraceError
from dagcache.sizing.limits import ByteLimit, format_bytes, format_limit
from dagcache.traces.reading import Trace, read_trace
from dagcache.traces.replay import Lookup, ReplayResult, replay, replay_lru
from dagcache.traces.scheduler_loop import LOOKUPS_PER_LOOP

HELP = "the cost of other budgets, from a recording of lookups"
EXAMPLE = "dagcache replay /var/lib/dagcache/traces/scheduler-20260131T120000Z-7-a1b2c3.jsonl --max-bytes 64MiB,5%,1GiB"
_BAR_STEP = 1000  # lookups
_SCHEDULER = "scheduler"  # the name of the cache in Airflow's scheduler


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("trace", metavar="TRACE", type=Path, help="a file that a cache has recorded")
    parser.add_argument(
        "--max-bytes",
        metavar="A,B,C",
        type=byte_limits,
        help="budgets; a percentage is of the memory limit of the recording (default: half, once and twice the budget"
        " of the recording, and unbounded)",
    )
    parser.add_argument(
        "--ttl", metavar="S", type=seconds_of_setting("ttl"), help="idle seconds; 0 = never (default: as recorded)"
    )
    parser.add_argument(
        "--held",
        metavar="N",
        type=whole_number(0, 10**9),
        help="callers hold the values of N lookups in a row, and drop them together; 0 = they drop each at once"
        f" (default: {LOOKUPS_PER_LOOP} for a recording of Airflow's scheduler, as many as a loop has; 0 for others)",
    )
    parser.add_argument(
        "--lru",
        metavar="N",
        type=whole_number(1, 10**9),
        default=512,
        help="compare with an LRU cache of N versions (default: 512)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@dataclass(frozen=True, slots=True)
class _Rival:
    """One cache, and the outcome of its replay."""

    name: str
    outcome: ReplayResult
    entries: int | None = None
    """Its bound, if that is a number of entries."""


def main(options: argparse.Namespace) -> int:
    """Replay the trace with each budget, and print the comparison.

    Raises:
        InputError: the trace cannot be read, is damaged, or holds no lookups.

    """
    trace = _read(options.trace)
    budgets = _resolved(trace, options.max_bytes)
    ttl = options.ttl if options.ttl is not None else _number(trace, "ttl", DEFAULT_TTL)
    held = options.held
    if held is None:
        held = LOOKUPS_PER_LOOP if trace.header.get("cache") == _SCHEDULER else 0
    rivals = _replay_all(trace, budgets, ttl, held, options.lru)
    if options.json:
        sys.stdout.write(json.dumps(_as_json(trace, rivals, ttl, held)) + "\n")
    else:
        sys.stdout.write("\n".join([*_heading(trace, held), "", *_table(rivals)]) + "\n")
    return 0


def _read(path: Path) -> Trace:
    try:
        trace = read_trace(path)
    except OSError as error:
        raise InputError(f"expected a trace in {path}, found: {error.strerror}") from error
    except TraceError as error:
        raise InputError(f"{path}, {error}") from error
    if not trace.lookups:
        raise InputError(f"{path}: expected lookups that found a value, found none")
    return trace


def _resolved(trace: Trace, limits: Sequence[ByteLimit] | None) -> list[int]:
    """The budgets in bytes, each once."""
    recorded = int(_number(trace, "max_bytes", 0))
    if limits is None:
        wanted = [recorded // 2, recorded, 2 * recorded, 0] if recorded else [0]
    else:
        memory, workers = int(_number(trace, "memory_limit", 0)), int(_number(trace, "workers", 1))
        if not memory and any(limit.is_relative for limit in limits):
            raise InputError("expected the memory limit in the trace's first line, for percentages; found none")
        wanted = [limit.resolve(memory, max(1, workers)) for limit in limits]
    return list(dict.fromkeys(wanted))


def _number(trace: Trace, name: str, default: float) -> float:
    """A number in the header, or the default where the header has no such number."""
    value = trace.header.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**62:
        return value
    return default


def _replay_all(trace: Trace, budgets: Sequence[int], ttl: float, held: int, entries: int) -> list[_Rival]:
    with closing(LateBars()) as bars:

        def lookups(replays: int) -> Iterator[Lookup]:
            """All lookups, for a replay after so many others; they move the bar."""
            of = (len(budgets) + 1) * len(trace.lookups)
            for number, lookup in enumerate(trace.lookups, start=1):
                yield lookup
                if number % _BAR_STEP == 0:
                    bars.step("replaying", replays * len(trace.lookups) + number, of)

        unproven = min(1.0, _number(trace, "unproven_share", 1.0))
        outcomes = (replay(lookups(done), budget, ttl, unproven, held) for done, budget in enumerate(budgets))
        rivals = [_Rival(format_limit(budget), outcome) for budget, outcome in zip(budgets, outcomes, strict=True)]
        rivals.append(_Rival(f"LRU of {entries}", replay_lru(lookups(len(budgets)), entries), entries))
    return rivals


def _heading(trace: Trace, held: int) -> Iterator[str]:
    header, tiers = trace.header, trace.tiers
    yield (
        f"{sum(tiers.values())} lookups of {trace.keys} versions in {trace.seconds:.0f} s,"
        f" recorded by the cache {str(header.get('cache'))!r} from {str(header.get('started'))!r} on"
    )
    yield (
        f"at the time, with {format_limit(int(_number(trace, 'max_bytes', 0)))}: {tiers['live']} live,"
        f" {tiers['frozen']} frozen, {tiers['miss']} missed, {tiers['absent']} absent"
    )
    if held:
        yield f"replayed as if callers held the values of {held} lookups, and dropped them together (--held)"
    if trace.ending == "cut short":
        yield "note: the recording has no end: the process was killed, or still records"
    if trace.lost or trace.unknown:
        yield f"note: {trace.lost} lookups were not recorded; the size is unknown for {trace.unknown} more"


def _table(rivals: Sequence[_Rival]) -> list[str]:
    head = ("max_bytes", "lookups", "live", "frozen", "misses", "load + thaw s", "peak", "x best")
    rows = [head, *(_row(rival, ratio) for rival, ratio in zip(rivals, _ratios(rivals), strict=True))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  ".join(text.ljust(width) if column == 0 else text.rjust(width) for column, (text, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def _row(rival: _Rival, ratio: float | None) -> tuple[str, ...]:
    outcome = rival.outcome
    counts = (outcome.lookups, outcome.live_hits, outcome.frozen_hits, outcome.misses)
    return (
        rival.name,
        *map(str, counts),
        f"{outcome.seconds:.2f}",
        format_bytes(outcome.peak_bytes),
        "-" if ratio is None else f"{ratio:.2f}",
    )


def _ratios(rivals: Sequence[_Rival]) -> list[float | None]:
    """The seconds of each over those of the best; None where the best took no time."""
    best = min(rival.outcome.seconds for rival in rivals)
    return [rival.outcome.seconds / best if best else None for rival in rivals]


def _as_json(trace: Trace, rivals: Sequence[_Rival], ttl: float, held: int) -> dict[str, Any]:
    return {
        "trace": {
            "header": dict(trace.header),
            "lookups": sum(trace.tiers.values()),
            "versions": trace.keys,
            "seconds": trace.seconds,
            "tiers": dict(trace.tiers),
            "ending": trace.ending,
            "lost": trace.lost,
            "unknown": trace.unknown,
        },
        "ttl": ttl,
        "held": held,
        "outcomes": [
            {
                "cache": "dagcache" if rival.entries is None else "lru",
                "max_bytes": rival.outcome.max_bytes if rival.entries is None else None,
                "entries": rival.entries,
                "lookups": rival.outcome.lookups,
                "live_hits": rival.outcome.live_hits,
                "frozen_hits": rival.outcome.frozen_hits,
                "misses": rival.outcome.misses,
                "seconds": rival.outcome.seconds,
                "peak_bytes": rival.outcome.peak_bytes,
                "ratio": ratio,
            }
            for rival, ratio in zip(rivals, _ratios(rivals), strict=True)
        ],
    }
