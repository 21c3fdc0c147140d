"""The wait of a lookup for another thread's thaw or load of its key, and the share that it gets of the result."""

from __future__ import annotations

from collections.abc import Hashable

from dagcache.concurrency.critical_section import CriticalSection
from dagcache.core.counters import LookupCounts
from dagcache.core.request import Request
from dagcache.core.single_flight import ABANDONED, Flight, FlightResult, Flights
from dagcache.core.store import Store
from dagcache.core.thawing import Thaws
from dagcache.core.waits import WAITS, running
from dagcache.core.watching import Watching


class Joins:
    """Joins lookups to flights of other threads. Thread-safe."""

    def __init__(
        self,
        store: Store,
        flights: Flights,
        counts: LookupCounts,
        section: CriticalSection,
        thaws: Thaws,
        watching: Watching,
    ) -> None:
        self._store = store
        self._flights = flights
        self._counts = counts
        self._section = section
        self._thaws = thaws
        self._watching = watching

    def follow(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        """Wait for another thread's result; abandoned if there is none to share.

        `Waits.begin` has noted the wait.
        """
        try:
            result = request.wait(flight)
        finally:
            WAITS.end(flight, running())
        return self.share(key, flight, request, result)

    def share(self, key: Hashable, flight: Flight, request: Request, result: FlightResult | None) -> FlightResult:
        """The follower's share of the result of a wait; abandoned if there is none."""
        if result is None:
            if request.overtakes:
                self._section.run(self._overtake, key, flight)
            return FlightResult(ABANDONED)
        if result.value is ABANDONED:
            return result
        if result.private or request.private:
            if result.frozen is None:
                return FlightResult(ABANDONED)
            return self._thaws.privately(key, None, result)
        self._section.run(self._joined, key, flight)
        return result

    def unfollow(self, flight: Flight) -> None:
        """Note the end of a wait that did not block."""
        WAITS.end(flight, running(), blocks=False)

    def _overtake(self, key: Hashable, flight: Flight) -> None:
        """Give up the flight of a follower that has waited for too long: the next lookup leads."""
        if self._flights.is_current(key, flight):
            self._flights.invalidate(key)

    def _joined(self, key: Hashable, flight: Flight) -> None:
        self._counts.joined(flight.thawing)
        self._watching.report(key, "frozen" if flight.thawing else "miss", self._store.entries.get(key))
