"""Hits over budgets, drawn: ``python -m benchmarks.policies.chart FILE``, for every policy on three traces."""

from __future__ import annotations

import argparse
from multiprocessing import Pool
from pathlib import Path

from benchmarks.lines import GREENS, Panel, Series, draw
from benchmarks.policies.catalogue import CATALOGUE
from benchmarks.policies.simulate import OURS, POLICIES, hit_share, trace_of

TRACES = {
    "loop": "a sweep, over and over",
    "sched-minutely": "a scheduler with many short DAGs",
    "api": "an API server's requests",
}
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_NAMES = ("red", "blue", "orange", "purple", "brown", "pink", "gray", "olive", "cyan")
_COLOURS = ("black", *(f"tab:{name}" for name in _NAMES))


def _lines(name: str) -> dict[str, dict[float, float]]:
    place = next(place for place, scenario in enumerate(CATALOGUE) if scenario.name == name)
    trace = trace_of("catalogue", place)
    budgets = {share: int(share * trace.working_set) for share in SHARES}
    return {
        policy: {share: hit_share(make(budget), trace) for share, budget in budgets.items()}
        for policy, make in POLICIES.items()
    }


def main() -> None:
    """Replay, and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.chart", description=__doc__)
    parser.add_argument("file", type=Path, help="where to draw, as SVG")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    chosen = parser.parse_args()
    with Pool(chosen.jobs) as pool:
        lines = dict(zip(TRACES, pool.map(_lines, TRACES, chunksize=1), strict=True))
    colours = {OURS: GREENS[1], **dict(zip((name for name in POLICIES if name != OURS), _COLOURS, strict=True))}
    draw(
        [
            Panel(
                f"hits: {title}",
                "budget, of the working set",
                [
                    Series(policy, lines[name][policy], colours[policy], "-" if policy == OURS else "--")
                    for policy in POLICIES
                ],
            )
            for name, title in TRACES.items()
        ],
        chosen.file,
    )


if __name__ == "__main__":
    main()
