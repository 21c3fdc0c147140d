"""The cache behind a bag, with the endpoint, the memory pressure watch and the other parts of each process.

Threads and sockets start in a scheduler with its loop (`dagcache.airflow.loop_start`), in an API server where the bag
is built, and at the latest with the first load in a process. A fork alone does not start them: the children of an
executor inherit the bag and do not use it.
"""

from __future__ import annotations

import logging
import os
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dagcache.airflow import graphs, reporting
from dagcache.airflow.quarantine import Quarantine
from dagcache.airflow.settings import UNPROVEN_SHARE, Settings
from dagcache.concurrency.lock import Lock
from dagcache.concurrency.time_limit import try_for
from dagcache.config import CacheConfig
from dagcache.core.cache import DagCache
from dagcache.forks import after_fork_in_child
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.inspection.server import AttributionServer
from dagcache.log_limits import report
from dagcache.metrics.endpoint import MetricsEndpoint
from dagcache.metrics.file_sd import bracketed, default_directory
from dagcache.pressure import MemoryPressure
from dagcache.reclaim.gc_freeze import HeapFreeze
from dagcache.reclaim.gc_lap import allow_laps, forbid_laps
from dagcache.sizing.durations import exact_seconds
from dagcache.sizing.limits import format_bytes, format_limit
from dagcache.sizing.memory import memory_limit
from dagcache.stats import ComponentStats
from dagcache.traces.recording import Recording, new_file_in, record

if TYPE_CHECKING:
    from dagcache.airflow.warm import Fingerprint
    from dagcache.airflow.warm_lookups import WarmLookups
    from dagcache.warm_start.store import CountedStore, WarmStore

_log = logging.getLogger("dagcache")

_WITH_AN_API = ("dag-processor", "triggerer")
"""The commands of Airflow, beside its API server, that build the API's application for themselves."""
_PATIENCE = 2.0  # seconds; the directory may be on another machine
_components: weakref.WeakSet[Component] = weakref.WeakSet()


def withdraw() -> None:
    """Remove the announcements of all components of this process, which is about to end. Never raises."""
    for component in list(_components):
        if component.exposition is not None:
            component.exposition.withdraw()


