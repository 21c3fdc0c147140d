"""Single flight: of all threads that want one key, one loads or thaws it and the others wait for the result.

Followers share only a *value*. A flight that ends without one (the loader failed or found nothing, the key was
invalidated, the leader was interrupted) is *abandoned*. Then each follower starts over with its own loader, and gets
its own error or absence.

The leader holds the lock `Flight.pending` in a ``with`` statement from before any other thread can know of the flight.
The interpreter itself releases it. So however the leader's frame ends, an interrupt between any two instructions
included, the followers notice.

A load may ask for further keys, so a wait may never end: `dagcache.core.waits` refuses such a wait.

`Flights` is written under the cache's lock. `Flight.wait` and `Flight.complete` are for any thread, without it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
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


class Flights:
    """The pending flights, by key. Not thread-safe: kept under the cache's lock."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Flight] = {}

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
