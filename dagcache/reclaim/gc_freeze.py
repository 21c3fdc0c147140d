"""A heap that the garbage collector ignores (``gc.freeze``), so that its pauses do not grow with the cache.

It is an option, because it concerns the whole process: garbage in a frozen heap is found only by the hourly thaw.
Airflow's LocalExecutor unfreezes the heap after each fork; the next freeze here restores it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from dagcache.concurrency.lock import Lock

LOADS_PER_FREEZE = 64
SECONDS_PER_THAW = 3600.0


class HeapFreeze:
    """Freezes the heap on creation and again after some loads; thaws it for a full collection once an hour.

    A collection of all objects that are not frozen precedes each freeze, so that no garbage is kept.
    Thread-safe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._loads = 0
        self._thawed = clock()
        _freeze()

    def after_load(self) -> None:
        """Count a load, and freeze again after enough of them, unless another thread does so already."""
        self._loads += 1
        if self._loads >= LOADS_PER_FREEZE:
            self._lock.try_run(self._freeze_again)

    def _freeze_again(self) -> None:
        self._loads = 0
        if self._clock() - self._thawed >= SECONDS_PER_THAW:
            self._thawed = self._clock()
            gc.unfreeze()
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()
