"""Single flight: of all threads that want one key, one loads or thaws it and the others wait for the result.

Followers share only a *value*. A flight that ends without one (the loader failed or found nothing, the key was
invalidated, the leader was interrupted) is *abandoned*. Then each follower starts over with its own loader, and gets
its own error or absence.

The leader holds the lock `Flight.pending` in a ``with`` statement from before any other thread can know of the flight.
The interpreter itself releases it. So however the leader's frame ends, an interrupt between any two instructions
included, the followers notice.

A load may ask for further keys, so a wait may never end. The code of a load, in any thread or task, knows
the flights that it is a part of by a context variable. A follower that *blocks* its thread also stops the flights that
this very thread leads: those of other tasks and greenlets.

`Flights` is written under the cache's lock. `Flight.wait` and `Flight.complete` are for any thread, without it.
"""

from __future__ import annotations

import enum
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final, NamedTuple

from dagcache.core.unset import UNSET

POLL_SECONDS = 1.0  # how often a follower checks whether the leader's thread still exists

ABANDONED = object()
"""The value of a flight that ended without a value to share."""


class FlightResult(NamedTuple):
    """The end of a flight, and of a lookup."""

    value: object
    frozen: bytes | None = None
    """The value's frozen form, if it has one."""
    content: Hashable = None
    """The identity of the content: `dagcache.core.loaded.Loaded.content`."""
    private: bool = False
    """Whether the value belongs to the leader alone; followers thaw `frozen`."""
    nbytes: int = 0
    """The weight of the value."""


_ABANDONED: Final = FlightResult(ABANDONED)
ABSENT: Final = FlightResult(UNSET)
"""The result of a lookup that found no value."""


class Flight:
    """One pending load or thaw."""

    __slots__ = ("__weakref__", "_gate", "awaited", "leader", "pending", "result", "thawing", "wakers")

    def __init__(self, pending: threading.Lock | None = None) -> None:
        """``pending``: a lock that several flights of one leader share."""
        self.leader = threading.current_thread()
        self.pending = threading.Lock() if pending is None else pending
        self._gate = threading.Lock()  # an event at a tenth of the cost of threading.Event
        self._gate.acquire()
        self.thawing = False
        self.result: FlightResult | None = None
        self.awaited: list[Flight] = []
        """The flights that the load waits for."""
        self.wakers: list[Callable[[], object]] = []
        """Called at the end of the flight, for followers that do not block."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or its thread is gone."""
        return self.result is not None or not self.pending.locked() or not self.leader.is_alive()

    def complete(self, result: FlightResult) -> None:
        """End the flight and wake the followers. The first result counts."""
        if self.result is None:
            self.result = result
        self._open()
        for wake in list(self.wakers):
            with suppress(RuntimeError):  # the event loop is closed
                wake()

    def abandon(self) -> None:
        """End the flight without a value, unless it has ended already."""
        self.complete(_ABANDONED)

    def wait(self, seconds: float | None = None) -> FlightResult | None:
        """Block until the flight is over, or for some seconds; then None."""
        until = None if seconds is None else time.monotonic() + seconds
        while not self.is_over:
            pause = pause_until(until)
            if pause < 0:
                return None
            if self._gate.acquire(timeout=pause):
                self._open()  # for the next follower
        self.abandon()
        return self.result

    def _open(self) -> None:
        with suppress(RuntimeError):  # it is open already
            self._gate.release()


def pause_until(until: float | None) -> float:
    """The seconds that a follower waits before it looks at the leader again; negative if its time is up.

    ``until``: the end of its time, on `time.monotonic`; None: no limit.
    """
    return POLL_SECONDS if until is None else min(POLL_SECONDS, until - time.monotonic())


# Weak references: the context of a task that a loader starts may outlive the flight, and must not hold its value.
_leading: ContextVar[tuple[weakref.ref[Flight], ...]] = ContextVar("dagcache_leading", default=())


@contextmanager
def leading(*flights: Flight) -> Iterator[None]:
    """Mark the code of the block, and the tasks that it starts, as a part of the load of flights."""
    token = _leading.set((*map(weakref.ref, _led()), *map(weakref.ref, flights)))
    try:
        yield
    finally:
        with suppress(ValueError):  # a coroutine that is closed elsewhere than in its task
            _leading.reset(token)


def _led() -> list[Flight]:
    """The flights that the running code is a part of."""
    found = [reference() for reference in _leading.get()]
    return [flight for flight in found if flight is not None]


class Wait(enum.Enum):
    """Whether a flight can be waited for."""

    NOTED = enum.auto()
    """It can, and the wait is noted."""
    ENDLESS = enum.auto()
    """The flight waits, directly or in a ring, for the load that asks for it."""
    BLOCKED = enum.auto()
    """The flight waits for this very thread, where another task or greenlet leads."""


class Flights:
    """The pending flights, by key, and which thread waits for which. Not thread-safe: kept under the cache's lock."""

    __slots__ = ("_by_key", "_waiting")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Flight] = {}
        # A stack for each thread: a signal handler may wait in the middle of a wait.
        self._waiting: dict[int, list[Flight]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Hashable) -> Flight | None:
        """The pending flight of a key; None without one, or if it is over."""
        flight = self._by_key.get(key)
        return None if flight is None or flight.is_over else flight

    def register(self, key: Hashable, flight: Flight) -> None:
        """Register a flight; its thread leads it."""
        self._by_key[key] = flight

    def is_current(self, key: Hashable, flight: Flight) -> bool:
        """Whether nothing has overtaken a flight so far."""
        return self._by_key.get(key) is flight

    def retire(self, key: Hashable, flight: Flight) -> bool:
        """Remove a flight that is about to land; False if something has overtaken it."""
        if not self.is_current(key, flight):
            return False
        del self._by_key[key]
        return True

    def invalidate(self, key: Hashable) -> None:
        """Detach the flight of a key that was assigned or removed: its value is not kept, its followers start over."""
        flight = self._by_key.pop(key, None)
        if flight is not None:
            flight.abandon()

    def invalidate_all(self) -> None:
        """Detach the flights of all keys, as `invalidate` does."""
        for key in list(self._by_key):
            self.invalidate(key)

    def follow(self, flight: Flight, *, blocks: bool = True) -> Wait:
        """Note that a wait for a flight begins; nothing is noted if the wait would never end.

        ``blocks``: the wait stops this thread.
        """
        me = threading.current_thread()
        led = _led()
        ahead = [flight]
        for other in ahead:  # it grows during the loop
            if other.is_over:
                continue
            if other in led:
                return Wait.ENDLESS
            if blocks and other.leader is me:
                return Wait.BLOCKED
            further = [*self._waiting.get(other.leader.ident or 0, ()), *other.awaited]
            ahead += [each for each in further if each not in ahead]
        for each in led:
            each.awaited.append(flight)
        if blocks:
            self._waiting.setdefault(threading.get_ident(), []).append(flight)
        return Wait.NOTED

    def unfollow(self, flight: Flight, *, blocks: bool = True) -> None:
        """Note that the wait is over. Needs no lock: it touches only the notes of this wait."""
        for each in _led():
            with suppress(ValueError):
                each.awaited.remove(flight)
        if not blocks:
            return
        mine = self._waiting.get(threading.get_ident())
        if mine:
            mine.pop()
        if not mine:
            self._waiting.pop(threading.get_ident(), None)
