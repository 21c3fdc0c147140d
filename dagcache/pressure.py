"""Memory pressure: the budget follows what the process may still use.

Above the high mark of the memory limit the cache's budget shrinks below what is held, by a twentieth of the configured
budget or by what is over the mark, whichever is more, down to a tenth of the configured budget, which in general still
holds every frozen copy (live copies go first).
Below the low mark it grows back, a twentieth at a time. Between the marks nothing happens. The direction changes once a
minute at most: a budget that swings costs more loads than one that is too small.
"""

from __future__ import annotations

import enum
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dagcache.cache import DagCache
from dagcache.log_limits import report
from dagcache.sizing.limits import format_bytes
from dagcache.sizing.memory import give_back, resident_bytes

_log = logging.getLogger("dagcache")

STEP = 0.05
"""Of the configured budget: the least that is taken at once, and what is given back at once."""
FLOOR = 0.10
"""Of the configured budget: what the cache keeps in any case."""
SHRINK_SECONDS = 5.0
"""Between two steps down: what was freed must be seen in the resident memory first."""
GROW_SECONDS = 30.0
"""Between two steps up."""
TURN_SECONDS = 60.0
"""Between two changes of direction."""

_ABSURDLY_SMALL = 1024**2


class PressureState(enum.Enum):
    """What is being done about the memory."""

    OFF = "off"
    """Nothing: nobody looks, or the memory limit cannot be read."""
    CALM = "calm"
    """The configured budget is in force."""
    SHRINKING = "shrinking"
    """Above the high mark: the budget goes down."""
    FLOOR = "floor"
    """Above the high mark with nothing left to give: something else fills the memory."""
    SHRUNK = "shrunk"
    """The budget is held below the configured one."""
    GROWING = "growing"
    """Below the low mark: the budget goes up."""


