"""The figures of the README, copied from the page of benchmarks: ``python -m benchmarks.readme``.

Each figure is measured and written once, by its own benchmark, to ``docs/benchmarks.md``. A test compares the copy.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.scheduler import write_between

MARK = "rivals"
COLUMNS = ("versions", "Airflow's LRU of 512", "Airflow's, unbounded", "dagcache, 88MiB")
ROWS = ("300", "700", "1500", "5000")


def rivals(page: str) -> str:
    """Some rows and columns of the table of versions in use, as a table of its own.

    Raises:
        ValueError: the page has no such table, row or column.

    """
    found = re.search(r"<!-- scaling -->\n(.*?)<!-- /scaling -->", page, re.DOTALL)
    if found is None:
        raise ValueError("the page of benchmarks has no block <!-- scaling -->")
    table = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines() if line.startswith("|")
    ]
    columns = [table[0].index(name) for name in COLUMNS]
    by_versions = {row[0]: row for row in table}
    missing = [row for row in ROWS if row not in by_versions]
    if missing:
        raise ValueError(f"the table of versions in use has no row {', '.join(missing)}")
    chosen = [table[0], ["---"] * len(table[0]), *(by_versions[row] for row in ROWS)]
    return "\n".join(f"| {' | '.join(row[column] for column in columns)} |" for row in chosen)


def main() -> None:
    """Write the block of the README."""
    write_between(Path("README.md"), MARK, rivals(Path("docs/benchmarks.md").read_text()))


if __name__ == "__main__":
    main()
