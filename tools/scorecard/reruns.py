"""Repeated tests: one that sometimes fails is a fault of the test or of the code."""

from __future__ import annotations

import sys

from tools.scorecard.processes import run_tests

CORE_ROOMS = ("concurrency", "core", "eviction", "freezing", "reclaim", "sizing")
"""The rooms with unit tests that need no Airflow."""
CORE_TESTS = (
    *(f"tests/unit/{room}" for room in CORE_ROOMS),
    *(f"tests/unit/test_{name}.py" for name in ("config", "forks", "pressure", "stats")),
    *(f"tests/stress/test_{name}.py" for name in ("machine", "threads")),
    "tests/integration/test_memory_flat.py",
)


SUITES = {
    "core": CORE_TESTS,
    "others": ("tests", *(f"--ignore={folder}" for folder in CORE_TESTS)),
    "all": ("tests",),  # both of them, as in `make check`
    "airflow": ("tests/in_airflow",),  # what `make airflow-check` runs
}


def count_failures(runs: int, suite: str = "core") -> int:
    """Run one of ``SUITES`` so many times; the number of runs with a failure. Reports progress on stderr."""
    failures = 0
    for number in range(1, runs + 1):
        outcome = run_tests(*SUITES[suite]).outcome
        failures += outcome.passed is not True
        print(f"run {number} of {runs}: {outcome.figure}; {failures} failed so far", file=sys.stderr, flush=True)  # noqa: T201
    return failures
