"""The cache's main figures through Airflow's own metrics: StatsD, Datadog or OpenTelemetry, as ``[metrics]`` says.

`REGISTRY` has the form of Airflow's registry of metrics: a name, a type, a description. Names start with the component,
as Airflow's names for its own cache do (``scheduler.dag_bag.cache_hit``). Each report of a counter has its growth since
the report before. The last interval of a process is not reported. With several API server workers, a gauge has the
value of the worker that reported last.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from dagcache.concurrency.repetition import Repetition, repeat
from dagcache.core.cache import DagCache
from dagcache.log_limits import report
from dagcache.pressure import MemoryPressure, PressureState
from dagcache.stats import CacheStats, Rejection, RemovalCause

__all__ = ["PRESSURE", "REGISTRY", "SHORTEST_INTERVAL", "Metric", "Reporting", "client", "is_on"]

_SWITCHES = ("statsd_on", "statsd_datadog_enabled", "otel_on")
_CLIENTS = ("airflow.observability.stats", "airflow.stats")  # since 3.2, and before


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; its full name is ``<component>.dagcache.<name>``."""

    name: str
    kind: str
    """``"gauge"`` or ``"counter"``, as in Airflow's registry."""
    description: str
    read: Callable[[CacheStats], float]


def _evictions(cause: RemovalCause) -> Metric:
    description = f"Number of DAG versions that left the cache by cause: {cause.value}"
    return Metric(f"evictions.{cause.value}", "counter", description, lambda stats: stats.evictions[cause])


def _rejections(reason: Rejection) -> Metric:
    description = f"Number of loaded DAG versions that were not kept, by reason: {reason.value}"
    return Metric(f"rejections.{reason.value}", "counter", description, lambda stats: stats.rejections[reason])


REGISTRY = (
    Metric("bytes.live", "gauge", "Bytes of live DAGs", lambda stats: stats.live_bytes),
    Metric("bytes.frozen", "gauge", "Bytes of frozen copies", lambda stats: stats.frozen_bytes),
    Metric("bytes.overhead", "gauge", "Bytes of the cache's own records", lambda stats: stats.overhead_bytes),
    Metric("bytes.waiting", "gauge", "Bytes of DAGs that left and are still held", lambda stats: stats.waiting_bytes),
    Metric("max_bytes", "gauge", "The budget in force, in bytes; 0: unbounded", lambda stats: stats.max_bytes),
    Metric("entries.live", "gauge", "Number of DAG versions with a live copy", lambda stats: stats.live_entries),
    Metric("entries.frozen", "gauge", "Number of DAG versions with a frozen copy", lambda stats: stats.frozen_entries),
    Metric("hits.live", "counter", "Number of lookups that found a live DAG", lambda stats: stats.hits_live),
    Metric("hits.frozen", "counter", "Number of lookups that thawed a frozen copy", lambda stats: stats.hits_frozen),
    Metric("misses", "counter", "Number of lookups that found neither", lambda stats: stats.misses),
    Metric("loads", "counter", "Number of DAGs that were loaded from the database", lambda stats: stats.loads),
    Metric("load_failures", "counter", "Number of loads that failed", lambda stats: stats.load_failures),
    Metric("thaws", "counter", "Number of DAGs that were thawed", lambda stats: stats.thaw_seconds.count),
    Metric("thaw_failures", "counter", "Number of frozen copies that were damaged", lambda stats: stats.thaw_failures),
    Metric("demotions", "counter", "Number of live copies given up, with a frozen copy", lambda stats: stats.demotions),
    *map(_evictions, RemovalCause),
    *map(_rejections, Rejection),
    Metric("internal_errors", "counter", "Faults of the cache; a bug to report", lambda stats: stats.internal_errors),
)
PRESSURE = "memory_pressure"
"""A further gauge: 1 while the memory pressure watch holds the budget below the configured one, else 0."""
SHORTEST_INTERVAL = 1.0
"""Seconds between two reports, at least. A report takes less than a millisecond."""
_UNDER_PRESSURE = {PressureState.SHRINKING, PressureState.FLOOR, PressureState.SHRUNK, PressureState.GROWING}


class Reporting:
    """Reports a cache's figures through a client of Airflow's. Not thread-safe: one thread calls ``once``.

    ``client``: has ``incr(name, count)`` and ``gauge(name, value)``, as Airflow's statistics have.
    """

    def __init__(self, cache: DagCache[Any, Any], pressure: MemoryPressure | None, client: Any) -> None:
        self._cache = cache
        self._pressure = pressure
        self._client = client
        self._prefix = f"{cache.config.name}.dagcache."
        self._counted: dict[str, float] = {}
        self._repetition: Repetition | None = None

    def start(self, interval: float) -> None:
        """Report every ``interval`` seconds, or every second if that is longer, in a daemon thread.

        The thread ends with this object.

        Raises:
            RuntimeError: no thread can be started.

        """
        self._repetition = repeat(Reporting.once, self, max(interval, SHORTEST_INTERVAL), "dagcache-reporting")

    def stop(self) -> None:
        """End the thread."""
        if self._repetition is not None:
            self._repetition.end()

    def once(self) -> None:
        """Report all figures. Never raises: a failure is one log line a minute."""
        self._try(self._report_all)

    def _report_all(self) -> None:
        stats = self._cache.stats()
        for metric in REGISTRY:
            self._try(partial(self._report, metric, metric.read(stats)))
        if self._pressure is not None:
            self._try(partial(self._gauge, PRESSURE, int(self._pressure.state in _UNDER_PRESSURE)))

    def _try(self, step: Callable[[], object]) -> None:
        """Take a step; one that fails does not keep the others from being taken."""
        try:
            step()
        except Exception as error:
            message = "could not report the cache of the %s through Airflow's metrics"
            report("reporting", message, self._cache.config.name, error=error)

    def _report(self, metric: Metric, value: float) -> None:
        """Report a gauge, or a counter that has grown. Growth that could not be reported stays for the next report."""
        if metric.kind == "gauge":
            self._gauge(metric.name, value)
        elif growth := value - self._counted.get(metric.name, 0):
            self._client.incr(self._prefix + metric.name, growth)
            self._counted[metric.name] = value

    def _gauge(self, name: str, value: float) -> None:
        self._client.gauge(self._prefix + name, value)


def is_on() -> bool:
    """Whether Airflow sends metrics at all."""
    from airflow.configuration import conf

    return any(conf.getboolean("metrics", switch, fallback=False) for switch in _SWITCHES)


def client() -> Any:
    """Airflow's statistics.

    Raises:
        LookupError: this version of Airflow has them elsewhere.

    """
    for name in _CLIENTS:
        with suppress(ImportError):
            found = getattr(importlib.import_module(name), "Stats", None)
            if found is not None:
                return found
    raise LookupError(f"this version of Airflow has no statistics in {' or '.join(_CLIENTS)}")
