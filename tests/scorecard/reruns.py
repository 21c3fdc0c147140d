"""Tests, over and over: one that sometimes fails is a fault of the test or of what it tests."""

from __future__ import annotations

import sys

from tests.scorecard.processes import run_tests

CORE_TESTS = (
    "test_cache_bounds",
    "test_cache_changes",
    "test_cache_lookups",
    "test_clock",
    "test_config",
    "test_deadlines",
    "test_dictionary",
    "test_estimate",
    "test_exclusion",
    "test_families",
    "test_faults",
    "test_flights",
    "test_forks",
    "test_freezing",
    "test_gcpause",
    "test_ghosts",
    "test_heap",
    "test_history",
    "test_hits",
    "test_intake",
    "test_interrupts",
    "test_limits",
    "test_lock",
    "test_machine",
    "test_mapping_protocol",
    "test_memory",
    "test_memory_flat",
    "test_policy",
    "test_pressure",
    "test_reaper",
    "test_reclaim",
    "test_reducers",
    "test_reentry",
    "test_stats",
    "test_store",
    "test_templates",
    "test_threads",
    "test_walk",
)


SUITES = {
    "core": tuple(f"tests/{name}.py" for name in CORE_TESTS),
    "others": ("tests", *(f"--ignore=tests/{name}.py" for name in CORE_TESTS)),
    "all": ("tests",),  # both of them: what `make check` runs
    "airflow": ("tests/in_airflow",),  # what `make airflow-check` runs
}


def count_failures(runs: int, suite: str = "core") -> int:
    """Run one of ``SUITES`` so many times; how many runs had a failure. Tells on stderr as it goes."""
    failures = 0
    for number in range(1, runs + 1):
        outcome = run_tests(*SUITES[suite]).outcome
        failures += outcome.passed is not True
        print(f"run {number} of {runs}: {outcome.figure}; {failures} failed so far", file=sys.stderr, flush=True)  # noqa: T201
    return failures
