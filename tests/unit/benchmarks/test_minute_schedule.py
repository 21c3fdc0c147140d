"""The figures of a scheduler with DAGs that are due each minute: per created run, and beside stock."""

from __future__ import annotations

from benchmarks.at_work import Loop, Memory
from benchmarks.minute_schedule import Round, summary, table
from benchmarks.tallies import Tallies


def _loop(number: int, milliseconds: float) -> Loop:
    """The end of a loop: one second, two CPU seconds and forty statements after the one before."""
    tallies = Tallies(statements=40.0 * number, young_seconds=0.5 * number, full_seconds=0.5 * number)
    return Loop(milliseconds, float(number), 2.0 * number, Memory(0, 0, 0), tallies)


def test_the_figures_are_those_between_the_ends_of_the_first_and_the_last_loop() -> None:
    """The first one only marks the beginning."""
    loops = [_loop(0, 9000.0), _loop(1, 100.0), _loop(2, 300.0), _loop(3, 200.0)]
    assert summary(loops, runs=30) == Round(10.0, 200.0, 200.0, 4.0, 100.0)


def test_the_table_has_the_ratios_of_rounds_beside_each_other() -> None:
    stock, ours = [Round(10, 400, 20, 9, 2), Round(10, 500, 20, 9, 2)], [Round(12, 300, 10, 8, 1)] * 2
    *_, first, second = table({"stock": stock, "dagcache": ours}).splitlines()
    assert first == "| stock | 10.0 | 450.0 | 1 | 20.0 | 1 | 9.0 | 2.00 |"
    cells = "| **0.68** (0.60 - 0.75) | 10.0 | **0.50** (0.50 - 0.50) | 8.0 | 1.00 |"
    assert second == f"| dagcache | 12.0 | 300.0 {cells}"
