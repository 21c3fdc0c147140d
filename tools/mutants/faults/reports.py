"""Faults in what the cache reports of itself."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop

_REPORTING_TESTS = ("unit/airflow/test_reporting.py",)

FAULTS = (
    Fault(
        "a counter in Airflow's metrics has its total instead of its growth",
        "dagcache.airflow.reporting",
        "Reporting._due",
        drop("self._counted[A.name] = B"),
        _REPORTING_TESTS,
    ),
    Fault(
        "a repeated action keeps its owner alive",
        "dagcache.concurrency.repetition",
        "_loop",
        drop("del A"),
        ("unit/concurrency/test_repetition.py",),
    ),
)
