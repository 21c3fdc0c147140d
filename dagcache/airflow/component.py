"""What stands behind a bag: the cache, and in each process that uses it the endpoint and the watch over memory.

Threads and sockets are started where the bag is built and by the first load in a process, not in a child that was
merely forked: an executor's children inherit the bag and do not use it.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from dagcache.airflow import graphs
from dagcache.airflow.settings import Settings
from dagcache.concurrency.coarse_clock import CoarseClock
from dagcache.concurrency.lock import Lock
from dagcache.concurrency.time_limit import try_for
from dagcache.config import CacheConfig
from dagcache.core.cache import DagCache
from dagcache.inspection.server import AttributionServer
from dagcache.log_limits import report
from dagcache.metrics.endpoint import MetricsEndpoint
from dagcache.metrics.file_sd import default_directory
from dagcache.pressure import MemoryPressure
from dagcache.reclaim.gc_freeze import HeapFreeze
from dagcache.sizing.limits import format_limit
from dagcache.sizing.memory import memory_limit
from dagcache.traces.recording import Recording, new_file_in, record

_log = logging.getLogger("dagcache")

UNPROVEN_SHARE = 0.25
"""Of the budget. A scheduler that starts loads all versions before it looks any of them up again: were they all live at
first, a process with 98 MiB for 10,000 frozen versions would have grown by 141 MiB."""

_PATIENCE = 2.0  # seconds for a directory that may be on another machine


class Component:
    """The cache of one of Airflow's components, and what belongs to it. Thread-safe."""

    def __init__(
        self, settings: Settings, *, home: Path, serves: bool, version_of: Callable[[Any], tuple[str, int] | None]
    ) -> None:
        freezer, shared = graphs.freezer()
        self.cache: DagCache[UUID, Any] = DagCache(
            settings.cache,
            freezer=freezer if settings.cache.frozen else None,
            clock=CoarseClock(),
            version_of=version_of,
            shared=shared,
            unproven_share=UNPROVEN_SHARE,
        )
        self._settings = settings
        self.quarantine_seconds = settings.quarantine
        self._targets = Path(settings.metrics_targets) if settings.metrics_targets else default_directory(home)
        self._serves = serves
        self._starting = Lock()
        self._pid = 0
        self._heap: HeapFreeze | None = None
        self.exposition: MetricsEndpoint | None = None
        self.pressure: MemoryPressure | None = None
        self.recording: Recording | None = None
        self.attribution = AttributionServer(self.cache)
        _components.add(self)

    def start(self) -> None:
        """Start what a process needs beside the cache, once in each. Never raises, waits for seconds at most."""
        if self._pid != os.getpid():
            self._starting.try_run(self._start_once)

    def loaded(self) -> None:
        """See to what is due after a load."""
        self.start()
        if self._heap is not None:
            self._heap.after_load()

    def close(self) -> None:
        """Stop listening, watching and recording."""
        self.attribution.close()
        if self.exposition is not None:
            self.exposition.close()
        if self.pressure is not None:
            self.pressure.stop()
        if self.recording is not None:
            self.recording.close()

    def _start_once(self) -> None:
        if self._pid == os.getpid():  # another thread was faster
            return
        self._pid = os.getpid()
        self._start()

    def _start(self) -> None:
        settings = self._settings
        if self.cache.config.mode == "enforce":
            self._start_part("the watch over memory", self._watch_memory)
        if self._serves and settings.attribution:
            self._start_part("telling its owner who fills it", self.attribution.start)
        if self._serves and settings.metrics_ports:
            self._start_part("metrics", self._expose)
        if settings.gc_freeze:
            self._start_part("gc_freeze", self._freeze_heap)
        if settings.trace:
            self._start_part("recording", self._record)
        self._start_part("a line that says what it does", self._announce)

    def _start_part(self, what: str, start: Callable[[], object]) -> None:
        """One part; without it, the others are started all the same."""
        try:
            start()
        except Exception as error:
            name = self.cache.config.name
            report(f"{what} of the {name}", "dagcache serves the %s without %s", name, what, error=error)

    def _watch_memory(self) -> None:
        settings = self._settings
        self.pressure = MemoryPressure(self.cache, high=settings.high_watermark, low=settings.low_watermark)
        self.pressure.watch()

    def _expose(self) -> None:
        settings = self._settings
        self.exposition = MetricsEndpoint(
            self.cache,
            self.pressure,
            host=settings.metrics_host,
            ports=settings.metrics_ports,
            targets=self._targets,
        )

    def _freeze_heap(self) -> None:
        self._heap = HeapFreeze()

    def _record(self) -> None:
        if not try_for(_PATIENCE, self._open_recording, "dagcache-trace-file"):
            message = "no lookups are recorded yet: %s does not answer"
            report("recording, waits", message, self._settings.trace, level=logging.WARNING)

    def _open_recording(self) -> None:
        settings = self._settings
        try:
            path = new_file_in(Path(settings.trace), self.cache.config.name)
            self.recording = record(self.cache, path, max_bytes=settings.trace_max_bytes, ids=settings.trace_ids)
        except Exception as error:
            reason = getattr(error, "strerror", None) or error
            report("recording", "no lookups are recorded in %s: %s", settings.trace, reason, level=logging.WARNING)
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
            "dagcache serves the %s: max_bytes = %s%s, ttl = %g s, %s%s",
            config.name,
            format_limit(budget),
            _origin(config),
            config.ttl,
            config.mode,
            "" if port is None else f", metrics on http://{self._settings.metrics_host}:{port}/metrics",
        )

    def _after_fork_in_child(self) -> None:
        self._starting = Lock()
        self._heap = None
        self.exposition = self.pressure = self.recording = None


def _origin(config: CacheConfig) -> str:
    """Where a budget comes from, if it is not an absolute one."""
    if not config.max_bytes.is_relative:
        return ""
    shared = f", shared by {config.workers} workers" if config.workers > 1 else ""
    whole = "memory_limit" if config.memory_limit else f"the {memory_limit().source}'s memory"
    return f" ({config.max_bytes} of {whole}{shared})"


_components: weakref.WeakSet[Component] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for component in list(_components):
        component._after_fork_in_child()  # noqa: SLF001 - the hook of this very class


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(after_in_child=_after_fork_in_child)
