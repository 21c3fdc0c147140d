"""The slowness of this machine: the time of work that resembles a thaw, relative to the machine of the measurements.

In a process at work the memory for new objects is scattered: in the holes that earlier objects have left. So a thaw
waits for memory most of the time, and the share of that time differs from machine to machine. The probe makes such a
heap first, and then unpickles several values in turn into its holes. Beside a process that used all of the memory's
bandwidth, thaws took 1.41 times as long, and the probe's work 1.34 times; work on one small value, over and over, took
1.17 times as long.
"""

from __future__ import annotations

import pickle
import random
import time
from collections import deque
from collections.abc import Callable

from dagcache.reclaim.gc_pause import gc_paused

_VALUES, _RECORDS = 10, 2000
_SCATTERED = 100_000
"""Small groups of objects. Half of them, chosen at random, are freed."""
_STEP_SECONDS = 2.0e-3
"""For one value, on the machine of the constants."""


class Probe:
    """Measures the slowness again and again. It holds some 40 MiB. Not thread-safe.

    A measurement is comparable with others only in a process whose heap has few holes.

    ``timer``: a clock of CPU seconds. CPU time does not depend on other load of the machine. A busy scheduler takes
    longer than predicted.
    """

    def __init__(self, timer: Callable[[], float] = time.process_time) -> None:
        self._timer = timer
        with gc_paused():
            self._heap = _scattered()
            self._pickled = [_pickled(number) for number in range(_VALUES)]
        self._held: deque[object] = deque(maxlen=_VALUES)
        self._next = 0
        self._unpickle(2 * _VALUES)

    def slowness(self, steps: int = 100) -> float:
        """How many times as long as on the machine of the constants; a step takes about two milliseconds."""
        started = self._timer()
        self._unpickle(steps)
        return (self._timer() - started) / steps / _STEP_SECONDS

    def _unpickle(self, steps: int) -> None:
        with gc_paused():
            for _ in range(steps):
                self._held.append(pickle.loads(self._pickled[self._next % _VALUES]))
                self._next += 1


def _scattered() -> list[object]:
    """Objects with holes between them, always the same ones."""
    heap: list[object] = [{"a": [number], "b": str(number) * 2} for number in range(_SCATTERED)]
    random.Random(1).shuffle(heap)
    del heap[::2]
    return heap


def _pickled(number: int) -> bytes:
    records = [
        {"id": f"task_{number}_{record}", "parts": [record, str(record), {"a": float(record)}]}
        for record in range(_RECORDS)
    ]
    return pickle.dumps(records, 5)
