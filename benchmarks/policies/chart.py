"""Hits over budgets, drawn: ``python -m benchmarks.policies.chart FILE``, for every policy on three traces."""

from __future__ import annotations

import argparse
import sys
from multiprocessing import Pool
from pathlib import Path

from benchmarks.lines import GREENS, Panel, Series, draw
from benchmarks.policies.catalogue import CATALOGUE
from benchmarks.policies.simulate import OURS, POLICIES
from benchmarks.policies.traces import Trace

TRACES = {
    "loop": "a sweep, over and over",
    "sched-minutely": "a scheduler with many short DAGs",
    "api": "an API server's requests",
}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_NAMES = ("red", "blue", "orange", "purple", "brown", "pink", "gray", "olive", "cyan")
_COLOURS = ("black", *(f"tab:{name}" for name in _NAMES))


def hit_share(policy: str, trace: Trace, share: float) -> float:
    """Of all lookups, those that a policy answers with that share of the working set as its budget."""
    cache = POLICIES[policy](int(share * trace.working_set))
    columns = (trace.keys, trace.sizes, trace.costs, trace.times)
    asked = list(zip(*(column.tolist() for column in columns), strict=True))
    return sum(cache.request(*each) for each in asked) / len(asked)


def _line(task: tuple[str, str]) -> dict[float, float]:
    name, policy = task
    trace = next(scenario for scenario in CATALOGUE if scenario.name == name).make()
    return {share: hit_share(policy, trace, share) for share in SHARES}


def main() -> None:
    """Replay, and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.chart", description=__doc__)
    parser.add_argument("file", type=Path, help="where to draw, as SVG")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    chosen = parser.parse_args()
    tasks = [(name, policy) for name in TRACES for policy in POLICIES]
    lines = {}
    with Pool(chosen.jobs) as pool:
        for task, points in zip(tasks, pool.imap(_line, tasks), strict=True):
            lines[task] = points
            print(*task, {share: round(hits, 3) for share, hits in points.items()}, file=sys.stderr, flush=True)
    colours = {OURS: GREENS[1], **dict(zip((name for name in POLICIES if name != OURS), _COLOURS, strict=True))}
    draw(
        [
            Panel(
                f"hits: {title}",
                "budget, of the working set",
                [
                    Series(policy, lines[name, policy], colours[policy], "-" if policy == OURS else "--")
                    for policy in POLICIES
                ],
            )
            for name, title in TRACES.items()
        ],
        chosen.file,
    )


if __name__ == "__main__":
    main()
