"""Thaws: one that all threads share, or one for a single caller. Damaged bytes end in a load, not in an error."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from dagcache.concurrency.critical_section import CriticalSection
from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.entry import Entry, ThawedCopy
from dagcache.core.offering import Offers
from dagcache.core.preparation import Preparer
from dagcache.core.single_flight import ABANDONED, Flight, FlightResult, Flights
from dagcache.core.store import Store
from dagcache.core.watching import Watching
from dagcache.errors import ThawError
from dagcache.freezing.pickle_freezer import Freezer
from dagcache.log_limits import report
from dagcache.reclaim.gc_lap import end_lap_if_over
from dagcache.reclaim.gc_pause import gc_relaxed
from dagcache.reclaim.reference_counts import own_references
from dagcache.stats import RemovalCause


class Thaws:
    """Thaws frozen copies, outside the lock. Thread-safe. ``freezer`` is None in a cache that freezes nothing."""

    def __init__(
        self,
        store: Store,
        flights: Flights,
        preparer: Preparer,
        counts: LookupCounts,
        section: CriticalSection,
        clock: SteadyClock,
        offers: Offers,
        watching: Watching,
        *,
        freezer: Freezer | None,
    ) -> None:
        self._store = store
        self._flights = flights
        self._preparer = preparer
        self._counts = counts
        self._section = section
        self._clock = clock
        self._offers = offers
        self._watching = watching
        self._freezer = freezer
        self.timer: Callable[[], float] = time.perf_counter
        """The clock of thaws, seconds."""

    def lead(self, key: Hashable, flight: Flight, entry: Entry) -> FlightResult:
        """Lead a thaw. It is abandoned if the frozen copy is unusable; then each thread loads."""
        frozen = entry.frozen
        if frozen is None or self._freezer is None:  # removed since, and its copies let go
            self._section.run(self._flights.retire, key, flight)
            return FlightResult(ABANDONED)
        end_lap_if_over()
        # Until the victims are gone as well: then as many objects died as were born, and no collection is due.
        with gc_relaxed():
            return self._thaw_and_offer(key, flight, entry, frozen.data)

    def privately(
        self, key: Hashable, entry: Entry | None, found: FlightResult, *, is_reported: bool = True
    ) -> FlightResult:
        """Thaw a copy for one caller; abandoned if the bytes are no good."""
        end_lap_if_over()
        with gc_relaxed():
            copy = None if found.frozen is None else self._thaw(key, found.frozen)
            if copy is None:
                self._section.run(self._failed, key, None, entry)
                return FlightResult(ABANDONED)
            self._section.run(self._served, key, copy, found.nbytes, is_reported)
            return found._replace(value=copy.value)

    def _thaw_and_offer(self, key: Hashable, flight: Flight, entry: Entry, data: bytes) -> FlightResult:
        copy = self._thaw(key, data)
        if copy is None:
            self._section.run(self._failed, key, flight, entry)
            return FlightResult(ABANDONED)
        weight = self._preparer.weigh_thawed(entry, copy.value, data, copy.seconds, self._store.budget)
        self._offers.thawed(key, flight, entry, copy, weight)
        self._section.run(self._thawed, key, flight, copy.seconds)
        result = FlightResult(copy.value, data, entry.content, nbytes=weight.nbytes)
        flight.complete(result)
        return result

    def _thaw(self, key: Hashable, data: bytes) -> ThawedCopy | None:
        """A fresh copy; None, and a line in the log, if the bytes do not give one."""
        assert self._freezer is not None
        started = self.timer()
        try:
            value = self._freezer.thaw(data)
        except MemoryError:  # the bytes are as good as before, and a load would need more
            raise
        except Exception as error:
            self._report_failure(key, error)
            return None
        seconds = self.timer() - started
        own = own_references(value)  # while this variable is the only holder
        return ThawedCopy(value, seconds, own)

    def _served(self, key: Hashable, copy: ThawedCopy, nbytes: int, is_reported: bool) -> None:
        self._store.pass_through(copy.value, nbytes, copy.own_references)
        entry = self._store.entries.get(key)
        self._counts.thawed(copy.seconds, None if entry is None else entry.family)
        if is_reported:
            self._watching.report(key, "frozen", entry, copy.seconds)

    def _thawed(self, key: Hashable, flight: Flight, seconds: float) -> None:
        self._flights.retire(key, flight)
        entry = self._store.entries.get(key)
        self._counts.thawed(seconds, None if entry is None else entry.family)
        self._watching.report(key, "frozen", entry, seconds)

    def _failed(self, key: Hashable, flight: Flight | None, entry: Entry | None) -> None:
        self._counts.thaw_failures += 1
        if flight is not None:
            self._flights.retire(key, flight)
        if entry is not None and self._store.entries.get(key) is entry:
            self._store.remove(key, RemovalCause.STALE, self._clock.latest)

    def _report_failure(self, key: Hashable, error: Exception) -> None:
        if isinstance(error, ThawError) and error.__cause__ is None:
            report("damage", "the frozen bytes of %r are damaged: it is loaded instead", key, error=error)
        else:
            self._preparer.thaw_failed(key, error)
