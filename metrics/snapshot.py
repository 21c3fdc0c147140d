"""Snapshots of a component: the metrics of one scrape, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Samples(Protocol):
    """The part of `dagcache.metrics.scrape.Scrape` that a snapshot needs."""

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one sample."""

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples' values."""
        ...

    def labels(self, name: str, **labels: str) -> list[dict[str, str]]:
        """The samples' labels."""
        ...


_MOST = 2.0**63
"""No count, number of bytes or time is larger."""
_MOST_COMPONENTS = 20
_MOST_LABELS = 200
"""Samples of one metric of a component. Reading takes a time that grows with the square of their number."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram as it is exposed."""

    buckets: tuple[tuple[float, float], ...] = ()
    """Upper bounds in seconds with cumulative counts, ascending; the last bound is infinite."""
    seconds: float = 0.0
    """The sum of all."""

    @property
    def count(self) -> int:
        """The number of observations."""
        return int(self.buckets[-1][1]) if self.buckets else 0

    @property
    def mean(self) -> float:
        """Mean in seconds; 0 without observations."""
        return self.seconds / self.count if self.count else 0.0

    def since(self, before: Durations) -> Durations:
        """The observations since an earlier state of the same histogram."""
        known = dict(before.buckets)
        buckets = tuple((bound, count - known.get(bound, 0.0)) for bound, count in self.buckets)
        return Durations(buckets, self.seconds - before.seconds)

    def quantile(self, share: float) -> float:
        """A quantile in seconds, as Prometheus' ``histogram_quantile`` computes it."""
        rank = share * self.count
        lower, below = 0.0, 0.0
        for bound, count in self.buckets:
            if count >= rank and count > below:
                return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
            lower, below = bound, count
        return 0.0


@dataclass(frozen=True, slots=True)
class WarmFigures:
    """The warm store of a component since its start. The defaults stand for no store."""

    hits: int = 0
    misses: int = 0
    stored: int = 0
    records: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Records by reason."""
    errors: int = 0
    is_passed_over: bool = False

    @property
    def distrusted(self) -> int:
        """Records that are damaged or forged, or name a class that may not be unpickled."""
        return self.rejected.get("forged", 0) + self.rejected.get("refused", 0)

    @property
    def text(self) -> str:
        """For people; empty without a store."""
        if not (self.hits or self.misses or self.stored or self.records or self.errors or self.is_passed_over):
            return ""
        counts = {"rejected": sum(self.rejected.values()), "errors": self.errors}
        faults = "".join(f", {count} {name}" for name, count in counts.items() if count)
        state = "; passed over" if self.is_passed_over else ""
        return f"{self.hits} hits, {self.misses} misses, {self.stored} stored, {self.records} records{faults}{state}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One scrape of one component; sizes in bytes, means in seconds."""

    hits_live: int
    hits_frozen: int
    misses: int
    live_bytes: int
    frozen_bytes: int
    overhead_bytes: int
    max_bytes: int
    """0 = no limit."""
    live_entries: int
    frozen_entries: int
    rss_bytes: int
    demotions: int
    evictions: int
    thaw_seconds: float
    load_seconds: float
    absent: int = 0
    joins: int = 0
    load_failures: int = 0
    thaw_failures: int = 0
    unbroken_cycles: int = 0
    evicted: Mapping[str, int] = field(default_factory=dict)
    """Entries by cause."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Values by reason."""
    waiting_bytes: int = 0
    serialized_bytes: int = 0
    next_victim_idle_seconds: float = 0.0
    sizing_error_ratio: float = 0.0
    sizing_seconds: float = 0.0
    changed_settings: int = 0
    limit_bytes: int = 0
    limit_source: str = ""
    pressure: str = "off"
    version: str = ""
    mode: str = ""
    off_because: str = ""
    """The kind of fault that keeps the cache off; empty: it is on."""
    quarantined: int = 0
    quarantine_misses: int = 0
    internal_errors: int = 0
    listener_failures: int = 0
    unfrozen: int = 0
    warm: WarmFigures = WarmFigures()
    loads: Durations = Durations()
    thaws: Durations = Durations()

    @property
    def hits(self) -> int:
        """Lookups served without a load."""
        return self.hits_live + self.hits_frozen

    @property
    def lookups(self) -> int:
        """Hits and misses."""
        return self.hits + self.misses

    @property
    def used_bytes(self) -> int:
        """The bytes that count against the limit."""
        return self.live_bytes + self.frozen_bytes + self.overhead_bytes + self.waiting_bytes


def components(samples: Samples) -> list[str]:
    """The names of the components in a scrape, in alphabetical order.

    Raises:
        ValueError: a sample has no name of a component, or there are more than twenty.

    """
    names = {_label(labels, "component", "dagcache_info") for labels in samples.labels("dagcache_info")}
    if len(names) > _MOST_COMPONENTS:
        raise ValueError(f"{len(names)} components")
    return sorted(names)


