"""The decision of a lookup, in one turn under the lock: a value is there, or how this thread gets one."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from typing import Any

from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.entry import Entry
from dagcache.core.request import Request
from dagcache.core.single_flight import ABSENT, Flight, FlightResult, Flights
from dagcache.core.store import Store
from dagcache.core.waits import WAITS, Wait, running
from dagcache.core.watching import Watching


class Step(enum.Enum):
    """The next step of a lookup that was not a plain hit."""

    HIT = enum.auto()
    """Return the result."""
    THAW = enum.auto()
    """Lead a thaw of the entry."""
    COPY = enum.auto()
    """Thaw a private copy: of the entry, from the result's frozen form."""
    LOAD = enum.auto()
    """Lead a load."""
    FOLLOW = enum.auto()
    """Wait for the flight of another thread."""
    ABSENT = enum.auto()
    """Return the result: there is no value."""
    RECURSION = enum.auto()
    """Raise: the wait would never end."""
    END = enum.auto()
    """Nothing is left to do: the result is there."""


class Decisions:
    """Decides on lookups, and registers the flights that follow from that. Called under the cache's lock.

    ``freezes``: whether the cache keeps frozen copies. ``find_waiting``: see `dagcache.core.disposal.Disposer.find`.
    """

    def __init__(
        self,
        store: Store,
        flights: Flights,
        counts: LookupCounts,
        clock: SteadyClock,
        watching: Watching,
        *,
        freezes: bool,
        find_waiting: Callable[[int], list[object]],
    ) -> None:
        self._store = store
        self._flights = flights
        self._counts = counts
        self._clock = clock
        self._watching = watching
        self._freezes = freezes
        self._find_waiting = find_waiting

    def decide(self, key: Hashable, flight: Flight, request: Request) -> tuple[Step, Any]:
        """The value, or the way to it: a step, and what it needs. ``flight`` is registered if this thread leads."""
        now = self._clock()
        store, counts = self._store, self._counts
        entry = store.find(key, now)
        if request.renew and entry is not None:
            store.give_up_live(entry)
            entry = store.entries.get(key)
        if request.private and entry is not None and entry.frozen is not None:
            return Step.COPY, (
                entry,
                FlightResult(None, entry.frozen.data, entry.content, nbytes=entry.thaws_to_bytes),
            )
        shared = [] if request.private or entry is None else self._shared_value(entry)
        if shared and entry is not None:
            counts.hits_live += 1
            self._watching.report(key, "live", entry)
            return Step.HIT, FlightResult(shared[0], content=entry.content)
        if request.loader is None and (entry is None or request.private):
            counts.absent += 1
            self._watching.report(key, "absent")
            return Step.ABSENT, ABSENT
        if entry is None and not request.finds and store.absences.has(key, now):
            counts.absent += 1
            counts.absent_known += 1
            self._watching.report(key, "absent")
            return Step.ABSENT, ABSENT
        if request.private and entry is not None:
            return Step.LOAD, None  # the live copy belongs to the other callers; the load is not registered
        step = Step.LOAD if entry is None else Step.THAW
        other = self._flights.get(key)
        if other is not None and (entry is not None or not other.thawing):
            return self._beside(other, step, entry, request)
        if request.private and not self._freezes:
            return step, None  # a load that no other thread can share
        flight.thawing = step is Step.THAW
        self._flights.register(key, flight)
        return step, entry

    def _shared_value(self, entry: Entry) -> list[object]:
        """The object that the callers of an entry share, in a list; an empty list if it is not in memory.

        One that has left the live tier is still shared while it waits: a thaw would make another graph beside it.
        """
        if entry.live is not None:
            return [entry.live.value]
        return self._find_waiting(entry.ticket) if entry.ticket else []

    def _beside(self, other: Flight, step: Step, entry: Entry | None, request: Request) -> tuple[Step, Any]:
        """The step of a lookup while another thread thaws or loads its key."""
        if request.is_late:
            return step, entry  # on its own: not registered, so the result is not kept
        wait = WAITS.begin(other, running(), blocks=request.blocks)
        if wait is Wait.NOTED:
            return Step.FOLLOW, other
        if other.thawing:
            return Step.THAW, entry  # a signal handler interrupts its own thread's thaw: it gets a copy of its own
        return (Step.RECURSION, None) if wait is Wait.ENDLESS else (step, entry)  # beside, as a late one
