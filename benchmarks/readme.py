"""The figures of the README, from the table of the scheduler's loop: ``python -m benchmarks.readme``.

`benchmarks.loop` measures and writes the table to ``docs/benchmarks.md``. This command draws the chart, and writes from
that table the line of the README and the line on the versions that a GiB holds. So each figure is measured once. A test
compares them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chart import Row, bars
from benchmarks.scheduler import MIB, write_between
from dagcache.advice.curve import STOCK_ENTRIES

MARK = "loop"
HELD_MARK = "held"
CHART = Path("docs/loop.svg")
DATABASE = "PostgreSQL"
_STOCK = "Airflow's own"
_MEMORY = re.compile(r"(\d+) \((\d+); \d+\)")
_COLUMNS = (
    "database",
    "runs",
    "",
    "median ms",
    "CPU s a loop",
    "anonymous MiB (growth; peak of all)",
    "statements a loop",
)


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
    growth_mib: float
    """Of it, beyond that after the first loop."""
    statements: int
    """Of a loop."""

    @property
    def is_ours(self) -> bool:
        """Whether it is this cache's."""
        return "dagcache" in self.label

    @property
    def budget(self) -> str:
        """Of this cache, as the label has it."""
        return self.label.partition(", ")[2]


def loops(page: str) -> list[Loop]:
    """The rows of one database.

    Raises:
        ValueError: the page has no such table, column or row.

    """
    chosen = [each for each in every_loop(page) if each.database == DATABASE]
    if not chosen:
        raise ValueError(f"the table of the loop has no row of {DATABASE}")
    return chosen


def every_loop(page: str) -> list[Loop]:
    """The rows of all databases.

    Raises:
        ValueError: the page has no such table or column.

    """
    found = re.search(rf"<!-- {MARK} -->\n(.*?)<!-- /{MARK} -->", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page of benchmarks has no block <!-- {MARK} -->")
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    places = [head.index(name) for name in _COLUMNS]
    return [_loop(*(row[place] for place in places)) for row in rows]


def _loop(
    database: str, runs: str, label: str, milliseconds: str, cpu_seconds: str, memory: str, statements: str
) -> Loop:
    sizes = _MEMORY.fullmatch(memory)
    if sizes is None:
        raise ValueError(f"expected the memory of a scheduler as '206 (64; 232)', not {memory!r}")
    mib, growth = map(float, sizes.groups())
    return Loop(database, int(runs), label, float(milliseconds), float(cpu_seconds), mib, growth, int(statements))


def headline(rows: Sequence[Loop]) -> str:
    """The fewest runs: this cache's first budget beside Airflow's own cache."""
    stock, ours, *_ = rows
    return (
        f"A real scheduler with {stock.runs} running runs on {stock.database} takes {stock.milliseconds:.0f} ms for a "
        f"loop with Airflow's own cache and {ours.milliseconds:.0f} ms with {ours.budget} of this one (medians), "
        f"{stock.cpu_seconds:.2f} and {ours.cpu_seconds:.2f} CPU seconds, in {stock.mib:.0f} and {ours.mib:.0f} MiB of "
        "anonymous memory."
    )


def held(rows: Sequence[Loop]) -> str:
    """The versions in a GiB of growth, with the most runs: this cache's first budget beside Airflow's own cache.

    Raises:
        ValueError: a database has no row of Airflow's own cache, then a budget, then a larger one that holds all
            versions live; or a lookup may load: a loop with the first budget has other statements than one with the
            larger, or as many as with Airflow's own cache, whose lookups all load.

    """
    runs = max(row.runs for row in rows)
    entries = min(STOCK_ENTRIES, runs)
    found = []
    for database in dict.fromkeys(row.database for row in rows):
        stock, ours, *_, roomy = (row for row in rows if (row.database, row.runs) == (database, runs))
        if stock.is_ours or not (ours.is_ours and roomy.is_ours and 0 < ours.growth_mib < roomy.growth_mib):
            raise ValueError(f"{database}: expected Airflow's own cache, a budget, and a larger one")
        if not ours.statements == roomy.statements < stock.statements:
            expected = f"{roomy.statements}, and fewer than {stock.statements}"
            raise ValueError(f"{database}, {ours.label}: {ours.statements} statements a loop, not {expected}")
        theirs, own = _per_gib(entries, stock), _per_gib(runs, ours)
        found.append(
            f"{database}: {_rounded(theirs)} with Airflow's own cache ({entries:,} in {stock.growth_mib:.0f} MiB), "
            f"{_rounded(own)} with {ours.budget} of this one ({runs:,} in {ours.growth_mib:.0f} MiB), "
            f"{own / theirs:.0f} times as many."
        )
    return f"Versions in a GiB of a real scheduler's growth, with {runs:,} running runs. {' '.join(found)}"


def _per_gib(versions: int, row: Loop) -> float:
    return versions / (row.growth_mib * MIB) * (1 << 30)


def _rounded(figure: float) -> str:
    return f"{round(figure, -2):,.0f}"  # the table has growths in whole MiB


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
    """Write the lines of the README and of the page of benchmarks, and the chart."""
    page = Path("docs/benchmarks.md")
    write_between(page, HELD_MARK, held(every_loop(page.read_text())))
    rows = loops(page.read_text())
    write_between(Path("README.md"), MARK, headline(rows))
    CHART.write_text(chart(rows))


if __name__ == "__main__":
    main()
