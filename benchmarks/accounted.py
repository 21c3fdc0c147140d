"""Accounted bytes against resident memory, drawn: while a scheduler's bag fills, without a limit and with one.

``python -m benchmarks.accounted [--home HOME] [--page docs/benchmarks.md --chart docs/accounted.svg]``, part of
``make bench-airflow``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lines import GREENS, GREYS, Panel, Series, draw
from benchmarks.scheduler import MIB, made_by, playground, run_json, write_between

_VERSIONS = 700
_LAPS = 2
_BUDGET = "88MiB"
_FIRST = "20"  # what Airflow itself grows by at first is not the cache's
_EVERY = "50"

Told = Sequence[Mapping[str, Any]]


def measure(home: Path) -> dict[str, Told]:
    """What was told on the way, by the title of each panel."""
    arguments = ("--first", _FIRST, "--laps", str(_LAPS), "--every", _EVERY)
    return {
        title: run_json(home, {"max_bytes": budget}, "benchmarks.accounting", *arguments)
        for title, budget in {"no limit": 0, f"a limit of {_BUDGET}": _BUDGET}.items()
    }


def panels(found: Mapping[str, Told]) -> list[Panel]:
    """Both lines for each budget, in MiB."""

    def line(told: Told, name: str) -> dict[float, float]:
        return {0.0: 0.0} | {each["lookups"]: each[name] / MIB for each in told}

    return [
        Panel(
            f"MiB, {title}",
            "lookups",
            [
                Series("growth of resident memory", line(told, "resident_growth_bytes"), GREYS[0], "--"),
                Series("accounted by the cache", line(told, "accounted_growth_bytes"), GREENS[1]),
            ],
        )
        for title, told in found.items()
    ]


def sentences(found: Mapping[str, Told]) -> str:
    """Where each of them ended."""
    return " ".join(
        f"With {title}, {told[-1]['lookups']} lookups made the process grow by "
        f"{told[-1]['resident_growth_bytes'] / MIB:.0f} MiB; the cache accounted for "
        f"{told[-1]['accounted_growth_bytes'] / MIB:.0f} MiB."
        for title, told in found.items()
    )


def main() -> None:
    """Measure, print, draw, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounted", description=__doc__)
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the chart there, as SVG")
    chosen = parser.parse_args()
    with playground(chosen.home, _VERSIONS) as home:
        found = measure(home)
    print(sentences(found))
    if chosen.chart:
        draw(panels(found), chosen.chart)
    if chosen.page and chosen.chart:
        head = f"{made_by()} {_VERSIONS} generated versions and Airflow's examples, {_LAPS} laps."
        picture = f"![accounted bytes and the growth of resident memory]({chosen.chart.name})"
        write_between(chosen.page, "accounted", f"{head}\n\n{picture}\n\n{sentences(found)}")


if __name__ == "__main__":
    main()
