"""Loads: the caller's loader runs, its value is prepared and offered, and threads that wait share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from dagcache.concurrency.critical_section import CriticalSection
from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.entry import Candidate
from dagcache.core.loaded import Loaded, facts_of
from dagcache.core.offering import Offers
from dagcache.core.preparation import Preparer
from dagcache.core.request import Request
from dagcache.core.single_flight import ABSENT, Flight, FlightResult, Flights
from dagcache.core.store import Store
from dagcache.core.waits import leading
from dagcache.core.watching import Watching
from dagcache.errors import OversizeError
from dagcache.log_limits import report
from dagcache.reclaim.gc_lap import gc_relaxed_lap
from dagcache.sizing.limits import format_bytes
from dagcache.stats import Rejection

_SHARED = Request(None)


class Loads:
    """Loads values, outside the lock. Thread-safe."""

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
        raises_oversize: bool,
    ) -> None:
        self._store = store
        self._flights = flights
        self._preparer = preparer
        self._counts = counts
        self._section = section
        self._clock = clock
        self._offers = offers
        self._watching = watching
        self._raises_oversize = raises_oversize
        self.timer: Callable[[], float] = time.perf_counter
        """The clock of loads, seconds."""

    def lead(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        """Lead a load.

        Raises:
            Exception: what the loader raised.
            OversizeError: the value cannot be kept, with ``oversize="raise"``.

        """
        lap = gc_relaxed_lap()
        with lap:
            result = self._load_and_offer(key, flight, request)
            if self._store.only_grows and self._store.holds(key, result.value):
                lap.stays(result.nbytes)
            return result

    def prepare(self, key: Hashable, facts: Loaded[Any], seconds: float) -> Candidate | None:
        """Prepare a value for admission; None if it cannot be weighed. ``seconds``: the time of its load."""
        return self._preparer.take(key, facts, seconds, self._store.budget)

    def oversize(self, candidate: Candidate) -> OversizeError:
        """The error for a value beyond the budget."""
        return OversizeError(
            f"max_bytes = {format_bytes(self._store.budget)} cannot hold the value of {candidate.key!r},"
            f" which needs {format_bytes(candidate.least_bytes)}"
        )

    def _load_and_offer(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        assert request.loader is not None
        started = self.timer()
        try:
            with leading(flight):
                facts = facts_of(request.loader(key))
        except Exception:
            self._section.run(self._failed, key, flight)
            raise
        return self._offer(key, flight, request, facts, self.timer() - started)

    async def lead_async(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        """Lead a load whose loader returns an awaitable; freezing and weighing are not awaited.

        Raises:
            Exception: as `lead`.

        """
        assert request.loader is not None
        started = self.timer()
        try:
            with leading(flight):
                facts = facts_of(await request.loader(key))
        except Exception:
            self._section.run(self._failed, key, flight)
            raise
        with gc_relaxed_lap():
            return self._offer(key, flight, request, facts, self.timer() - started)

    def lead_many(
        self, flights: Mapping[Hashable, Flight], loader: Callable[[list[Any]], Mapping[Any, Any]]
    ) -> dict[Hashable, FlightResult]:
        """Lead the loads of several keys by one call of a loader; keys that it does not return are absent.

        Raises:
            Exception: what the loader raised.
            OversizeError: as `lead`, after all values were offered.

        """
        with gc_relaxed_lap():
            started = self.timer()
            try:
                with leading(*flights.values()):
                    facts = _facts_of_all(loader(list(flights)), flights)
            except Exception:
                for key, flight in flights.items():
                    self._section.run(self._failed, key, flight)
                raise
            seconds = (self.timer() - started) / len(flights)
            results: dict[Hashable, FlightResult] = {}
            refusal: OversizeError | None = None
            for key, flight in flights.items():
                try:
                    results[key] = self._offer(key, flight, _SHARED, facts.pop(key), seconds)
                except OversizeError as error:  # noqa: PERF203 - the other values are offered as well
                    refusal = refusal or error
        if refusal is not None:
            raise refusal
        return results

    def _offer(
        self, key: Hashable, flight: Flight, request: Request, facts: Loaded[Any] | None, seconds: float
    ) -> FlightResult:
        if facts is None:
            key_bytes = self._preparer.key_bytes(key) if self._store.absences.ttl else 0
            self._section.run(self._absent, key, flight, key_bytes)
            return ABSENT
        candidate = self._prepare_loaded(key, facts, seconds)
        result = FlightResult(facts.value, content=facts.content)
        rejection = self._offers.loaded(key, flight, candidate, facts.keep_if, request.private)
        self._section.run(self._loaded, key, flight, seconds, candidate)
        if rejection is Rejection.OVERSIZE and self._raises_oversize and candidate is not None:
            raise self.oversize(candidate)
        if rejection is Rejection.OVERTAKEN:
            return result  # for this caller only
        if candidate is not None:
            result = result._replace(frozen=candidate.frozen, nbytes=candidate.live_bytes)
        flight.complete(result._replace(private=request.private))
        return result

    def _prepare_loaded(self, key: Hashable, facts: Loaded[Any], seconds: float) -> Candidate | None:
        """Prepare a loaded value; a fault of our own costs its place in the cache, the caller gets the value."""
        try:
            return self.prepare(key, facts, seconds)
        except Exception as error:
            report("prepare", "%r could not be prepared: it is served and not kept", key, error=error)
            self._counts.internal_errors += 1
            return None

    def _loaded(self, key: Hashable, flight: Flight, seconds: float, candidate: Candidate | None) -> None:
        self._flights.retire(key, flight)
        self._counts.loads += 1
        self._counts.load_seconds.observe(seconds)
        if candidate is not None:
            self._counts.families.loaded(candidate.family, candidate.order, seconds)
        self._watching.report(key, "miss", candidate, seconds)

    def _failed(self, key: Hashable, flight: Flight) -> None:
        self._flights.retire(key, flight)
        self._counts.load_failures += 1
        self._watching.report(key, "absent")

    def _absent(self, key: Hashable, flight: Flight, key_bytes: int) -> None:
        if self._flights.retire(key, flight) and self._store.absences.ttl:
            self._store.note_absence(key, key_bytes, self._clock())
        self._counts.absent += 1
        self._watching.report(key, "absent")


def _facts_of_all(found: Mapping[Any, Any], keys: Iterable[Hashable]) -> dict[Hashable, Loaded[Any] | None]:
    return {key: facts_of(found.get(key)) for key in keys}
