"""Memory pressure: the budget follows the memory that is still free.

Two uses are compared with their limits: that of the process (anonymous and shared-memory pages) and that of the
container, which may run other processes. The kernel's pressure stall information (PSI) adds how long tasks wait for
memory. Pages of files that the kernel can drop are never counted.

- Above the high mark, or stalled: the budget shrinks below the held bytes, by a twentieth of the configured budget or
  by the excess over the mark if that is more, down to a tenth of the configured budget. Live copies go first, and a
  tenth usually still holds every frozen copy. Shrinking waits only for the effect of the step before.
- Below the low mark, a minute after the high mark was last exceeded: the budget grows back, a twentieth every 30 s.
- Between the marks, five minutes after the high mark was last exceeded: the budget grows back, a twentieth every five
  minutes, as long as a further step fits below the high mark. So a short peak does not leave a small cache for days.

Growth was wrong if the high mark is exceeded within five minutes of a step up. Each wrong growth doubles these minutes
and the two waits, up to eight times; they are short again once the configured budget has been in force for one long
wait. A budget that swings costs more loads than one that is too small.
"""

from __future__ import annotations

import enum
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeGuard

from dagcache.concurrency.repetition import Repetition, repeat
from dagcache.config import CacheConfig
from dagcache.core.cache import DagCache
from dagcache.errors import ConfigError
from dagcache.log_limits import report
from dagcache.reclaim.gc_lap import end_lap_if_over
from dagcache.sizing.cgroups import Stall
from dagcache.sizing.durations import MAX_SECONDS
from dagcache.sizing.limits import format_bytes
from dagcache.sizing.memory import (
    MemoryUse,
    container_use,
    give_back,
    memory_limit,
    memory_stall,
    unreclaimable_bytes,
)

_log = logging.getLogger("dagcache")

STEP = 0.05
"""Share of the configured budget: the smallest step down, and the step up."""
FLOOR = 0.10
"""Share of the configured budget that the cache always keeps."""
SHRINK_SECONDS = 5.0
"""Between two steps down: the memory must show the effect of the first."""
STALL_SECONDS = 10.0
"""Between two steps down because of stalls alone, which are averages over ten seconds."""
GROW_SECONDS = 30.0
"""Between two steps up below the low mark."""
TURN_SECONDS = 60.0
"""Below the low mark, from the last time above the high mark to the first step up, if no growth was wrong."""
PROBE_SECONDS = 300.0
"""Between the marks, from the last step, or the last time above the high mark, to the next step up; if no growth was
wrong. A step up was wrong if the high mark is exceeded within this time of it."""
MOST_DOUBT = 8
"""The most by which wrong growth multiplies the waits."""
STALL_PERCENT = 20.0
"""Of the last ten seconds. All tasks waited for so long: the budget shrinks. Any task did: the budget does not grow.
In a full control group of 200 MiB (Linux 6.18, SSD) a task that reads files now and then waited for 0 - 1 %, one that
streams a file without a pause for 5 - 13 %, and one with a mapped file larger than the free memory for 17 - 31 %.
systemd-oomd kills at 60 %."""

SHORTEST_INTERVAL = 0.1
"""The least number of seconds between two steps: a step takes about a millisecond of processor time."""

_ABSURDLY_SMALL = 1024**2
_SHARES = "a share of the memory limit above 0 and at most 1, as 0.9"
_INTERVALS = f"a number of seconds from {SHORTEST_INTERVAL} to {MAX_SECONDS} (100 years)"


class PressureState(enum.Enum):
    """The current action of the memory monitor."""

    OFF = "off"
    """None: no monitor runs, or the memory limit cannot be read."""
    CALM = "calm"
    """None: the configured budget is in force."""
    SHRINKING = "shrinking"
    """Above the high mark, or stalled: the budget goes down."""
    FLOOR = "floor"
    """Above the high mark, or stalled, with the budget at its minimum: something else fills the memory."""
    SHRUNK = "shrunk"
    """The budget is held below the configured one."""
    GROWING = "growing"
    """The budget goes up."""


