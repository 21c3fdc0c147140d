"""An executor that ends tasks after a usual time without running them: the work of a scheduler without workers."""

from __future__ import annotations

import gc
import os
import random
import time
from heapq import heappop, heappush
from typing import Any

from dagcache.airflow import component
from tests.in_airflow.instant import InstantExecutor

IDLE = "idle"
"""Prefix of the ids of DAGs with waiting tasks."""
SECONDS = "BENCHMARKS_TASK_SECONDS"
"""The variable with the median seconds of a task and, after a comma, of a waiting task."""
_SIGMA = 0.7


class DrawnSeconds(InstantExecutor):
    """Ends each task, successfully, some drawn seconds after it was handed over."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._random = random.Random(1)
        self._under_way: list[tuple[float, int, dict[str, Any]]] = []
        self._count = 0
        self._median, self._waiting = map(float, os.environ[SECONDS].split(","))

    def start(self) -> None:
        """Time loads in CPU seconds, so that other work of the machine is not in the trace."""
        for each in (found for found in gc.get_objects() if isinstance(found, component.Component)):
            each.cache._lookups.timer = time.thread_time  # noqa: SLF001

    def sync(self) -> None:
        """End those that are due."""
        now = time.monotonic()
        for names in self._handed_over:
            median = self._waiting if names["dag_id"].startswith(IDLE) else self._median
            self._count += 1
            due = now + median * self._random.lognormvariate(0, _SIGMA)
            heappush(self._under_way, (due, self._count, names))
        self._handed_over.clear()
        while self._under_way and self._under_way[0][0] <= now:
            self._handed_over.append(heappop(self._under_way)[2])
        super().sync()
