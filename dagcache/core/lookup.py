"""The lookup: find, thaw, load, or follow another thread that does.

One short step under the lock (`Lookups._begin`) decides. Thaws and loads run outside the lock, one per key, and the
threads that wait share the value (`dagcache.core.single_flight`).
"""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, NamedTuple, ParamSpec, cast

from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.disposal import Disposer
from dagcache.core.entry import Candidate, Entry, FrozenCopy, LiveCopy
from dagcache.core.loaded import Loaded
from dagcache.core.preparation import Preparer
from dagcache.core.request import Request
from dagcache.core.single_flight import ABANDONED, Flight, FlightResult, Flights
from dagcache.core.store import Store
from dagcache.core.upkeep import Upkeep
from dagcache.errors import OversizeError, RecursiveLoadError, ThawError
from dagcache.freezing.pickle_freezer import Freezer
from dagcache.log_limits import report
from dagcache.reclaim.gc_pause import gc_relaxed
from dagcache.reclaim.reference_counts import own_references
from dagcache.sizing.estimate import Sized
from dagcache.sizing.limits import format_bytes
from dagcache.stats import EntryFacts, LookupEvent, Rejection, RemovalCause

P = ParamSpec("P")

Watcher = Callable[[LookupEvent], object]
"""See `dagcache.core.cache.DagCache.watch`."""


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = enum.auto()

    def __repr__(self) -> str:
        return "<default>"


UNSET: Final = Unset.UNSET
"""No value: None may be one."""
_ABSENT: Final = FlightResult(UNSET)


class _Step(enum.Enum):
    """The next step of a lookup that was not a plain hit."""

    HIT = enum.auto()
    THAW = enum.auto()
    COPY = enum.auto()
    LOAD = enum.auto()
    FOLLOW = enum.auto()
    ABSENT = enum.auto()
    RECURSION = enum.auto()