class MemoryPressure:
    """Resizes a cache by the memory in use; a cache without one keeps its budget. ``step`` never raises.

    ``step`` acts once; ``watch`` does so in a daemon thread. Not thread-safe: after ``watch``, do not call ``step``.

    The configured budget is the last one that was requested (``cache.requested``). A percentage is resolved at each
    step, so the budget follows a container that is resized in place. A shrunken budget then keeps its bytes, or
    falls to the new configured budget. ``cache.resize`` puts its budget in force immediately and starts over. If the
    configured budget is 0 (unbounded), the held bytes at the first step down replace it (at least a twentieth of
    the limit). When the budget has grown back to that, the cache is unbounded again.

    Args:
        cache: the cache that is resized.
        limit: the memory that ``resident`` may reach, in bytes, read at every step. By default the cache's
            ``memory_limit``, else the limit of the container or the machine, divided by ``workers``.
        resident: the memory in use, in bytes; by default the process's anonymous and shared-memory pages.
        container: the uses and limits of the groups that the process belongs to. By default those of its control
            groups, and none where ``limit`` or the cache's ``memory_limit`` is set: a setting replaces detection.
        stall: the waits for memory. By default the kernel's, and none where a limit is set, as for ``container``.
        high: the share of a limit above which the budget shrinks, above 0 and at most 1.
        low: the share of a limit below which it grows back soon, above 0 and at most ``high``.
        clock: monotonic seconds.

    Raises:
        ConfigError: (a ValueError) ``high`` or ``low`` is not such a share.

    """

    def __init__(
        self,
        cache: DagCache[Any, Any],
        *,
        limit: Callable[[], int] | None = None,
        resident: Callable[[], int] = unreclaimable_bytes,
        container: Callable[[], Sequence[MemoryUse]] | None = None,
        stall: Callable[[], Stall] | None = None,
        high: float = 0.90,
        low: float = 0.80,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._high, self._low = _share(high, "high"), _share(low, "low")
        if self._low > self._high:
            raise ConfigError("low", low, f"at most high = {high}")
        is_given = limit is not None or cache.config.memory_limit > 0
        self._cache = cache
        self._limit = limit or (lambda: _share_of_memory(cache.config))
        self._resident = resident
        self._container = container or (_no_container if is_given else container_use)
        self._stall = stall or (Stall if is_given else memory_stall)
        self._clock = clock
        self._requested = cache.requested
        self._configured = self._full = cache.config.resolve(self._requested)
        self._applied = cache.max_bytes
        self._direction = PressureState.CALM
        self._exceeded = self._moved = self._grown = -math.inf
        self._doubt = 1
        self._floor_reported = False
        self._repetition: Repetition | None = None
        self.state = PressureState.OFF

    @property
    def configured(self) -> int:
        """The budget at which growth ends, in bytes, as of the last step; 0 = unbounded."""
        return self._configured

    def step(self) -> PressureState:
        """Compare memory with its limits once and act. Returns the current action.

        Its thread also ends a lap of rare garbage collections that is over: `dagcache.reclaim.gc_lap`.
        """
        end_lap_if_over()
        try:
            self.state = self._step()
        except Exception as error:
            self.state = PressureState.OFF
            message = "could not determine memory pressure for cache %r"
            report("pressure", message, self._name, error=error, level=logging.WARNING)
        return self.state

    def watch(self, interval: float = 5.0) -> None:
        """Step every ``interval`` seconds in a daemon thread, which ends with this object. Call it again after a fork.

        Raises:
            ConfigError: (a ValueError) the interval is below 0.1 s, above 100 years, or not a number.

        """
        if not _is_number(interval) or not SHORTEST_INTERVAL <= interval <= MAX_SECONDS:
            raise ConfigError("interval", interval, _INTERVALS)
        if self.is_watching:
            return
        try:
            self._repetition = repeat(MemoryPressure.step, self, interval, "dagcache-pressure")
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            _log.warning("memory pressure of cache %r is not monitored: %s", self._name, error)

    @property
    def is_watching(self) -> bool:
        """Whether the thread runs in this process."""
        return self._repetition is not None and self._repetition.is_here

    def stop(self) -> None:
        """End the thread; the budget stays as it is."""
        if self._repetition is not None:
            self._repetition.end()
            self._repetition = None
        self.state = PressureState.OFF

    def _step(self) -> PressureState:
        self._follow_configuration()
        limit = self._limit()
        if not limit >= _ABSURDLY_SMALL:  # not "<": NaN is absurd, too
            message = "memory pressure is not monitored: a memory limit of %r bytes is not valid"
            report("memory limit", message, limit, level=logging.WARNING)
            return PressureState.OFF
        uses = [MemoryUse(self._resident(), limit), *self._container()]
        stall = self._stall()
        excess = math.ceil(max(use.used - self._high * use.limit for use in uses))
        if excess > 0 or stall.full >= STALL_PERCENT:
            self._exceeded = self._clock()
            return self._shrink(excess, limit)
        if self._applied == self._configured:
            self._regain_trust()
            return PressureState.CALM
        is_low = all(use.used < self._low * use.limit for use in uses)
        if stall.some >= STALL_PERCENT or not (is_low or excess + self._portion <= 0):
            return PressureState.SHRUNK
        return self._grow(is_low)

    def _follow_configuration(self) -> None:
        """Adopt a budget that was requested since the last step, and resolve a percentage again."""
        requested = self._cache.requested
        budget = self._cache.config.resolve(requested)
        if requested is not self._requested:
            self._requested = requested
            self._direction, self._doubt = PressureState.CALM, 1
            self._configure(budget, applied=budget)
        elif budget != self._configured:
            with suppress(Exception):  # a handler of the host's
                message = "the memory limit has changed: max_bytes = %s of cache %r is now %s, was %s"
                before = format_bytes(self._configured)
                _log.info(message, requested, self._name, format_bytes(budget), before)
            is_shrunk = self._applied != self._configured
            self._configure(budget, applied=min(self._applied, budget) if is_shrunk else budget)

    def _configure(self, budget: int, *, applied: int) -> None:
        self._configured = self._full = budget
        if self._cache.max_bytes != applied:
            self._cache.apply_budget(applied)
        self._applied = applied

    def _shrink(self, excess: int, limit: int) -> PressureState:
        if self._exceeded - self._moved < (SHRINK_SECONDS if excess > 0 else STALL_SECONDS):
            return PressureState.SHRINKING if self._direction is PressureState.SHRINKING else self._resting()
        held = self._cache.stats().total_bytes
        if not self._applied:
            self._full = max(held, math.ceil(STEP * limit))
        floor = math.ceil(FLOOR * self._full)
        effective = min(self._applied or held, held)
        budget = max(floor, effective - max(self._portion, excess))
        if self._applied and budget >= self._applied:
            self._report_floor()
            return PressureState.FLOOR
        if self._exceeded - self._grown < self._probe_seconds:
            self._doubt = min(2 * self._doubt, MOST_DOUBT)
            self._grown = -math.inf  # one growth is wrong once
        self._move(PressureState.SHRINKING, budget)
        give_back()
        return PressureState.SHRINKING

    def _grow(self, is_low: bool) -> PressureState:
        now = self._clock()
        if is_low:
            may_grow = now - self._exceeded >= TURN_SECONDS * self._doubt and now - self._moved >= GROW_SECONDS
        else:
            may_grow = now - max(self._exceeded, self._moved) >= self._probe_seconds
        if not may_grow:
            return PressureState.GROWING if self._direction is PressureState.GROWING else PressureState.SHRUNK
        budget = self._applied + self._portion
        self._move(PressureState.GROWING, self._configured if budget >= self._full else budget)
        self._grown = now
        return PressureState.GROWING if self._applied != self._configured else PressureState.CALM

    def _resting(self) -> PressureState:
        return PressureState.CALM if self._applied == self._configured else PressureState.SHRUNK

    def _regain_trust(self) -> None:
        """Forget wrong growth once the configured budget has been in force for long enough."""
        if self._clock() - max(self._exceeded, self._moved) >= self._probe_seconds:
            self._doubt = 1

    @property
    def _portion(self) -> int:
        return math.ceil(STEP * self._full)

    @property
    def _probe_seconds(self) -> float:
        return PROBE_SECONDS * self._doubt

    def _move(self, direction: PressureState, budget: int) -> None:
        self._moved = self._clock()
        if direction is not self._direction:
            self._direction = direction
            self._floor_reported = False
            level = logging.WARNING if direction is PressureState.SHRINKING else logging.INFO
            before = format_bytes(self._applied) if self._applied else "no limit"
            with suppress(Exception):  # a handler of the host's
                _log.log(level, "memory pressure: cache %r is %s from %s", self._name, direction.value, before)
        self._cache.apply_budget(budget)
        self._applied = budget

    @property
    def _name(self) -> str:
        return self._cache.config.name

    def _report_floor(self) -> None:
        """Log it, once until the direction changes."""
        if not self._floor_reported:
            self._floor_reported = True
            with suppress(Exception):  # a handler of the host's
                _log.warning("cache %r is at its minimum; memory is used elsewhere", self._name)


def _share_of_memory(config: CacheConfig) -> int:
    """The bytes that one process may use: workers share the memory."""
    return (config.memory_limit or memory_limit().bytes) // config.workers


def _no_container() -> Sequence[MemoryUse]:
    return ()


def _share(value: object, setting: str) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise ConfigError(setting, value, _SHARES)
    return float(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