class MemoryPressure:
    """Resizes a cache by the process's memory; nobody else does so on their own. Never raises.

    ``step`` looks once; ``watch`` does so in a daemon thread. Not thread-safe: after ``watch``, leave ``step`` to it.
    A ``cache.resize`` of the operator's becomes the new configured budget. If that is 0 (unbounded), what is held
    when shrinking starts stands in for it (at least a twentieth of the limit); growing back to that unbinds the cache.

    Args:
        cache: whose budget it is.
        limit: the memory that ``resident`` may reach, in bytes, asked at every step.
        resident: the memory in use, in bytes.
        high: the share of the limit above which the budget shrinks.
        low: the share of the limit below which it grows back.
        clock: monotonic seconds.

    """

    def __init__(
        self,
        cache: DagCache[Any, Any],
        *,
        limit: Callable[[], int],
        resident: Callable[[], int] = resident_bytes,
        high: float = 0.90,
        low: float = 0.80,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._limit = limit
        self._resident = resident
        self._high = high
        self._low = low
        self._clock = clock
        self._configured = self._applied = cache.max_bytes
        self._full = self._configured  # what steps are shares of
        self._direction = PressureState.CALM
        self._turned = self._moved = -math.inf
        self._told_of_floor = False
        self._watcher: tuple[int, threading.Event] | None = None
        self.state = PressureState.OFF

    @property
    def configured(self) -> int:
        """The budget that growing ends at, in bytes; 0 = unbounded."""
        return self._configured

    def step(self) -> PressureState:
        """Look once and act; what is being done now."""
        try:
            self.state = self._step()
        except Exception as error:
            self.state = PressureState.OFF
            message = "memory pressure of the cache %r cannot be told"
            report("pressure", message, self._name, error=error, level=logging.WARNING)
        return self.state

    def watch(self, interval: float = 5.0) -> None:
        """Step every ``interval`` seconds, from a daemon thread that ends with this object; again once per process."""
        if self._watcher is not None and self._watcher[0] == os.getpid():
            return
        stopped = threading.Event()
        arguments = (weakref.ref(self), stopped, interval)
        thread = threading.Thread(target=_watch, args=arguments, name="dagcache-pressure", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            _log.warning("memory pressure of the cache %r is not watched: %s", self._name, error)
            return
        self._watcher = (os.getpid(), stopped)
        weakref.finalize(self, _stop, os.getpid(), stopped)

    def stop(self) -> None:
        """End the thread; the budget stays as it is."""
        if self._watcher is not None:
            _stop(*self._watcher)
            self._watcher = None
        self.state = PressureState.OFF

    def _step(self) -> PressureState:
        self._notice_resize()
        limit = self._limit()
        if not limit >= _ABSURDLY_SMALL:  # not "<": NaN is absurd, too
            message = "memory pressure is not looked at: %r bytes are no memory limit"
            report("memory limit", message, limit, level=logging.WARNING)
            return PressureState.OFF
        resident = self._resident()
        if resident > self._high * limit:
            return self._shrink(math.ceil(resident - self._high * limit), limit)
        if resident < self._low * limit and self._applied != self._configured:
            return self._grow()
        return self._resting()

    def _notice_resize(self) -> None:
        budget = self._cache.max_bytes
        if budget != self._applied:
            self._configured = self._applied = self._full = budget

    def _shrink(self, excess: int, limit: int) -> PressureState:
        if not self._may_move(PressureState.SHRINKING, SHRINK_SECONDS):
            return PressureState.SHRINKING if self._direction is PressureState.SHRINKING else self._resting()
        held = self._cache.stats().total_bytes
        if not self._applied:
            self._full = max(held, math.ceil(STEP * limit))
        floor = math.ceil(FLOOR * self._full)
        effective = min(self._applied or held, held)
        budget = max(floor, effective - max(math.ceil(STEP * self._full), excess))
        if self._applied and budget >= self._applied:
            self._tell_of_floor()
            return PressureState.FLOOR
        self._move(PressureState.SHRINKING, budget)
        give_back()
        return PressureState.SHRINKING

    def _grow(self) -> PressureState:
        if not self._may_move(PressureState.GROWING, GROW_SECONDS):
            return PressureState.GROWING if self._direction is PressureState.GROWING else self._resting()
        budget = self._applied + math.ceil(STEP * self._full)
        self._move(PressureState.GROWING, self._configured if budget >= self._full else budget)
        return PressureState.GROWING if self._applied != self._configured else PressureState.CALM

    def _resting(self) -> PressureState:
        return PressureState.CALM if self._applied == self._configured else PressureState.SHRUNK

    def _may_move(self, direction: PressureState, pause: float) -> bool:
        now = self._clock()
        turns = direction is not self._direction
        return now - self._moved >= pause and (not turns or now - self._turned >= TURN_SECONDS)

    def _move(self, direction: PressureState, budget: int) -> None:
        self._moved = self._clock()
        if direction is not self._direction:
            self._direction = direction
            self._turned = self._moved
            self._told_of_floor = False
            level = logging.WARNING if direction is PressureState.SHRINKING else logging.INFO
            before = format_bytes(self._applied) if self._applied else "no limit"
            with suppress(Exception):  # a handler of the host's
                _log.log(level, "memory pressure: the cache %r is %s from %s", self._name, direction.value, before)
        self._cache.resize(budget)
        self._applied = budget

    @property
    def _name(self) -> str:
        return self._cache.config.name

    def _tell_of_floor(self) -> None:
        """Say it, once until the direction changes."""
        if not self._told_of_floor:
            self._told_of_floor = True
            with suppress(Exception):  # a handler of the host's
                _log.warning("the cache %r is as small as it gets; the memory is used elsewhere", self._name)


def _stop(pid: int, stopped: threading.Event) -> None:
    if pid == os.getpid():  # in a forked child the event's lock may be held by a thread that is not there
        stopped.set()


def _watch(reference: weakref.ref[MemoryPressure], stopped: threading.Event, interval: float) -> None:
    while not stopped.wait(interval):
        pressure = reference()
        if pressure is None:
            return
        pressure.step()
        del pressure
