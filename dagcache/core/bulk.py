"""Lookups of many keys at once: one turn under the lock, and one call of a loader for all keys that have no value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from dagcache.concurrency.critical_section import CriticalSection
from dagcache.core.clock import SteadyClock
from dagcache.core.lookup import Lookups
from dagcache.core.request import Request
from dagcache.core.single_flight import Flight, Flights
from dagcache.core.store import Store
from dagcache.core.unset import UNSET

Loader = Callable[[list[Any]], Mapping[Any, Any]]


class BulkLookups:
    """Looks many keys up. Thread-safe.

    The keys that no thread loads are loaded first, by one call. Then follow, one by one, the hits, the thaws and the
    waits for other threads. A thread thus never waits while others wait for it, so two calls with common keys do not
    wait for each other in a ring.
    """

    def __init__(
        self, lookups: Lookups, store: Store, flights: Flights, section: CriticalSection, clock: SteadyClock
    ) -> None:
        self._lookups = lookups
        self._store = store
        self._flights = flights
        self._section = section
        self._clock = clock

    def resolve(self, keys: Iterable[Hashable], loader: Loader, timeout: float | None) -> dict[Hashable, Any]:
        """The values by key, in the order of the keys, without those that have none."""
        wanted = list(dict.fromkeys(keys))
        values = {} if self._section.entered() else self._load_missing(wanted, loader)
        for key in wanted:
            if key not in values:
                request = Request(lambda key: loader([key]).get(key), timeout=timeout)
                values[key] = self._lookups.resolve(key, request).value
        return {key: values[key] for key in wanted if values[key] is not UNSET}

    def _load_missing(self, keys: list[Hashable], loader: Loader) -> dict[Hashable, Any]:
        """Load the keys without a value that no other thread loads."""
        pending = threading.Lock()
        with pending:
            flights: dict[Hashable, Flight] = {}
            try:
                self._section.run(self._claim, keys, pending, flights)
                results = self._lookups.loads.lead_many(flights, loader) if flights else {}
            except BaseException:
                self._section.run_or_defer(self._give_up, flights)
                raise
        return {key: result.value for key, result in results.items()}

    def _claim(self, keys: list[Hashable], pending: threading.Lock, flights: dict[Hashable, Flight]) -> None:
        now = self._clock()
        for key in keys:
            if self._is_to_be_loaded(key, now):
                flights[key] = Flight(pending)
                self._flights.register(key, flights[key])

    def _is_to_be_loaded(self, key: Hashable, now: float) -> bool:
        """Whether a key has no value here, is not known to have none, and is not being loaded."""
        entry = self._store.entries.get(key)
        if entry is not None and not self._store.expired(entry, now):
            return False
        return self._flights.get(key) is None and not self._store.absences.has(key, now)

    def _give_up(self, flights: dict[Hashable, Flight]) -> None:
        for key, flight in flights.items():
            self._flights.retire(key, flight)
            flight.abandon()
