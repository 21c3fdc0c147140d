"""The endpoint of one component: its cache's metrics, served on a port and announced to Prometheus."""

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

_PATIENCE = 2.0  # seconds for a directory that may be on another machine


class MetricsEndpoint:
    """Serves a cache's metrics on the first free port, and writes that down in the directory ``targets``.

    Without a free port, or with a directory that cannot be written, there is a warning in the log and no more. A
    directory that does not answer is waited for for two seconds; it is written when it does. In a forked child it is
    closed. Not thread-safe.
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
            if not try_for(_PATIENCE, add, "dagcache-targets"):
                message = "Prometheus is not yet told of this process: %s does not answer"
                report("targets", message, targets, level=logging.WARNING)

    @property
    def port(self) -> int | None:
        """The port that is listened on; None if there is none."""
        return self._server.port

    def close(self) -> None:
        """Stop listening, and take the announcement back. Returns within two seconds."""
        self._server.close()
        self._targets.remove()
