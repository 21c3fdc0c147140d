"""The table of created runs: figures per run, and ratios beside Airflow's own reader."""

from __future__ import annotations

from benchmarks.created_runs import FREE, STOCK, Round, bound, rounds_of, table


def test_the_first_round_of_a_process_does_not_count() -> None:
    """The cache loads in it. The others are per run."""
    line = {"runs": 200, "seconds": 4.0, "cpu_seconds": 2.0, "reading_cpu_seconds": 0.5}
    assert rounds_of([line, line]) == [Round(50.0, 10.0, 2.5)]


def test_the_ratios_are_those_of_rounds_beside_each_other() -> None:
    stock = [Round(50, 10, 4), Round(40, 20, 8), Round(50, 10, 4)]
    ours = [Round(60, 8, 1), Round(50, 12, 4), Round(55, 9, 2)]
    *_, first, second = table([(8.4, {"stock": stock, "dagcache": ours})]).splitlines()
    assert first == "| 8 | stock | 50 | 10.00 | 1 | 4.00 | 40% | 1 |"
    assert second == "| 8 | dagcache | 55 | 9.00 | **0.80** (0.60 - 0.90) | 2.00 | 22% | **0.50** (0.25 - 0.50) |"


def test_the_bound_is_the_share_that_remains_when_reading_costs_nothing() -> None:
    """Measured, not calculated: the garbage of a DAG is collected after its reading."""
    found = [
        (tasks, {STOCK.label: [Round(50, 10, 4)] * 3, FREE.label: [Round(80, cpu, 0) for cpu in (7, 5, 6)]})
        for tasks in (8.4, 75.2)
    ]
    assert bound(found).endswith(": 0.60 with 8 tasks, 0.60 with 75 tasks.")
    assert table(found).splitlines()[-1].endswith("| **0.60** (0.50 - 0.70) | 0.00 | 0% | - |")
