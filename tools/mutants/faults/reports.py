"""Faults in what the cache reports of itself, and in what a replay predicts."""

from __future__ import annotations

from tools.mutants.fault import Fault, drop, drop_branch, replace

_REPORTING_TESTS = ("unit/airflow/test_reporting.py",)

FAULTS = (
    Fault(
        "a counter in Airflow's metrics has its total instead of its growth",
        "dagcache.airflow.reporting",
        "Reporting._report",
        drop("self._counted[A.name] = B"),
        _REPORTING_TESTS,
    ),
    Fault(
        "the most expensive families are dropped first",
        "dagcache.core.family_costs",
        "FamilyCosts._of",
        replace("nlargest(...)", "list(self._costs.items())[-MOST:]"),
        ("unit/core/test_family_costs.py",),
    ),
    Fault(
        "a private copy is no thaw of its family",
        "dagcache.core.thawing",
        "Thaws._served",
        replace("None if A is None else A.family", "None"),
        ("unit/core/test_family_costs.py",),
    ),
    Fault(
        "a repeated action keeps its owner alive",
        "dagcache.concurrency.repetition",
        "_loop",
        drop("del A"),
        ("unit/concurrency/test_repetition.py",),
    ),
    Fault(
        "a process id that belongs to another program by now counts as alive",
        "dagcache.metrics.file_sd",
        "_is_dead",
        replace("_is_younger(...)", "False"),
        ("unit/metrics/test_file_sd.py",),
    ),
    Fault(
        "the time of collecting counts against the clients of the metrics endpoint",
        "dagcache.metrics.server",
        "_EventLoop._timed_response",
        drop("self._busy += A"),
        ("unit/metrics/test_server.py",),
    ),
    Fault(
        "a replayed session never ends",
        "dagcache.traces.replay",
        "_Callers.take",
        drop_branch("A != self._session"),
        ("unit/traces/test_replay.py",),
    ),
    Fault(
        "a replay forgets the bytes of a loader's records",
        "dagcache.traces.replay",
        "_candidate",
        replace("A.record_bytes", "0"),
        ("unit/traces/test_replay.py",),
    ),
    Fault(
        "advice forgets the records of a bag",
        "dagcache.advice.curve",
        "_lookup",
        replace("RECORD_BYTES", "0"),
        ("unit/advice/test_advice.py",),
    ),
    Fault(
        "advice forgets the disposals that thaws make due",
        "dagcache.advice.curve",
        "_lookup",
        replace("A.release_seconds", "0.0"),
        ("unit/advice/test_advice.py",),
    ),
    Fault(
        "advice takes the speed of loads for that of thaws",
        "dagcache.advice.sampling",
        "Sampled.at_speed",
        replace("A.thaws", "A.loads"),
        ("unit/advice/test_advice.py",),
    ),
    Fault(
        "a replay forgets the disposal that a load makes due",
        "dagcache.traces.replay",
        "_Cache.look_up",
        replace("A.load_seconds + A.release_seconds", "A.load_seconds"),
        ("unit/traces/test_replay.py",),
    ),
    Fault(
        "the thaws of advice are hits of DAGs that stay live",
        "dagcache.airflow.load_timing",
        "_timed",
        drop("A.resize(...)"),
        ("in_airflow/test_load_timing.py",),
    ),
    Fault(
        "the thaws of advice leave disposals to the collector",
        "dagcache.airflow.load_timing",
        "_Lookups._lap",
        drop("A._cache.free_dropped()"),
        ("in_airflow/test_load_timing.py",),
    ),
    Fault(
        "the loads of advice are taken for loads and disposals",
        "dagcache.advice.speed",
        "_compared",
        replace("sum(A.load_seconds for A in B)", "sum(A.load_seconds + A.release_seconds for A in B)"),
        ("unit/advice/test_speed.py",),
    ),
    Fault(
        "the first line of a cause counts what other threads report meanwhile",
        "dagcache.log_limits",
        "LogLimits._turn",
        replace("if A is B: return _Line(C)", "if A is B: return B"),
        ("unit/test_log_limits.py",),
    ),
    Fault(
        "DAGs without a frozen form are timed as thawed",
        "dagcache.airflow.load_timing",
        "time_all",
        replace("A.frozen_bytes((B, 1))", "True"),
        ("in_airflow/test_load_timing.py",),
    ),
)
