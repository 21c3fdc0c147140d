"""The same sweep over more and more versions: the seconds of Airflow's own bag and of this one.

``python -m benchmarks.scaling [--counts 100,500,1000] [--page FILE --chart FILE]`` builds one throw-away Airflow home
and sweeps over its first 100, 500, 1000 ... versions, each time in a fresh process: Airflow's LRU of 512, the same
without a bound, and dagcache with several budgets, in turn. Each process sweeps three times: the last time counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lines import GREENS, GREYS, Panel, Series, draw
from benchmarks.scheduler import AIRFLOWS, Contender, made_by, playground, sweep, with_budget, write_between

_SWEEPS = 3


@dataclass
class Line:
    """The seconds of a contender, by number of versions."""

    contender: Contender
    seconds: dict[float, float] = field(default_factory=dict)


def contenders(budgets: Sequence[str]) -> list[Contender]:
    """Airflow's own, bounded and not, and ours."""
    return [
        AIRFLOWS,
        Contender("Airflow's, unbounded", AIRFLOWS.settings, ("--entries", "1000000")),
        *map(with_budget, budgets),
    ]


def measure(home: Path, counts: Sequence[int], rivals: Sequence[Contender]) -> list[Line]:
    """Warm seconds of each, for each number of versions."""
    lines = [Line(rival) for rival in rivals]
    for count in counts:
        for line in lines:
            *_, last = sweep(home, line.contender, _SWEEPS, "--limit", str(count))
            line.seconds[count] = last["seconds"]
            print(f"{count}: {line.contender.label}: {line.seconds[count]:.2f} s", file=sys.stderr, flush=True)
    return lines


def table(lines: Sequence[Line]) -> str:
    """A row per number of versions."""
    counts = list(lines[0].seconds)
    rows = [
        "| versions | " + " | ".join(line.contender.label for line in lines) + " |",
        "|---" * (len(lines) + 1) + "|",
    ]
    for count in counts:
        cells = (_told(line.seconds[count]) for line in lines)
        rows.append(f"| {count} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _told(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.01 else "< 0.01 s"


def panel(lines: Sequence[Line]) -> Panel:
    """Seconds per sweep on a logarithmic scale."""
    looks = zip((*GREYS[:2], *GREENS), ("-", "--", "-", "-", "-"), strict=True)
    series = [
        Series(line.contender.label, line.seconds, colour, style)
        for line, (colour, style) in zip(lines, looks, strict=True)
    ]
    return Panel("seconds per warm sweep", "versions in use", series, logarithmic=True)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--counts", default="100,300,500,700,1500,3000,5000", help="numbers of versions")
    parser.add_argument("--budgets", default="25MiB,88MiB,150MiB", help="three, comma-separated")
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the chart there, as SVG")
    chosen = parser.parse_args()
    counts = sorted(int(count) for count in chosen.counts.split(","))
    with playground(chosen.home, counts[-1]) as home:
        lines = measure(home, counts, contenders(chosen.budgets.split(",")))
    print(table(lines))
    if chosen.chart:
        draw([panel(lines)], chosen.chart)
    if chosen.page:
        picture = f"![seconds per warm sweep over versions in use]({chosen.chart.name})\n\n" if chosen.chart else ""
        facts = "The third sweep of a process, over the first versions of one home; one run each, in turn."
        write_between(chosen.page, "scaling", f"{made_by()} {facts}\n\n{picture}{table(lines)}")


if __name__ == "__main__":
    main()
