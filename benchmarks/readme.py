"""The figures of the README, from the table of the scheduler's loop: ``python -m benchmarks.readme``.

`benchmarks.loop` measures and writes the table to ``docs/benchmarks.md``. This command draws the chart and writes the
line of the README from that table, so that each figure is measured once. A test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chart import Row, bars
from benchmarks.scheduler import write_between

MARK = "loop"
CHART = Path("docs/loop.svg")
DATABASE = "PostgreSQL"
_STOCK = "Airflow's own"
_COLUMNS = ("database", "runs", "", "median ms", "CPU s a loop", "anonymous MiB (growth; peak of all)")


@dataclass(frozen=True)
class Loop:
    """A row of the table."""

    database: str
    runs: int
    label: str
    milliseconds: float
    """Of a loop, the median."""
    cpu_seconds: float
    """Of a loop."""
    mib: float
    """Anonymous memory."""

    @property
    def is_ours(self) -> bool:
        """Whether it is this cache's."""
        return "dagcache" in self.label


def loops(page: str) -> list[Loop]:
    """The rows of one database.

    Raises:
        ValueError: the page has no such table, column or row.

    """
    found = re.search(rf"<!-- {MARK} -->\n(.*?)<!-- /{MARK} -->", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page of benchmarks has no block <!-- {MARK} -->")
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    places = [head.index(name) for name in _COLUMNS]
    every = [_loop(*(row[place] for place in places)) for row in rows]
    chosen = [each for each in every if each.database == DATABASE]
    if not chosen:
        raise ValueError(f"the table of the loop has no row of {DATABASE}")
    return chosen


def _loop(database: str, runs: str, label: str, milliseconds: str, cpu_seconds: str, memory: str) -> Loop:
    return Loop(database, int(runs), label, float(milliseconds), float(cpu_seconds), float(memory.split()[0]))


def headline(rows: Sequence[Loop]) -> str:
    """The fewest runs: this cache's first budget beside Airflow's own cache."""
    stock, ours, *_ = rows
    budget = ours.label.partition(", ")[2]
    return (
        f"A real scheduler with {stock.runs} running runs on {stock.database} takes {stock.milliseconds:.0f} ms for a "
        f"loop with Airflow's own cache and {ours.milliseconds:.0f} ms with {budget} of this one (medians), "
        f"{stock.cpu_seconds:.2f} and {ours.cpu_seconds:.2f} CPU seconds, in {stock.mib:.0f} and {ours.mib:.0f} MiB of "
        "anonymous memory."
    )


def chart(rows: Sequence[Loop]) -> str:
    """The CPU time of a loop and the memory of the process, as SVG."""
    drawn = [
        Row(
            f"{row.runs} runs: {row.label if row.is_ours else _STOCK}",
            (1000 * row.cpu_seconds, row.mib),
            (f"{1000 * row.cpu_seconds:.0f} ms", f"{row.mib:.0f} MiB"),
            row.is_ours,
        )
        for row in rows
    ]
    return bars((f"CPU time of a loop, {DATABASE}", "memory of the scheduler"), drawn)


def main() -> None:
    """Write the line of the README, and the chart."""
    rows = loops(Path("docs/benchmarks.md").read_text())
    write_between(Path("README.md"), MARK, headline(rows))
    CHART.write_text(chart(rows))


if __name__ == "__main__":
    main()
