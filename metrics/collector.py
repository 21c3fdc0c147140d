"""The collector for Prometheus: one snapshot of each cache per scrape."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from types import MappingProxyType
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from dagcache.core.cache import DagCache
from dagcache.errors import ConfigError
from dagcache.log_limits import report
from dagcache.metrics.definitions import FAULTS, METRICS, WARM_ERRORS, Metric
from dagcache.metrics.process_age import process_age
from dagcache.own_version import own_version
from dagcache.pressure import MemoryPressure, PressureState
from dagcache.sizing.memory import memory_limit, resident_bytes
from dagcache.stats import CacheStats, ComponentStats, Histogram, WarmStats

Sample = tuple[tuple[str, ...], "float | Histogram"]
"""Label values, without that of ``component``, and the value."""


def _plain(value: Callable[[CacheStats], float | Histogram]) -> Callable[[CacheStats], list[Sample]]:
    return lambda stats: [((), value(stats))]


def _by(counts: Callable[[CacheStats], Any]) -> Callable[[CacheStats], list[Sample]]:
    return lambda stats: [((label.value,), count) for label, count in counts(stats).items()]


def _limit(_stats: CacheStats) -> list[Sample]:
    limit = memory_limit()
    return [((limit.source,), limit.bytes)]


_SAMPLES: dict[str, Callable[[CacheStats], list[Sample]]] = {
    "dagcache_hits_total": lambda stats: [(("live",), stats.hits_live), (("frozen",), stats.hits_frozen)],
    "dagcache_misses_total": _plain(lambda stats: stats.misses),
    "dagcache_absent_total": _plain(lambda stats: stats.absent),
    "dagcache_absent_known_total": _plain(lambda stats: stats.absent_known),
    "dagcache_loads_deduplicated_total": _plain(lambda stats: stats.joins),
    "dagcache_load_failures_total": _plain(lambda stats: stats.load_failures),
    "dagcache_thaw_failures_total": _plain(lambda stats: stats.thaw_failures),
    "dagcache_unfrozen_total": _plain(lambda stats: stats.unfrozen),
    "dagcache_listener_failures_total": _plain(lambda stats: stats.listener_failures),
    "dagcache_evictions_total": _by(lambda stats: stats.evictions),
    "dagcache_evicted_bytes_total": _by(lambda stats: stats.evicted_bytes),
    "dagcache_demotions_total": _plain(lambda stats: stats.demotions),
    "dagcache_rejections_total": _by(lambda stats: stats.rejections),
    "dagcache_load_duration_seconds": _plain(lambda stats: stats.load_seconds),
    "dagcache_thaw_duration_seconds": _plain(lambda stats: stats.thaw_seconds),
    "dagcache_bytes": lambda stats: [
        (("live",), stats.live_bytes),
        (("frozen",), stats.frozen_bytes),
        (("overhead",), stats.overhead_bytes),
        (("waiting",), stats.waiting_bytes),
    ],
    "dagcache_serialized_bytes": _plain(lambda stats: stats.serialized_bytes),
    "dagcache_max_bytes": _plain(lambda stats: stats.max_bytes),
    "dagcache_changed_settings": _plain(lambda stats: stats.changed_settings),
    "dagcache_entries": lambda stats: [
        (("live",), stats.live_entries),
        (("frozen",), stats.entries - stats.live_entries),
    ],
    "dagcache_entry_bytes": _plain(lambda stats: stats.entry_bytes),
    "dagcache_next_victim_idle_seconds": _plain(lambda stats: stats.next_victim_idle_seconds),
    "dagcache_sizing_error_ratio": _plain(lambda stats: stats.sizing_error_ratio),
    "dagcache_sizing_seconds_total": _plain(lambda stats: stats.sizing_seconds),
    "dagcache_unbroken_cycles_total": _plain(lambda stats: stats.unbroken_cycles),
    "dagcache_process_resident_bytes": lambda _: [((), resident_bytes())],
    "dagcache_memory_limit_bytes": _limit,
    "dagcache_off_by_fault": lambda _: fault_samples(""),
}


_WARM_SAMPLES: dict[str, Callable[[WarmStats], list[Sample]]] = {
    "dagcache_warm_start_hits_total": lambda warm: [((), warm.hits)],
    "dagcache_warm_start_misses_total": lambda warm: [((), warm.misses)],
    "dagcache_warm_start_rejected_total": lambda warm: [
        (("stale",), warm.stale),
        (("forged",), warm.forged),
        (("refused",), warm.refused),
    ],
    "dagcache_warm_start_stored_total": lambda warm: [((), warm.stored)],
    "dagcache_warm_start_errors_total": lambda warm: [((kind,), warm.errors.get(kind, 0)) for kind in WARM_ERRORS],
    "dagcache_warm_start_bytes_total": lambda warm: [(("read",), warm.bytes_read), (("written",), warm.bytes_written)],
    "dagcache_warm_start_seconds_total": lambda warm: [
        (("read",), warm.read_seconds),
        (("written",), warm.write_seconds),
    ],
    "dagcache_warm_start_records": lambda warm: [((), warm.records)],
    "dagcache_warm_start_passed_over": lambda warm: [((), float(warm.is_passed_over))],
}


class CacheCollector(Collector):
    """Exposes caches to a Prometheus registry: ``REGISTRY.register(CacheCollector([cache]))``.

    Each scrape takes one consistent snapshot per cache. The name of a cache becomes the label ``component`` and is the
    key of its entry in ``pressures``; a cache without one is in the state "off". By the same key, ``beside`` has a
    function for the figures that the cache does not know. A metric that fails is skipped, and logged. Thread-safe.

    Raises:
        ConfigError: (a ValueError) two caches have one name: their samples would be the same series.

    """

    def __init__(
        self,
        caches: Iterable[DagCache[Any, Any]],
        pressures: Mapping[str, MemoryPressure] = MappingProxyType({}),
        beside: Mapping[str, Callable[[], ComponentStats]] = MappingProxyType({}),
    ) -> None:
        self._caches = tuple(caches)
        names = [cache.config.name for cache in self._caches]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError("name", name, "a name of its own for each cache of a collector")
        modes = {cache.config.name: cache.config.mode for cache in self._caches}
        figures = partial(_component, beside)
        started = process_start()
        # No bound methods: a cycle would keep a dropped cache until a collection.
        self._samples: dict[str, Callable[[CacheStats], list[Sample]]] = {
            **_SAMPLES,
            "dagcache_quarantined": lambda stats: [((), figures(stats).quarantined)],
            "dagcache_quarantines_total": lambda stats: [((), figures(stats).quarantines)],
            "dagcache_quarantine_misses_total": lambda stats: [((), figures(stats).quarantine_misses)],
            "dagcache_internal_errors_total": lambda stats: [
                ((), stats.internal_errors + figures(stats).internal_errors)
            ],
            **{name: partial(_warm, figures, samples) for name, samples in _WARM_SAMPLES.items()},
            "dagcache_process_start_time_seconds": _plain(lambda _: started),
            "dagcache_pressure_state": partial(_pressure_state, pressures),
            "dagcache_info": partial(_info, modes),
        }

    def describe(self) -> Iterator[Family]:
        """The families without samples: registration does not collect."""
        return (family_of(metric) for metric in METRICS)

    def collect(self) -> Iterator[Family]:
        """The families with the samples of all caches."""
        snapshots = [cache.stats() for cache in self._caches]
        for metric in METRICS:
            family = family_of(metric)
            for stats in snapshots:
                self._fill(family, metric.name, stats)
            yield family

    def _fill(self, family: Any, name: str, stats: CacheStats) -> None:
        try:
            samples = self._samples[name](stats)
        except Exception as error:
            report(name, "could not collect the metric %s", name, error=error)
            return
        for labels, value in samples:
            _add(family, (stats.name, *labels), value)


def _component(beside: Mapping[str, Callable[[], ComponentStats]], stats: CacheStats) -> ComponentStats:
    figures = beside.get(stats.name)
    return ComponentStats() if figures is None else figures()


def _warm(
    figures: Callable[[CacheStats], ComponentStats], samples: Callable[[WarmStats], list[Sample]], stats: CacheStats
) -> list[Sample]:
    return samples(figures(stats).warm or WarmStats())


def _pressure_state(pressures: Mapping[str, MemoryPressure], stats: CacheStats) -> list[Sample]:
    pressure = pressures.get(stats.name)
    current = PressureState.OFF if pressure is None else pressure.state
    return [((state.value,), float(state is current)) for state in PressureState]


def _info(modes: Mapping[str, str], stats: CacheStats) -> list[Sample]:
    return [((own_version(), modes[stats.name]), 1)]


class FaultCollector(Collector):
    """Exposes the fault that keeps the cache of a component off: ``reason`` is one of `FAULTS`. Thread-safe."""

    def __init__(self, component: str, reason: str) -> None:
        self._component = component
        self._samples: dict[str, list[Sample]] = {
            "dagcache_off_by_fault": fault_samples(reason),
            "dagcache_process_start_time_seconds": [((), process_start())],
            "dagcache_info": [((own_version(), "off"), 1)],
        }

    def collect(self) -> Iterator[Family]:
        """The families that such a process has."""
        for metric in METRICS:
            if metric.name in self._samples:
                family = family_of(metric)
                for labels, value in self._samples[metric.name]:
                    _add(family, (self._component, *labels), value)
                yield family


def process_start() -> float:
    """The time at which this process started, in Unix seconds; where that is unknown, the time of the call."""
    return time.time() - (process_age(os.getpid()) or 0.0)


def fault_samples(reason: str) -> list[Sample]:
    """One sample for each of `FAULTS`: 1 for the reason, 0 for the others."""
    return [((fault,), float(fault == reason)) for fault in FAULTS]


def family_of(metric: Metric) -> Any:
    """The family of a metric in prometheus_client, without samples."""
    kinds: dict[str, Any] = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    return kinds[metric.kind](metric.name, metric.help, labels=metric.all_labels)


def _add(family: Any, labels: tuple[str, ...], value: float | Histogram) -> None:
    if isinstance(value, Histogram):
        bounds = [*map(str, value.bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(value.counts), strict=True)), value.total)
    else:
        family.add_metric(labels, value)
