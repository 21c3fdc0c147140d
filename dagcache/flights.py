"""Single flight: of all threads that want one key brought in, one does it and the others wait for what comes of it.

A flight ends in one of three ways: with a value, with the loader's error (both are shared, the error as the same
object), or *abandoned* (its leader was interrupted), whereupon each follower tries anew.

Its leader holds the lock `underway` in a ``with`` statement from before anybody can know of the flight. The interpreter
itself lets go of it, so however the leader's frame ends, an interrupt between any two instructions included, its
followers wake up.

`Flights` is written under the cache's lock; `Flight.wait` and `Flight.land` are for any thread, without it.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from types import TracebackType

_POLL_SECONDS = 1.0  # how often a follower looks whether its leader's thread is still there

ABANDONED = object()
"""The value of a flight whose leader was interrupted."""


class Flight:
    """One load or thaw under way."""

    __slots__ = ("error", "followers", "landed", "leader", "thawing", "traceback", "underway", "value")

    def __init__(self) -> None:
        self.leader = threading.current_thread()
        self.underway = threading.Lock()  # an event that costs a tenth of threading.Event
        self.followers = 0
        self.thawing = False
        self.landed = False
        self.value: object = None
        self.error: BaseException | None = None
        self.traceback: TracebackType | None = None

    @property
    def over(self) -> bool:
        """Whether it has landed, or lost whoever was to land it."""
        return self.landed or not self.underway.locked() or not self.leader.is_alive()

    def land(self, value: object, error: BaseException | None = None) -> None:
        """End the flight with its outcome, once nobody can join it any more; the first outcome counts."""
        if self.landed:
            return
        self.value = value
        if error is not None and self.followers:  # else it would only hold its own traceback's frames in a cycle
            self.error = error
            self.traceback = error.__traceback__
        self.landed = True

    def wait(self) -> object:
        """Block until the flight is over; gives its value, `ABANDONED` too, or raises its error."""
        while not self.underway.acquire(timeout=_POLL_SECONDS):
            if self.landed or not self.leader.is_alive():  # the latter in a forked child
                break
        else:
            self.underway.release()
        self.land(ABANDONED)
        if self.error is not None:
            # Each raise appends to the traceback: start every follower from where the leader stood.
            raise self.error.with_traceback(self.traceback)
        return self.value

    def leave(self) -> None:
        """A follower has got the outcome; the last one lets go of the error. Called under the cache's lock."""
        self.followers -= 1
        if not self.followers:
            self.error = self.traceback = None


class Flights:
    """The flights under way, by key, and who waits for which. Not thread-safe: kept under the cache's lock."""

    __slots__ = ("_by_key", "_waiting")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, Flight] = {}
        self._waiting: dict[int, Flight] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Hashable) -> Flight | None:
        """The flight under way for a key; one that is over and still on the list is none."""
        flight = self._by_key.get(key)
        return None if flight is None or flight.over else flight

    def take_off(self, key: Hashable, flight: Flight) -> None:
        """Register a flight; its thread leads it."""
        self._by_key[key] = flight

    def still_current(self, key: Hashable, flight: Flight) -> bool:
        """Strike a flight that wants to land off the list; False if something overtook it."""
        if self._by_key.get(key) is not flight:
            return False
        del self._by_key[key]
        return True

    def divert(self, key: Hashable) -> None:
        """The key was assigned or deleted: what is under way may serve its waiters but is not to be kept."""
        self._by_key.pop(key, None)

    def divert_all(self) -> None:
        """As `divert`, for every key."""
        self._by_key.clear()

    def follow(self, flight: Flight) -> bool:
        """Note that this thread is about to wait for a flight.

        False, and nothing noted, if it would wait for ever: it leads the flight itself, or the flight's leader waits,
        in the end, for this thread.
        """
        me = threading.current_thread()
        ahead: Flight | None = flight
        while ahead is not None and not ahead.over:
            if ahead.leader is me:
                return False
            ahead = self._waiting.get(ahead.leader.ident or 0)
        flight.followers += 1
        self._waiting[threading.get_ident()] = flight
        return True

    def unfollow(self) -> None:
        """Note that this thread waits no longer. Needs no lock: it touches only the thread's own note."""
        self._waiting.pop(threading.get_ident(), None)
