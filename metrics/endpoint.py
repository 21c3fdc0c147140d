"""The metrics endpoint of one component: served on a port, and announced to Prometheus."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from dagcache.concurrency.repetition import Repetition, repeat
from dagcache.concurrency.time_limit import try_for
from dagcache.core.cache import DagCache
from dagcache.log_limits import report
from dagcache.metrics.collector import CacheCollector, FaultCollector
from dagcache.metrics.file_sd import RENEWAL_SECONDS, Targets
from dagcache.metrics.server import MetricsServer
from dagcache.pressure import MemoryPressure
from dagcache.stats import ComponentStats

_DIRECTORY_SECONDS = 2.0  # it may be on another machine


class Endpoint:
    """Serves the metrics of a collector on the first free port, and announces them in the directory ``targets``.

    A missing free port, or a directory that cannot be written, is a warning in the log and nothing more. A directory
    that does not answer delays the constructor by two seconds at most; the announcement follows when it does. In a
    forked child the endpoint is closed. Not thread-safe, but for `withdraw`.
    """

    def __init__(self, collector: Collector, component: str, *, host: str, ports: Sequence[int], targets: Path) -> None:
        registry = CollectorRegistry()
        registry.register(collector)
        self._component = component
        self._directory = targets
        self._server = MetricsServer(registry, host=host, ports=ports, owner=component)
        self._targets = Targets(targets)
        self._is_announced = False
        self._renewal: Repetition | None = None
        if self._server.start() and self._server.port is not None:
            self._announce(host, self._server.port)

    @property
    def port(self) -> int | None:
        """The port in use; None if there is no endpoint."""
        return self._server.port

    def withdraw(self) -> None:
        """Remove the announcement, and serve on. Returns within two seconds. Thread-safe."""
        if self._renewal is not None:
            self._renewal.end()
        if self._is_announced:
            try_for(_DIRECTORY_SECONDS, self._targets.remove, "dagcache-withdrawal")

    def close(self) -> None:
        """Stop listening, and remove the announcement. Returns within four seconds."""
        self._server.close()
        self.withdraw()

    def _announce(self, host: str, port: int) -> None:
        self._targets.register(self._component, host, port)
        self._is_announced = True
        renewed = threading.Event()

        def renew(targets: Targets) -> None:
            targets.renew()
            renewed.set()

        try:
            self._renewal = repeat(renew, self._targets, RENEWAL_SECONDS, "dagcache-targets", at_once=True)
        except RuntimeError:  # no more threads, or the interpreter is ending
            renew(self._targets)
        if not renewed.wait(_DIRECTORY_SECONDS):
            message = "could not announce this process to Prometheus yet: %s does not answer"
            report("targets", message, self._directory, level=logging.WARNING)


class MetricsEndpoint(Endpoint):
    """The endpoint of a cache. ``beside`` gives the figures of its component that the cache does not have."""

    def __init__(
        self,
        cache: DagCache[Any, Any],
        pressure: MemoryPressure | None,
        *,
        host: str,
        ports: Sequence[int],
        targets: Path,
        beside: Callable[[], ComponentStats] | None = None,
    ) -> None:
        name = cache.config.name
        collector = CacheCollector(
            [cache], {} if pressure is None else {name: pressure}, {} if beside is None else {name: beside}
        )
        super().__init__(collector, name, host=host, ports=ports, targets=targets)


class FaultEndpoint(Endpoint):
    """The endpoint of a component without a cache, which a fault keeps off; ``reason`` is one of `FAULTS`."""

    def __init__(self, component: str, reason: str, *, host: str, ports: Sequence[int], targets: Path) -> None:
        super().__init__(FaultCollector(component, reason), component, host=host, ports=ports, targets=targets)
