"""Executors that take tasks and never run them: the runs of a scheduler that is measured do not end."""

from __future__ import annotations

import gc
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.executors.base_executor import BaseExecutor

from benchmarks.allocated import ALLOCATED, Allocated, write_down
from dagcache.core.cache import DagCache
from dagcache.sizing.allocators import allocated_bytes


class IdleExecutor(BaseExecutor):  # type: ignore[misc, unused-ignore]
    """An executor that leaves its queue alone."""

    def queue_workload(self, workload: Any, session: Any) -> None:
        """Take a task over."""

    def sync(self) -> None:
        """Nothing is running."""

    def end(self) -> None:
        """Nothing is running."""

    def terminate(self) -> None:
        """Nothing is running."""


class CollectingExecutor(IdleExecutor):
    """An idle executor that has all garbage collected in each loop of the scheduler.

    It then writes down the bytes that the allocators have handed out, beside those that the cache accounts: the loop
    holds no objects of the database and no DAGs at that moment.
    """

    def sync(self) -> None:
        """Collect, and write the bytes down."""
        gc.collect()
        accounted = sum(cache.stats().total_bytes for cache in self._caches)  # disposes of what the collector freed
        write_down(self._file, Allocated(accounted, allocated_bytes()))

    @cached_property
    def _file(self) -> Path:
        return Path(os.environ["AIRFLOW_HOME"]) / ALLOCATED

    @cached_property
    def _caches(self) -> list[DagCache[Any, Any]]:
        """The cache of this process, made before the first loop.

        Raises:
            RuntimeError: there is none, or another number than one.

        """
        caches = [each for each in gc.get_objects() if type(each) is DagCache]
        if len(caches) != (os.environ.get("AIRFLOW__DAGCACHE__MODE") != "off"):
            raise RuntimeError(f"expected one cache, or none with mode=off; found {len(caches)}")
        return caches
