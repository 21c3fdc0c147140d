"""Costs and savings of frozen copies: ``python -m benchmarks.freezing [--json FILE]``.

All times are processor time of this thread, and all are given as ratios of two measurements of one round: the
machine's speed and its other work cancel. A line shows the median of the rounds, and their 10th to 90th
percentile.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from dagcache.reclaim.gc_pause import gc_paused
from tests.support.graphs import SHARED, as_json, from_json, make_dag

_TASKS = (10, 75, 300)
_TASK_ROUNDS = 2000  # rounds of a size = this / its tasks
_LEAST_ROUNDS = 15


@dataclass(frozen=True)
class Line:
    """One ratio."""

    tasks: int
    what: str
    median: float
    p10: float
    p90: float
    divisor: float
    unit: str


@dataclass(frozen=True)
class _Round:
    """Seconds that each step took, in one round."""

    build: float
    freeze: float
    thaw: float
    release: float
    release_unshared: float
    collect: float


def _timed(step: Callable[..., Any], *arguments: object) -> tuple[float, list[Any]]:
    """Seconds, and the result in a cell that is its only holder."""
    start = time.thread_time()
    result = [step(*arguments)]
    return time.thread_time() - start, result


def _measure(tasks: int, seed: int, freezer: PickleFreezer) -> _Round:
    text = as_json(make_dag(tasks, seed))
    gc.collect()
    with gc_paused():
        build, built = _timed(from_json, text)
        freeze, frozen = _timed(freezer.freeze, built[0])
        thaw, thawed = _timed(freezer.thaw, frozen[0].data)
        release, outcome = _timed(_KNOWING.release, thawed)
        release_unshared, other_outcome = _timed(_UNKNOWING.release, built)
        assert outcome == other_outcome == [Outcome.FREED]
        freezer.thaw(frozen[0].data)
        collect, _ = _timed(gc.collect)
    return _Round(build, freeze, thaw, release, release_unshared, collect)


_KNOWING = GenericBreaker(SHARED)
_UNKNOWING = GenericBreaker()


def _live_bytes(freezer: PickleFreezer, data: bytes) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        held = freezer.thaw(data)
        return tracemalloc.get_traced_memory()[0] - before if held is not None else 0
    finally:
        tracemalloc.stop()


def _line(tasks: int, what: str, tops: list[float], bases: list[float], unit: str = "s") -> Line:
    ratios = [top / base for top, base in zip(tops, bases, strict=True)]
    tenths = statistics.quantiles(ratios, n=10)
    return Line(tasks, what, statistics.median(ratios), tenths[0], tenths[-1], statistics.median(bases), unit)


def _lines(tasks: int) -> list[Line]:
    freezer = PickleFreezer(SHARED)
    count = max(_LEAST_ROUNDS, _TASK_ROUNDS // tasks)
    _measure(tasks, 0, freezer)
    rounds = [_measure(tasks, seed, freezer) for seed in range(count)]
    frozen = [freezer.freeze(make_dag(tasks, seed)).data for seed in range(_LEAST_ROUNDS)]
    thaws = [each.thaw for each in rounds]
    builds = [each.build for each in rounds]
    frozen_bytes = [float(len(data)) for data in frozen]
    live_bytes = [float(_live_bytes(freezer, data)) for data in frozen]
    return [
        _line(tasks, "build from JSON / thaw", builds, thaws),
        _line(tasks, "freeze / build from JSON", [each.freeze for each in rounds], builds),
        _line(tasks, "release / thaw", [each.release for each in rounds], thaws),
        _line(tasks, "release, singletons unknown / thaw", [each.release_unshared for each in rounds], thaws),
        _line(tasks, "collection of one thawed graph / thaw", [each.collect for each in rounds], thaws),
        _line(tasks, "frozen size / live size", frozen_bytes, live_bytes, "bytes"),
    ]


def main() -> None:
    """Measure, print, and write the same as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}")
    print(f"{'tasks':>5}  {'ratio':38} {'median':>7}  {'p10 - p90':>15}  {'divisor':>15}")
    lines: list[Line] = []
    for tasks in _TASKS:
        for line in _lines(tasks):
            divisor = f"{1e6 * line.divisor:,.0f} us" if line.unit == "s" else f"{line.divisor:,.0f} bytes"
            spread = f"{line.p10:.3f} - {line.p90:.3f}"
            print(f"{tasks:>5}  {line.what:38} {line.median:>7.3f}  {spread:>15}  {divisor:>15}", flush=True)
            lines.append(line)
    if arguments.json:
        document = {"python": platform.python_version(), "lines": [asdict(line) for line in lines]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