class _Copy(NamedTuple):
    """A value that was just thawed."""

    value: Any
    seconds: float
    own: int
    """The references to it from its own parts."""


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
        version_of: Callable[[Any], tuple[Hashable, float] | None] | None,
    ) -> None:
        self._store = store
        self._flights = flights
        self._preparer = preparer
        self._disposer = disposer
        self._counts = counts
        self._upkeep = upkeep
        self._section = upkeep.section
        self._clock = clock
        self._freezer = freezer
        self._raises_oversize = raises_oversize
        self._version_of = version_of
        self.watcher: Watcher | None = None
        self.timer: Callable[[], float] = time.perf_counter
        """The clock that times loads and thaws, seconds."""

    # ---- for the cache ----

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
                step, found = self._section.run(self._begin, key, flight, request)
                if step is _Step.HIT:
                    self._weigh_again(self._store.live.get(key))
                if step is _Step.HIT or step is _Step.ABSENT:
                    return cast("FlightResult", found)
                if step is _Step.RECURSION:
                    raise RecursiveLoadError(f"a load waits, directly or in a ring of threads, for itself: {key!r}")
                if step is _Step.COPY:
                    result = self._thaw_privately(key, *found)
                elif step is _Step.FOLLOW:
                    result = self._follow(key, found, request)
                else:
                    result = self._lead(step, key, flight, found, request)
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
        if found.frozen is None or self._freezer is None:
            return found.value
        value = self._thaw_privately(key, None, found, is_reported=False).value
        if value is not ABANDONED:
            return value
        self._section.run(self._count_absent)
        return UNSET

    def delete(self, key: Hashable, cause: RemovalCause) -> bool:
        """Under the lock: remove an entry, and invalidate a flight of its key; whether there was an entry."""
        self._flights.invalidate(key)
        return self._store.remove(key, cause, self._clock())

    def prepare(self, key: Hashable, facts: Loaded[Any], seconds: float) -> Candidate | None:
        """Prepare a value for admission; None if it cannot be weighed. ``seconds``: the time of its load."""
        return self._preparer.take(key, self._with_version(key, facts), seconds, self._store.budget)

    def _prepare_loaded(self, key: Hashable, facts: Loaded[Any], seconds: float) -> Candidate | None:
        """Prepare a loaded value; a fault of our own costs its place in the cache, the caller gets the value."""
        try:
            return self.prepare(key, facts, seconds)
        except Exception as error:
            report("prepare", "%r could not be prepared: it is served and not kept", key, error=error)
            self._counts.internal_errors += 1
            return None

    def oversize(self, candidate: Candidate) -> OversizeError:
        """The error for a value beyond the budget."""
        return OversizeError(
            f"max_bytes = {format_bytes(self._store.budget)} cannot hold the value of {candidate.key!r},"
            f" which needs {format_bytes(candidate.least_bytes)}"
        )

    def use(self, copy: LiveCopy) -> bool:
        """Note a use on the hit path, without the lock; False if the entry's time is up."""
        now = self._clock()
        store = self._store
        if not store.use_unlocked(copy, now):
            return False
        if now > store.next_due or self._disposer.is_due:
            self._upkeep.for_lookup()
        self._weigh_again(copy)
        return True

    def use_watched(self, copy: LiveCopy) -> bool:
        """As the hit path and `use`, and report to the watcher."""
        if self._clock.source() >= copy.fresh and not self.use(copy):
            return False
        self._notify(copy.entry.key, "live", copy.entry)
        return True

    # ---- the decision, and waiting ----

    def _begin(self, key: Hashable, flight: Flight, request: Request) -> tuple[_Step, Any]:
        """Under the lock: the value, or the way to it."""
        now = self._clock()
        store, counts = self._store, self._counts
        entry = store.find(key, now)
        if request.renew and entry is not None and entry.live is not None:
            store.give_up_live(entry)
            entry = store.entries.get(key)
        if request.private and entry is not None and entry.frozen is not None and self._freezer is not None:
            return _Step.COPY, (
                entry,
                FlightResult(None, entry.frozen.data, entry.content, nbytes=entry.thaws_to_bytes),
            )
        if not request.private and entry is not None and entry.live is not None:
            counts.hits_live += 1
            self._notify(key, "live", entry)
            return _Step.HIT, FlightResult(entry.live.value, content=entry.content)
        if request.loader is None and (entry is None or request.private):
            counts.absent += 1
            self._notify(key, "absent")
            return _Step.ABSENT, _ABSENT
        if request.private and entry is not None:
            return _Step.LOAD, None  # the live copy belongs to the other callers; the load is not registered
        step = _Step.LOAD if entry is None else _Step.THAW
        other = self._flights.get(key)
        if other is not None and (entry is not None or not other.thawing):
            return self._beside(other, step, entry, request)
        if request.private and self._freezer is None:
            return step, None  # a load that no other thread can share
        flight.thawing = step is _Step.THAW
        self._flights.register(key, flight)
        return step, entry

    def _beside(self, other: Flight, step: _Step, entry: Entry | None, request: Request) -> tuple[_Step, Any]:
        """The step of a lookup while another thread thaws or loads its key."""
        if request.is_late:
            return step, entry  # on its own: not registered, so the result is not kept
        if self._flights.follow(other):
            return _Step.FOLLOW, other
        if other.thawing:
            return _Step.THAW, entry  # a signal handler interrupts its own thread's thaw: it gets a copy of its own
        return _Step.RECURSION, None

    def _lead(self, step: _Step, key: Hashable, flight: Flight, entry: Any, request: Request) -> FlightResult:
        """Thaw or load for all threads that wait. However this ends, their wait ends."""
        try:
            return self._thaw(key, flight, entry) if step is _Step.THAW else self._load(key, flight, request)
        except BaseException:
            self._section.run_or_defer(self._flights.retire, key, flight)
            raise
        finally:
            if flight.result is None:
                flight.abandon()

    def _follow(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        """Wait for another thread's result; abandoned if there is none to share."""
        try:
            result = request.wait(flight)
        finally:
            self._flights.unfollow()
        if result is None:
            if request.overtakes:
                self._section.run(self._overtake, key, flight)
            return FlightResult(ABANDONED)
        if result.value is ABANDONED:
            return result
        if result.private or request.private:
            if result.frozen is None or self._freezer is None:
                return FlightResult(ABANDONED)
            return self._thaw_privately(key, None, result)
        self._section.run(self._joined, key, flight)
        return result

    def _overtake(self, key: Hashable, flight: Flight) -> None:
        """Give up the flight of a follower that has waited for too long: the next lookup leads."""
        if self._flights.is_current(key, flight):
            self._flights.invalidate(key)

    def _joined(self, key: Hashable, flight: Flight) -> None:
        self._counts.joined(flight.thawing)
        self._notify(key, "frozen" if flight.thawing else "miss", self._store.entries.get(key))

    # ---- thaws ----

    def _thaw(self, key: Hashable, flight: Flight, entry: Entry) -> FlightResult:
        """Lead a thaw. It is abandoned if the frozen copy is unusable; then each thread loads."""
        frozen = entry.frozen
        freezer = self._freezer
        if frozen is None or freezer is None:  # removed since, and its copies dropped
            self._section.run(self._flights.retire, key, flight)
            return FlightResult(ABANDONED)
        # Until the victims are gone as well: then as many objects died as were born, and no collection is due.
        with gc_relaxed():
            return self._thaw_and_offer(key, flight, entry, frozen.data)

    def _thaw_and_offer(self, key: Hashable, flight: Flight, entry: Entry, data: bytes) -> FlightResult:
        copy = self._thaw_data(key, data)
        if copy is None:
            self._section.run(self._thaw_failed, key, flight, entry)
            return FlightResult(ABANDONED)
        weight = self._preparer.weigh_thawed(entry, copy.value, data, copy.seconds, self._store.budget)
        self._offer(key, self._keep_thawed, key, flight, entry, copy, weight)
        self._section.run(self._thawed, key, flight, copy.seconds)
        result = FlightResult(copy.value, data, entry.content, nbytes=weight.nbytes)
        flight.complete(result)
        return result

    def _thaw_privately(
        self, key: Hashable, entry: Entry | None, found: FlightResult, *, is_reported: bool = True
    ) -> FlightResult:
        """Thaw a copy for one caller; abandoned if the bytes are unusable."""
        with gc_relaxed():
            copy = None if found.frozen is None else self._thaw_data(key, found.frozen)
            if copy is None:
                self._section.run(self._thaw_failed, key, None, entry)
                return FlightResult(ABANDONED)
            self._section.run(self._served, key, copy, found.nbytes, is_reported)
            return found._replace(value=copy.value)

    def _thaw_data(self, key: Hashable, data: bytes) -> _Copy | None:
        """A fresh copy; None, and a line in the log, if the bytes do not give one."""
        assert self._freezer is not None
        started = self.timer()
        try:
            value = self._freezer.thaw(data)
        except MemoryError:  # the bytes are as good as before, and a load would need more
            raise
        except Exception as error:
            self._report_failed_thaw(key, error)
            return None
        seconds = self.timer() - started
        own = own_references(value)  # while this variable is the only holder
        return _Copy(value, seconds, own)

    def _keep_thawed(self, key: Hashable, flight: Flight, entry: Entry, copy: _Copy, weight: Sized) -> None:
        if self._flights.retire(key, flight):
            self._store.keep_thawed(entry, copy.value, weight, copy.seconds, copy.own, self._clock())
        else:
            self._store.pass_through(copy.value, weight.nbytes, copy.own)

    def _served(self, key: Hashable, copy: _Copy, nbytes: int, is_reported: bool) -> None:
        self._store.pass_through(copy.value, nbytes, copy.own)
        self._counts.thawed(copy.seconds)
        if is_reported:
            self._notify(key, "frozen", self._store.entries.get(key), copy.seconds)

    def _thawed(self, key: Hashable, flight: Flight, seconds: float) -> None:
        self._flights.retire(key, flight)
        self._counts.thawed(seconds)
        self._notify(key, "frozen", self._store.entries.get(key), seconds)

    def _thaw_failed(self, key: Hashable, flight: Flight | None, entry: Entry | None) -> None:
        self._counts.thaw_failures += 1
        if flight is not None:
            self._flights.retire(key, flight)
        if entry is not None and self._store.entries.get(key) is entry:
            self._store.remove(key, RemovalCause.STALE, self._clock.latest)

    def _report_failed_thaw(self, key: Hashable, error: Exception) -> None:
        if isinstance(error, ThawError) and error.__cause__ is None:
            report("damage", "the frozen bytes of %r are damaged: it is loaded instead", key, error=error)
        else:
            self._preparer.thaw_failed(key, error)

    # ---- loads ----

    def _load(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        """Lead a load."""
        with gc_relaxed():
            return self._load_and_offer(key, flight, request)

    def _load_and_offer(self, key: Hashable, flight: Flight, request: Request) -> FlightResult:
        assert request.loader is not None
        started = self.timer()
        try:
            loaded = request.loader(key)
        except Exception:
            self._section.run(self._load_failed, key, flight)
            raise
        seconds = self.timer() - started
        if loaded is None:
            self._section.run(self._load_absent, key, flight)
            return _ABSENT
        facts = loaded if isinstance(loaded, Loaded) else Loaded(loaded)
        del loaded  # the value's holders are counted
        candidate = self._prepare_loaded(key, facts, seconds)
        result = FlightResult(facts.value, content=facts.content)
        rejection = self._offer(key, self._keep_loaded, key, flight, candidate, facts.keep_if, request.private)
        self._section.run(self._loaded, key, flight, seconds, candidate)
        if rejection is Rejection.OVERSIZE and self._raises_oversize and candidate is not None:
            raise self.oversize(candidate)
        if rejection is Rejection.OVERTAKEN:
            return result  # for this caller only
        if candidate is not None:
            result = result._replace(frozen=candidate.frozen, nbytes=candidate.live_bytes)
        flight.complete(result._replace(private=request.private))
        return result

    def _offer(
        self, key: Hashable, keep: Callable[P, Rejection | None], *args: P.args, **kwargs: P.kwargs
    ) -> Rejection | None:
        """Offer a value to the store; a fault of our own costs its place in the cache, the caller gets the value."""
        try:
            return self._section.run(keep, *args, **kwargs)
        except Exception as error:
            report("keep", "%r could not be kept: it is served", key, error=error)
            self._counts.internal_errors += 1
            return None

    def _with_version(self, key: Hashable, facts: Loaded[Any]) -> Loaded[Any]:
        if self._version_of is None or facts.version is not None:
            return facts
        try:
            return dataclasses.replace(facts, version=self._version_of(key))
        except Exception as error:
            report("version", "version_of failed on %r: it counts as no version", key, error=error)
            return facts

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

    def _loaded(self, key: Hashable, flight: Flight, seconds: float, candidate: Candidate | None) -> None:
        self._flights.retire(key, flight)
        self._counts.loads += 1
        self._counts.load_seconds.observe(seconds)
        self._notify(key, "miss", candidate, seconds)

    def _load_failed(self, key: Hashable, flight: Flight) -> None:
        self._flights.retire(key, flight)
        self._counts.load_failures += 1
        self._notify(key, "absent")

    def _load_absent(self, key: Hashable, flight: Flight) -> None:
        self._flights.retire(key, flight)
        self._counts.absent += 1
        self._notify(key, "absent")

    # ---- other steps ----

    def _withdraw(self, key: Hashable) -> FlightResult:
        entry = self._store.find(key, self._clock())
        if entry is None:
            self._flights.invalidate(key)
            self._counts.absent += 1
            return _ABSENT
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
            return _ABSENT
        self._counts.loads += 1
        return (
            FlightResult(loaded.value, content=loaded.content) if isinstance(loaded, Loaded) else FlightResult(loaded)
        )

    def _weigh_again(self, copy: LiveCopy | None) -> None:
        """Weigh a value that a lookup has found, if that is due. Only the result is accounted under the lock."""
        if copy is None or copy.uses < copy.due or self._section.entered():
            return
        nbytes = self._preparer.weigh_again(copy, self._clock.latest)
        if nbytes is None or nbytes == copy.value_bytes:
            return
        try:
            self._section.run(self._reweigh, copy, nbytes)
        except Exception as error:
            report("reweigh", "the new weight of %r could not be accounted", copy.entry.key, error=error)
            self._counts.internal_errors += 1

    def _reweigh(self, copy: LiveCopy, nbytes: int) -> None:
        self._store.reweigh(copy, nbytes, self._clock())

    def _notify(self, key: Any, tier: str, known: Entry | Candidate | None = None, seconds: float = 0.0) -> None:
        watcher = self.watcher
        if watcher is not None:
            watcher(LookupEvent(key, tier, seconds, None if known is None else _facts_of(known)))


def _facts_of(known: Entry | Candidate) -> EntryFacts:
    frozen = known.frozen  # without the lock: it may leave in the middle of this
    data = frozen.data if isinstance(frozen, FrozenCopy) else frozen
    return EntryFacts(known.live_bytes, 0 if data is None else len(data), known.load_seconds, known.family, known.order)
