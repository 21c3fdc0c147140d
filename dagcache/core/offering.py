"""The offer of a new value to the store. The caller of the lookup gets the value, kept or not.

A value is not kept if something has overtaken its flight: an assignment, a removal, or the loader's own `keep_if`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ParamSpec

from dagcache.concurrency.critical_section import CriticalSection
from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.entry import Candidate, Entry, ThawedCopy
from dagcache.core.preparation import Preparer
from dagcache.core.single_flight import Flight, Flights
from dagcache.core.store import Store
from dagcache.log_limits import report
from dagcache.sizing.estimate import Sized
from dagcache.stats import Rejection

P = ParamSpec("P")


class Offers:
    """Offers values to the store, in one turn under the lock each. Thread-safe."""

    def __init__(
        self,
        store: Store,
        flights: Flights,
        preparer: Preparer,
        counts: LookupCounts,
        section: CriticalSection,
        clock: SteadyClock,
    ) -> None:
        self._store = store
        self._preparer = preparer
        self._refutations = 0
        self._flights = flights
        self._counts = counts
        self._section = section
        self._clock = clock

    def loaded(
        self,
        key: Hashable,
        flight: Flight,
        candidate: Candidate | None,
        keep_if: Callable[[], bool] | None,
        private: bool,
    ) -> Rejection | None:
        """Offer a loaded value; the reason if it is not kept. A candidate of None could not be prepared.

        The object of a ``private`` load belongs to the caller: only its frozen form is kept.
        """
        return self._offer(key, self._keep_loaded, key, flight, candidate, keep_if, private)

    def thawed(self, key: Hashable, flight: Flight, entry: Entry, copy: ThawedCopy, weight: Sized) -> None:
        """Offer a thawed copy of an entry, which may have left in the meantime."""
        self._offer(key, self._keep_thawed, key, flight, entry, copy, weight)

    def _offer(
        self, key: Hashable, keep: Callable[P, Rejection | None], *args: P.args, **kwargs: P.kwargs
    ) -> Rejection | None:
        """Offer a value to the store; a fault of our own costs its place in the cache, the caller gets the value."""
        if self._refutations != self._preparer.refutations:  # perhaps by this value's walk
            self._distrust_estimates()
        try:
            return self._section.run(keep, *args, **kwargs)
        except Exception as error:
            report("keep", "%r could not be kept: it is served", key, error=error)
            self._counts.internal_errors += 1
            return None

    def _distrust_estimates(self) -> None:
        """A model of weights was refuted since the last call: what it has estimated may be wrong."""
        self._refutations = self._preparer.refutations
        try:
            self._section.run(self._store.distrust_estimates)
        except Exception as error:
            report("refuted model", "estimated weights could not be given up", error=error)
            self._counts.internal_errors += 1

    def _keep_loaded(
        self,
        key: Hashable,
        flight: Flight,
        candidate: Candidate | None,
        keep_if: Callable[[], bool] | None,
        private: bool,
    ) -> Rejection | None:
        is_current = self._flights.retire(key, flight)
        if is_current and keep_if is not None:
            is_current = self._is_to_be_kept(key, keep_if)
        if candidate is None:
            return self._counts.reject(Rejection.SIZER)
        if private and candidate.frozen is None:  # there is nothing but the object, which is the caller's
            self._store.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
            return None
        if not is_current:
            self._store.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
            return self._counts.reject(Rejection.OVERTAKEN)
        return self._counts.reject(self._store.admit(candidate, self._clock(), private=private))

    def _is_to_be_kept(self, key: Hashable, keep_if: Callable[[], bool]) -> bool:
        try:
            return keep_if()
        except Exception as error:
            report("keep_if", "keep_if failed on %r: the value is served and not kept", key, error=error)
            self._counts.internal_errors += 1
            return False

    def _keep_thawed(self, key: Hashable, flight: Flight, entry: Entry, copy: ThawedCopy, weight: Sized) -> None:
        if self._flights.retire(key, flight):
            self._store.keep_thawed(entry, copy.value, weight, copy.seconds, copy.own_references, self._clock())
        else:
            self._store.pass_through(copy.value, weight.nbytes, copy.own_references)