def snapshot(samples: Samples, component: str) -> Snapshot:
    """The snapshot of one component; missing metrics count as 0.

    Raises:
        ValueError: a sample lacks a label, or its value is not possible: the endpoint is not one of dagcache, or is
            damaged.

    """

    def value(name: str, **labels: str) -> int:
        found = samples.value(f"dagcache_{name}", component=component, **labels) or 0.0
        return int(_possible(found, f"dagcache_{name}"))

    def fraction(name: str, least: float = 0.0) -> float:
        found = samples.value(f"dagcache_{name}", component=component) or 0.0
        return _possible(found, f"dagcache_{name}", least)

    def by(name: str, label: str) -> dict[str, int]:
        names = _labels(samples, component, label, f"dagcache_{name}")
        return {each: value(name, **{label: each}) for each in names}

    loads, thaws = (_durations(samples, component, name) for name in ("load", "thaw"))
    sources = samples.labels("dagcache_memory_limit_bytes", component=component)
    states = by("pressure_state", "state")
    versions = samples.labels("dagcache_info", component=component)
    return Snapshot(
        hits_live=value("hits_total", tier="live"),
        hits_frozen=value("hits_total", tier="frozen"),
        misses=value("misses_total"),
        live_bytes=value("bytes", tier="live"),
        frozen_bytes=value("bytes", tier="frozen"),
        overhead_bytes=value("bytes", tier="overhead"),
        max_bytes=value("max_bytes"),
        live_entries=value("entries", tier="live"),
        frozen_entries=value("entries", tier="frozen"),
        rss_bytes=value("process_resident_bytes"),
        demotions=value("demotions_total"),
        evictions=sum(by("evictions_total", "cause").values()),
        thaw_seconds=thaws.mean,
        load_seconds=loads.mean,
        absent=value("absent_total"),
        joins=value("loads_deduplicated_total"),
        load_failures=value("load_failures_total"),
        thaw_failures=value("thaw_failures_total"),
        unbroken_cycles=value("unbroken_cycles_total"),
        evicted=by("evictions_total", "cause"),
        rejected=by("rejections_total", "reason"),
        waiting_bytes=value("bytes", tier="waiting"),
        serialized_bytes=value("serialized_bytes"),
        next_victim_idle_seconds=fraction("next_victim_idle_seconds"),
        sizing_error_ratio=fraction("sizing_error_ratio", least=-_MOST),
        sizing_seconds=fraction("sizing_seconds_total"),
        changed_settings=value("changed_settings"),
        limit_bytes=value("memory_limit_bytes"),
        limit_source=sources[0].get("source", "") if sources else "",
        pressure=next((state for state, is_on in states.items() if is_on), "off"),
        version=versions[0].get("version", "") if versions else "",
        mode=versions[0].get("mode", "") if versions else "",
        off_because=next((fault for fault, is_on in by("off_by_fault", "reason").items() if is_on), ""),
        quarantined=value("quarantined"),
        quarantine_misses=value("quarantine_misses_total"),
        internal_errors=value("internal_errors_total"),
        listener_failures=value("listener_failures_total"),
        unfrozen=value("unfrozen_total"),
        warm=WarmFigures(
            hits=value("warm_start_hits_total"),
            misses=value("warm_start_misses_total"),
            stored=value("warm_start_stored_total"),
            records=value("warm_start_records"),
            rejected=by("warm_start_rejected_total", "reason"),
            errors=sum(by("warm_start_errors_total", "kind").values()),
            is_passed_over=bool(value("warm_start_passed_over")),
        ),
        loads=loads,
        thaws=thaws,
    )


def _durations(samples: Samples, component: str, name: str) -> Durations:
    family = f"dagcache_{name}_duration_seconds"
    buckets = []
    for le in _labels(samples, component, "le", f"{family}_bucket"):
        count = samples.value(f"{family}_bucket", component=component, le=le) or 0.0
        bound = math.inf if le == "+Inf" else _possible(float(le), f"a bound of {family}")
        buckets.append((bound, _possible(count, family)))
    return Durations(
        tuple(sorted(buckets)), _possible(samples.value(f"{family}_sum", component=component) or 0.0, family)
    )


def _labels(samples: Samples, component: str, name: str, metric: str) -> list[str]:
    """The values of one label of a component's metric, each once."""
    found = samples.labels(metric, component=component)
    if len(found) > _MOST_LABELS:
        raise ValueError(f"{metric} has {len(found)} samples")
    return list(dict.fromkeys(_label(labels, name, metric) for labels in found))


def _label(labels: Mapping[str, str], name: str, metric: str) -> str:
    try:
        return labels[name]
    except KeyError:
        raise ValueError(f"a sample of {metric} has no label {name}") from None


def _possible(value: float, name: str, least: float = 0.0) -> float:
    if not least <= value <= _MOST:  # NaN is neither
        raise ValueError(f"{name} is {value:g}")
    return value
