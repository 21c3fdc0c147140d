"""How many DAG versions a GiB holds: Airflow's LRU of 512 beside the cache with budgets that hold most versions frozen.

``python -m benchmarks.density [--counts 1000,3000] [--home DIR] [--page FILE]`` builds a throw-away Airflow home and
sweeps twice over its first 1000, then 3000 versions, each time in a fresh process. The hits of the second sweep are
the versions held. A part of the growth does not depend on their number: free memory that the largest load left.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scheduler import AIRFLOWS, MIB, budget_of, made_by, playground, sweep, with_budget, write_between
from dagcache.advice.curve import STOCK_ENTRIES

_SWEEPS = 2
_KIB_A_VERSION = 15  # a frozen copy of a generated DAG, its overhead, and a quarter for DAGs that a session holds


@dataclass(frozen=True)
class Held:
    """Versions that a process holds, and the bytes of resident memory that it grew by."""

    label: str
    versions: int
    nbytes: int

    @property
    def per_gib(self) -> float:
        """Versions in each GiB of growth."""
        return self.versions / self.nbytes * (1 << 30)

    @property
    def per_gib_of_budget(self) -> float | None:
        """Versions in each GiB of the budget; None for Airflow's own cache."""
        budget = budget_of(self.label)
        return None if budget is None else self.versions / budget * (1 << 30)


def measure(home: Path, counts: list[int]) -> list[Held]:
    """Airflow's own first, over the smallest number of versions that fills it."""
    *_, last = sweep(home, AIRFLOWS, _SWEEPS, "--limit", str(STOCK_ENTRIES + 200))
    held = [Held(AIRFLOWS.label, STOCK_ENTRIES, last["rss_growth_bytes"])]
    for count in counts:
        ours = with_budget(f"{-(-count * _KIB_A_VERSION // 1024)}MiB")
        *_, last = sweep(home, ours, _SWEEPS, "--limit", str(count))
        held.append(Held(ours.label, last["hits_live"] + last["hits_frozen"], last["rss_growth_bytes"]))
        print(held[-1], file=sys.stderr, flush=True)
    return held


def table(held: list[Held]) -> str:
    """A row for each process."""
    lines = [
        "| | versions held | RSS growth | versions in a GiB of it | times Airflow's | versions in a GiB of budget |",
        f"|{'---|' * 6}",
    ]
    for each in held:
        times = each.per_gib / held[0].per_gib
        of_budget = "-" if each.per_gib_of_budget is None else f"{each.per_gib_of_budget:,.0f}"
        lines.append(
            f"| {each.label} | {each.versions} | {each.nbytes / MIB:.1f} MiB | {each.per_gib:,.0f} | **{times:.1f}** "
            f"| {of_budget} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.density", description=__doc__)
    parser.add_argument("--counts", default="1000,3000", help="numbers of versions")
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    chosen = parser.parse_args()
    counts = sorted(int(count) for count in chosen.counts.split(","))
    with playground(chosen.home, counts[-1]) as home:
        held = measure(home, counts)
    print(table(held))
    if chosen.page:
        write_between(chosen.page, "density", f"{made_by()} One process each, in turn.\n\n{table(held)}")


if __name__ == "__main__":
    main()