class Component:
    """The cache of one of Airflow's components, and the parts beside it. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        *,
        home: Path,
        serves: bool,
        without_effect: Sequence[str] = (),
        open_store: Callable[[Fingerprint], WarmStore | None] | None = None,
    ) -> None:
        opener = open_store or (self.open_warm_store if settings.warm_start else None)
        self._open_store = opener if serves and settings.cache.frozen else None
        freezer, shared, self._described = _freezer(portable=self._open_store is not None)
        self._freezer = freezer
        self.cache: DagCache[UUID, Any] = DagCache(
            replace(settings.cache, unproven_share=UNPROVEN_SHARE),
            freezer=freezer,
            clock=monotonic,
            shared=shared,
        )
        self._settings = settings
        self.quarantine = Quarantine(settings.quarantine)
        self.warm_store: CountedStore | None = None
        """The warm store, after `open_warm_store` has made one."""
        self._home = home
        self._faults = 0
        self._counting = Lock()
        self._without_effect = without_effect
        self._targets = Path(settings.metrics_targets) if settings.metrics_targets else default_directory(home)
        self.warm: WarmLookups | None = None
        self.serves = serves
        """Whether this process is the component itself."""
        self._starting = Lock()
        self._pid = 0
        self._heap: HeapFreeze | None = None
        self.exposition: MetricsEndpoint | None = None
        self.pressure: MemoryPressure | None = None
        self.recording: Recording | None = None
        self.reporting: reporting.Reporting | None = None
        self.attribution = AttributionServer(self.cache)
        after_fork_in_child(self._after_fork_in_child)
        _components.add(self)

    def start(self) -> None:
        """Start the parts beside the cache, once in each process. Never raises; waits for seconds at most."""
        if self._pid != os.getpid():
            self._starting.try_run(self._start_once)

    def loaded(self) -> None:
        """Do the work that is due after a load."""
        self.start()
        if self._heap is not None:
            self._heap.after_load()

    def open_warm_store(self, fingerprint: Fingerprint) -> CountedStore | None:
        """Make the warm store by the settings. None if it is off, or cannot be made: then the log has a line."""
        from dagcache.airflow.warm import store_for

        self.warm_store = store_for(self._settings, fingerprint, home=self._home)
        return self.warm_store

    def warm_lookups(self, *, load_op_links: bool) -> WarmLookups | None:
        """Lookups of a bag in a store of its fingerprint; None if there is no store.

        ``load_op_links``: whether the bag loads operator links.
        """
        open_store = self._open_store
        if open_store is None:
            return None
        from airflow.configuration import conf

        from dagcache.airflow import fingerprint
        from dagcache.airflow.warm_lookups import WarmLookups

        self.warm = WarmLookups(
            lambda: fingerprint.Fingerprint(self._described, load_op_links=load_op_links),
            open_store,
            self._freezer,
            self.cache,
            window=float(conf.getint("core", "min_serialized_dag_update_interval")),
        )
        return self.warm

    def count_fault(self) -> None:
        """Count a fault of this package that was logged, and that Airflow's own code has covered."""
        self._counting.run(self._count_fault)

    def stats(self) -> ComponentStats:
        """The figures that the cache does not have."""
        quarantine = self.quarantine
        return ComponentStats(
            quarantined=quarantine.held(monotonic()),
            quarantines=quarantine.taken,
            quarantine_misses=quarantine.missed,
            internal_errors=self._faults,
            warm=None if self.warm_store is None else self.warm_store.stats(),
        )

    def close(self) -> None:
        """Stop the parts beside the cache."""
        if self.warm is not None:
            self.warm.close()
        self.attribution.close()
        if self.exposition is not None:
            self.exposition.close()
        if self.pressure is not None:
            forbid_laps()
            self.pressure.stop()
        if self.recording is not None:
            self.recording.close()
        if self.reporting is not None:
            self.reporting.stop()
        if self.warm_store is not None:
            self.warm_store.close()

    def _count_fault(self) -> None:
        self._faults += 1

    def _start_once(self) -> None:
        if self._pid == os.getpid():  # another thread was faster
            return
        self._pid = os.getpid()
        self._start()

    def _start(self) -> None:
        settings = self._settings
        if self.cache.config.mode == "enforce":
            self._start_part("the memory pressure watch", self._watch_memory)
        if self.serves and settings.attribution:
            self._start_part("the per-DAG usage socket", self.attribution.start)
        if self.serves and settings.metrics_ports:
            self._start_part("metrics", self._expose)
        if settings.gc_freeze:
            self._start_part("gc_freeze", self._freeze_heap)
        if self.serves and settings.airflow_metrics:
            self._start_part("Airflow's metrics", self._report_to_airflow)
        if settings.trace:
            self._start_part("trace recording", self._record)
        self._start_part("the start-up log line", self._announce)

    def _start_part(self, what: str, start: Callable[[], object]) -> None:
        """Start one part; its failure does not affect the other parts."""
        try:
            start()
        except Exception as error:
            name = self.cache.config.name
            report(f"{what} of the {name}", "dagcache serves the %s without %s", name, what, error=error)

    def _watch_memory(self) -> None:
        settings = self._settings
        self.pressure = MemoryPressure(self.cache, high=settings.high_watermark, low=settings.low_watermark)
        self.pressure.watch()
        if self.pressure.is_watching:
            allow_laps()

    def _expose(self) -> None:
        settings = self._settings
        self.exposition = MetricsEndpoint(
            self.cache,
            self.pressure,
            beside=self.stats,
            host=settings.metrics_host,
            ports=settings.metrics_ports,
            targets=self._targets,
        )

    def _report_to_airflow(self) -> None:
        if reporting.is_on():
            self.reporting = reporting.Reporting(self.cache, self.pressure, reporting.client())
            self.reporting.start(self._settings.airflow_metrics)

    def _freeze_heap(self) -> None:
        self._heap = HeapFreeze()

    def _record(self) -> None:
        if not try_for(_PATIENCE, self._open_recording, "dagcache-trace-file"):
            message = "trace recording is delayed: directory %s does not respond"
            report("recording, waits", message, self._settings.trace, level=logging.WARNING)

    def _open_recording(self) -> None:
        settings = self._settings
        try:
            path = new_file_in(Path(settings.trace), self.cache.config.name)
            self.recording = record(self.cache, path, max_bytes=settings.trace_max_bytes, ids=settings.trace_ids)
        except Exception as error:
            reason = getattr(error, "strerror", None) or error
            report(
                "recording", "trace recording in %s is unavailable: %s", settings.trace, reason, level=logging.WARNING
            )
        else:
            message = "dagcache records the lookups of the %s in %s"
            report(
                f"recording of the {self.cache.config.name}", message, self.cache.config.name, path, level=logging.INFO
            )

    def _announce(self) -> None:
        config = self.cache.config
        budget = self.cache.max_bytes
        port = None if self.exposition is None else self.exposition.port
        _log.info(
            "dagcache serves %s: max_bytes = %s%s, ttl = %s s, %s%s",
            f"the {config.name}" if self.serves else f"the in-process API of {_this_process()}",
            format_limit(budget),
            _origin(config),
            exact_seconds(config.ttl),
            config.mode,
            "" if port is None else f", metrics on http://{bracketed(self._settings.metrics_host)}:{port}/metrics",
        )
        if self._without_effect:
            _log.info(
                "without effect in the %s: %s; the cache bounds its DAGs by [dagcache] max_bytes and ttl",
                config.name,
                ", ".join(self._without_effect),
            )

    def _after_fork_in_child(self) -> None:
        self._starting, self._counting = Lock(), Lock()
        self._heap = None
        self.exposition = self.pressure = self.recording = self.reporting = None


def _freezer(*, portable: bool) -> tuple[PickleFreezer, list[object], list[str]]:
    """The freezer, the objects it shares, and their description for a fingerprint."""
    if not portable:
        nothing: list[str] = []
        return *graphs.freezer(), nothing
    from dagcache.airflow.allow_list import allow_list
    from dagcache.airflow.fingerprint import described_objects

    described = described_objects()
    return *graphs.freezer(allow_list()), described


def _origin(config: CacheConfig) -> str:
    """The source of a relative budget; empty for an absolute one."""
    if not config.max_bytes.is_relative:
        return ""
    shared = f", shared by {config.workers} workers" if config.workers > 1 else ""
    return f" ({config.max_bytes} of {_whole_memory(config)}{shared})"


def _whole_memory(config: CacheConfig) -> str:
    """The memory that percentages refer to, and where it comes from."""
    if config.memory_limit:
        return f"memory_limit, {format_bytes(config.memory_limit)}"
    found = memory_limit()
    name = "the machine's memory" if found.source == "machine" else "the container's memory limit"
    return f"{name}, {format_bytes(found.bytes)}"


def _this_process() -> str:
    """The component that this process is, by its command line: others than the API server have its bag as well."""
    return next((f"the {name.replace('-', '_')}" for name in _WITH_AN_API if name in sys.argv), "this process")
