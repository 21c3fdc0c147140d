"""The lookup beyond the hit path: the order of its steps, until one of them has a result.

`decision` chooses the step, in one turn under the lock. `thawing`, `loading` and `joining` take it, outside the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, cast

from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.decision import Decisions, Step
from dagcache.core.disposal import Disposer
from dagcache.core.joining import Joins
from dagcache.core.live_uses import LiveUses
from dagcache.core.loaded import Loaded
from dagcache.core.loading import Loads
from dagcache.core.offering import Offers
from dagcache.core.preparation import Preparer
from dagcache.core.request import Request
from dagcache.core.single_flight import ABANDONED, ABSENT, Flight, FlightResult, Flights
from dagcache.core.store import Store
from dagcache.core.thawing import Thaws
from dagcache.core.unset import UNSET
from dagcache.core.upkeep import Upkeep
from dagcache.core.watching import Watching
from dagcache.errors import RecursiveLoadError
from dagcache.freezing.pickle_freezer import Freezer
from dagcache.stats import RemovalCause


class Lookups:
    """Lookups beyond the hit path. Thread-safe."""

    def __init__(
        self,
        store: Store,
        flights: Flights,
        preparer: Preparer,
        disposer: Disposer,
        counts: LookupCounts,
        upkeep: Upkeep,
        clock: SteadyClock,
        *,
        freezer: Freezer | None,
        raises_oversize: bool,
    ) -> None:
        section = upkeep.section
        self._store = store
        self._flights = flights
        self._counts = counts
        self._upkeep = upkeep
        self._section = section
        self._clock = clock
        self.watching = Watching()
        self.uses = LiveUses(store, preparer, disposer, counts, upkeep, clock, self.watching)
        offers = Offers(store, flights, preparer, counts, section, clock)
        self.loads = Loads(
            store,
            flights,
            preparer,
            counts,
            section,
            clock,
            offers,
            self.watching,
            raises_oversize=raises_oversize,
        )
        self._thaws = Thaws(store, flights, preparer, counts, section, clock, offers, self.watching, freezer=freezer)
        self._joins = Joins(store, flights, counts, section, self._thaws, self.watching)
        self._decisions = Decisions(
            store,
            flights,
            counts,
            clock,
            self.watching,
            freezes=freezer is not None,
            find_waiting=disposer.find,
        )

    @property
    def timer(self) -> Callable[[], float]:
        """The clock of loads and thaws, seconds."""
        return self.loads.timer

    @timer.setter
    def timer(self, timer: Callable[[], float]) -> None:
        self.loads.timer = self._thaws.timer = timer

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value under a key, or the default."""
        value = self.resolve(key, Request(None)).value
        return default if value is UNSET else value

    def get_or_load(self, key: Hashable, loader: Callable[[Any], Any], timeout: float | None = None) -> Any:
        """The value under a key, or the value that ``loader(key)`` returns."""
        value = self.resolve(key, Request(loader, timeout=timeout)).value
        return None if value is UNSET else value

    def resolve(self, key: Hashable, request: Request) -> FlightResult:
        """Find, thaw or load a value; `UNSET` in the result if there is none."""
        hash(key)  # an unhashable key is refused before anything changes
        if self._section.entered():
            return self._bypass(key, request)
        if self._upkeep.is_any_due():
            self._upkeep.for_lookup()
        while True:
            flight = Flight()
            with flight.pending:
                step, found = self._begin(key, flight, request)
                if step is Step.END:
                    result = cast("FlightResult", found)
                elif step is Step.FOLLOW:
                    result = self._joins.follow(key, found, request)
                else:
                    result = self._lead(step, key, flight, found, request)
            if result.value is not ABANDONED:
                return result

    async def resolve_async(self, key: Hashable, request: Request) -> FlightResult:
        """As `resolve`, with a loader that returns an awaitable; neither a load nor a wait stops the thread."""
        hash(key)
        if self._upkeep.is_any_due():
            self._upkeep.for_lookup()
        while True:
            flight = Flight()
            with flight.pending:
                step, found = self._begin(key, flight, request)
                if step is Step.END:
                    result = cast("FlightResult", found)
                elif step is Step.FOLLOW:
                    result = await self._follow_async(key, found, request)
                elif step is Step.THAW:
                    result = self._lead(step, key, flight, found, request)
                else:
                    result = await self._load_async(key, flight, request)
            if result.value is not ABANDONED:
                return result

    def take_out(self, key: Hashable) -> Any:
        """Look a value up and remove it in one step; `UNSET` if there is none. Counts as one lookup."""
        hash(key)
        if self._section.entered():
            value = self._bypass(key, Request(None)).value
            self._section.run_or_defer(self.delete, key, RemovalCause.EXPLICIT)
            return value
        found = self._section.run(self._withdraw, key)
        if found.frozen is None:
            return found.value
        value = self._thaws.privately(key, None, found, is_reported=False).value
        if value is not ABANDONED:
            return value
        self._section.run(self._count_absent)
        return UNSET

    def delete(self, key: Hashable, cause: RemovalCause) -> bool:
        """Under the lock: remove an entry or a known absence, and invalidate a flight of its key.

        Returns whether there was an entry.
        """
        self._flights.invalidate(key)
        return self._store.remove(key, cause, self._clock())

    def _begin(self, key: Hashable, flight: Flight, request: Request) -> tuple[Step, Any]:
        """Decide, and take the steps that need no wait: then the step is `Step.END`, with the result."""
        step, found = self._section.run(self._decisions.decide, key, flight, request)
        if step is Step.RECURSION:
            raise RecursiveLoadError(f"a load waits, directly or in a ring, for itself: {key!r}")
        if step is Step.HIT:
            self.uses.weigh_again(self._store.live.get(key))
        if step is Step.COPY:
            return Step.END, self._thaws.privately(key, *found)
        return (Step.END if step in (Step.HIT, Step.ABSENT) else step), found

    async def _follow_async(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        from dagcache.core.async_wait import wait  # asyncio takes 30 ms to import, and most programs do without

        try:
            result = request.waited(await wait(flight, request.seconds_to_wait()))
        finally:
            self._joins.unfollow(flight)
        return self._joins.share(key, flight, request, result)

    async def _load_async(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        """Load for all that wait. However this ends, by a cancellation too, their wait ends."""
        try:
            return await self.loads.lead_async(key, flight, request)
        except BaseException:
            self._section.run_or_defer(self._flights.retire, key, flight)
            raise
        finally:
            if flight.result is None:
                flight.abandon()

    def _lead(self, step: Step, key: Hashable, flight: Flight, entry: Any, request: Request) -> FlightResult:
        """Thaw or load for all threads that wait. However this ends, their wait ends."""
        try:
            if step is Step.THAW:
                return self._thaws.lead(key, flight, entry)
            return self.loads.lead(key, flight, request)
        except BaseException:
            self._section.run_or_defer(self._flights.retire, key, flight)
            raise
        finally:
            if flight.result is None:
                flight.abandon()

    def _withdraw(self, key: Hashable) -> FlightResult:
        entry = self._store.find(key, self._clock())
        if entry is None:
            self._flights.invalidate(key)
            self._store.absences.forget(key)
            self._counts.absent += 1
            return ABSENT
        live, frozen = entry.live, entry.frozen
        self.delete(key, RemovalCause.EXPLICIT)
        if live is not None:
            self._counts.hits_live += 1
            return FlightResult(live.value)
        return FlightResult(UNSET, None if frozen is None else frozen.data, nbytes=entry.thaws_to_bytes)

    def _count_absent(self) -> None:
        self._counts.absent += 1

    def _bypass(self, key: Hashable, request: Request) -> FlightResult:
        """Look up within a change by the same thread: without waiting, and without a place in the cache."""
        copy = None if request.private else self._store.live.get(key)
        if copy is not None:
            self._counts.hits_live += 1
            return FlightResult(copy.value, content=copy.entry.content)
        try:
            loaded = None if request.loader is None else request.loader(key)
        except Exception:
            self._counts.load_failures += 1
            raise
        if loaded is None:
            self._counts.absent += 1
            return ABSENT
        self._counts.loads += 1
        return (
            FlightResult(loaded.value, content=loaded.content) if isinstance(loaded, Loaded) else FlightResult(loaded)
        )
