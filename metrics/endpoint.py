"""The metrics endpoint of one component: served on a port, and announced to Prometheus."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from dagcache.concurrency.time_limit import try_for
from dagcache.core.cache import DagCache
from dagcache.log_limits import report
from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.file_sd import Targets
from dagcache.metrics.server import MetricsServer
from dagcache.pressure import MemoryPressure

_DIRECTORY_SECONDS = 2.0  # it may be on another machine


class MetricsEndpoint:
    """Serves the metrics of a cache on the first free port, and announces them in the directory ``targets``.

    A missing free port, or a directory that cannot be written, is a warning in the log and nothing more. A directory
    that does not answer delays the constructor by two seconds at most; the announcement follows when it does. In a
    forked child the endpoint is closed. Not thread-safe.
    """

    def __init__(
        self,
        cache: DagCache[Any, Any],
        pressure: MemoryPressure | None,
        *,
        host: str,
        ports: Sequence[int],
        targets: Path,
    ) -> None:
        registry = CollectorRegistry()
        registry.register(CacheCollector([cache], {} if pressure is None else {cache.config.name: pressure}))
        self._server = MetricsServer(registry, host=host, ports=ports)
        self._targets = Targets(targets)
        if self._server.start() and self._server.port is not None:
            add = functools.partial(self._targets.add, cache.config.name, host, self._server.port)
            if not try_for(_DIRECTORY_SECONDS, add, "dagcache-targets"):
                message = "could not announce this process to Prometheus yet: %s does not answer"
                report("targets", message, targets, level=logging.WARNING)

    @property
    def port(self) -> int | None:
        """The port in use; None if there is no endpoint."""
        return self._server.port

    def close(self) -> None:
        """Stop listening, and remove the announcement. Returns within two seconds."""
        self._server.close()
        self._targets.remove()
