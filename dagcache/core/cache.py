"""`DagCache`: the thread-safe shell around the store.

A lookup goes through up to three doors: the hit path (no lock, `hits`), one short turn under the lock (`_begin`), and,
outside the lock again, a thaw or a load that all threads share (`flights`). Nothing slow ever happens under the lock:
no load, no freezing or thawing, no weighing, no listener, no destruction of what left.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import gc
import logging
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Hashable, ItemsView, Iterable, Iterator, MutableMapping, ValuesView
from types import MethodType
from typing import Any, Final, Generic, TypeVar, cast, overload

from dagcache.concurrency.allowance import LOOKUP_SECONDS, VIEW_SECONDS, Allowance
from dagcache.concurrency.critical_section import CriticalSection
from dagcache.config import CacheConfig
from dagcache.core import hit_path
from dagcache.core.counters import LookupCounts, build_stats
from dagcache.core.disposal import Disposer
from dagcache.core.entry import Candidate, Entry, FrozenCopy, LiveCopy
from dagcache.core.loaded import Fetched, Loaded
from dagcache.core.preparation import Preparer
from dagcache.core.single_flight import ABANDONED, Flight, FlightResult, Flights
from dagcache.core.store import Store
from dagcache.errors import OversizeError, RecursiveLoadError, ThawError
from dagcache.forks import after_fork_in_child
from dagcache.freezing.pickle_freezer import Freezer, PickleFreezer
from dagcache.log_limits import report
from dagcache.reclaim.breaker import CycleBreaker, GenericBreaker
from dagcache.reclaim.gc_pause import gc_relaxed
from dagcache.reclaim.reference_counts import own_references
from dagcache.sizing.estimate import Sized
from dagcache.sizing.limits import ByteLimit, format_bytes
from dagcache.sizing.memory import give_back
from dagcache.stats import CacheStats, EntryFacts, EntryInfo, LookupEvent, Rejection, RemovalCause

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")

_EXPIRY_SLICE = 8  # entries that one turn under the lock looks at for their idle time, between two looks at the time
_EXPIRY_BATCH = 256  # the same, where all of them are to be looked at
_ORPHANS: list[object] = []  # what forked children inherited: destroying it would copy its pages


Watcher = Callable[[LookupEvent], object]
"""See `DagCache.watch`."""


class _Unset(enum.Enum):
    UNSET = enum.auto()

    def __repr__(self) -> str:
        return "<default>"


UNSET: Final = _Unset.UNSET
_ABSENT: Final = FlightResult(UNSET)


class _Step(enum.Enum):
    """What a lookup that was not a plain hit does next."""

    HIT = enum.auto()
    THAW = enum.auto()
    COPY = enum.auto()
    LOAD = enum.auto()
    FOLLOW = enum.auto()
    ABSENT = enum.auto()
    RECURSION = enum.auto()


class _Wanted:
    """What one lookup asks for, and how long it still waits for other threads."""

    __slots__ = ("_timeout", "_timer", "_until", "loader", "overtakes", "private", "renew")

    def __init__(
        self,
        loader: Callable[[Any], Any] | None,
        *,
        private: bool = False,
        renew: bool = False,
        timeout: float | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loader = loader
        self.private = private
        self.renew = renew
        # Not a number, or less than nothing: it does not wait. As long as a thread can wait is for ever.
        self._timeout = None if timeout is None else min(timeout, threading.TIMEOUT_MAX) if timeout > 0 else 0.0
        self._timer = timer
        self._until: float | None = None
        self.overtakes = False
        """Whether it has spent all of its time on one flight, which then gives way to it."""

    def wait(self, flight: Flight) -> FlightResult | None:
        """Wait for another thread's flight; None if the time is up, which begins with the first wait."""
        if self._timeout is None:
            return flight.wait()
        now = self._timer()
        if self._until is None:
            self._until = now + self._timeout
            self.overtakes = self._timeout > 0
        result = flight.wait(self._until - now)
        self.overtakes = self.overtakes and result is None
        return result

    @property
    def is_late(self) -> bool:
        """Whether it has waited for as long as it may."""
        return self._until is not None and self._timer() >= self._until


class _Shadowed(hit_path.Shadowed):
    def _method_replaced(cls) -> None:  # noqa: N805 - of a metaclass
        for cache in list(_caches.values()):
            cache._shadow_methods()  # noqa: SLF001 - the class of this very class


class DagCache(MutableMapping[K, V], Generic[K, V], metaclass=_Shadowed):
    """A cache that is bounded by bytes and idle time, for values that are large and slow to build. Thread-safe.

    ``DagCache(max_bytes="512MiB", ttl=3600)``: keywords are the fields of `CacheConfig`, which may also be given whole.

    Args:
        config: the settings, instead of keywords.
        max_bytes, ttl, name, mode, frozen, oversize, memory_limit, workers, unproven_share: fields of `CacheConfig`.
        sizer: ``sizer(value) -> bytes`` replaces the built-in weighing. It is called when a value comes in, and now and
            then by a thread that looks the value up, while other threads may use it.
        freezer: how values are frozen. None is another way to write ``frozen=False``, which `config` shows.
        clock: monotonic seconds.
        on_removal: ``on_removal(info, cause)`` is told of every entry that left, outside the lock; its errors are
            logged and counted. Any call of any thread may run it, a plain `get` too, and for entries that another
            thread has evicted: it must not take a lock that a caller of the cache may hold. Put the removal on a queue
            (``deque.append``) and see to that elsewhere; docs/architecture.md shows how.
        version_of: ``version_of(key) -> (family, order) | None``, for keys that hold their version: it gives
            `Loaded.version` to assigned values, and to loaded ones that come without it.
        breaker: takes cyclic values apart that left and that nobody holds; None leaves that to the collector.
        shared: objects of which the process has one each and to which many values refer (singletons, time zones): they
            are frozen by reference, weighed with nobody, and never taken apart. Held as long as the cache is.

    Raises:
        ConfigError: (a ValueError) a setting cannot be read.
        TypeError: both a config and fields of it are given.

    """

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        max_bytes: ByteLimit | str | int | _Unset = UNSET,
        ttl: float | str | _Unset = UNSET,
        name: str | _Unset = UNSET,
        mode: str | _Unset = UNSET,
        frozen: bool | str | _Unset = UNSET,
        oversize: str | _Unset = UNSET,
        memory_limit: ByteLimit | str | int | _Unset = UNSET,
        workers: int | str | _Unset = UNSET,
        unproven_share: float | str | _Unset = UNSET,
        sizer: Callable[[V], int] | None = None,
        freezer: Freezer | _Unset | None = UNSET,
        clock: Callable[[], float] = time.monotonic,
        on_removal: Callable[[EntryInfo[K], RemovalCause], object] | None = None,
        version_of: Callable[[K], tuple[Hashable, float] | None] | None = None,
        breaker: CycleBreaker | _Unset | None = UNSET,
        shared: Iterable[object] = (),
    ) -> None:
        self.config = _config_of(
            config,
            freezer,
            max_bytes=max_bytes,
            ttl=ttl,
            name=name,
            mode=mode,
            frozen=frozen,
            oversize=oversize,
            memory_limit=memory_limit,
            workers=workers,
            unproven_share=unproven_share,
        )
        self._clock = clock
        self._latest = clock()
        self._timer = time.perf_counter
        self._upkeep_timer = time.perf_counter
        shared = tuple(shared)
        breaker = GenericBreaker(shared) if breaker is UNSET else breaker
        self._freezer: Freezer | None = None
        if self.config.frozen:
            self._freezer = PickleFreezer(shared) if freezer is UNSET else freezer
        self._make_preparer = functools.partial(Preparer, freezer=self._freezer, sizer=sizer, shared=shared)
        self._version_of = version_of
        self._make_disposer = functools.partial(Disposer, breaker=breaker, on_removal=on_removal)
        self._requested = self.config.max_bytes
        self._build(self.config.budget())
        _caches[id(self)] = self
        after_fork_in_child(self._after_fork_in_child)

    def _build(self, budget: int) -> None:
        """Start empty: at birth, and in a forked child."""
        enforce = self.config.mode == "enforce"
        self._store = Store(
            budget=budget, ttl=self.config.ttl, enforce=enforce, unproven_share=self.config.unproven_share
        )
        self._flights = Flights()
        self._preparer = self._make_preparer()
        self._disposer = self._make_disposer(budget=budget if enforce else 0)
        self._settles = False
        self._counts = LookupCounts()
        self._section = CriticalSection(repair=self._repair, repaired=self._repaired, after=self._take_released)
        self._watcher: Watcher | None = None
        self._hit_counts: tuple[Callable[[], int], ...] = ()
        self._install_hit_path(self._clock, self._use)

    def _install_hit_path(self, clock: Callable[[], float], use: Callable[[LiveCopy], bool]) -> None:
        """Make a hit path; what was counted on the one before stays counted."""
        path = hit_path.build(
            self._store.live,
            clock,
            use=use,
            get_slowly=self._get_slowly,
            load_slowly=self._load_slowly,
        )
        self._hit_counts = (*self._hit_counts, path.hits)
        path.present_as(MethodType(_GET, self), MethodType(_GET_OR_LOAD, self))
        self._hit_path = path
        self._shadow_methods()

    def _shadow_methods(self) -> None:
        """Put the hit path before the methods; not where a subclass, or a test, has others in their place."""
        for name in hit_path.NAMES:
            self.__dict__.pop(name, None)
        kind = type(self)
        if _HAS_GIL and (kind.get, kind.get_or_load) == (_GET, _GET_OR_LOAD):
            self.__dict__["get"] = self._hit_path.get
            self.__dict__["get_or_load"] = self._hit_path.get_or_load

    # ---- lookups ----

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """The value under a key, thawed if need be, or the default. Never loads."""
        return self._get_slowly(key, default)

    @overload
    def get_or_load(self, key: K, loader: Callable[[K], V | Loaded[V]], *, timeout: float | None = None) -> V: ...
    @overload
    def get_or_load(
        self, key: K, loader: Callable[[K], V | Loaded[V] | None], *, timeout: float | None = None
    ) -> V | None: ...
    def get_or_load(
        self, key: K, loader: Callable[[K], V | Loaded[V] | None], *, timeout: float | None = None
    ) -> V | None:
        """The value under a key; if there is none, what `loader(key)` returns, which is kept if it deserves it.

        However many threads ask for one key, one of them loads, and the others wait and share the value. They share
        nothing else: if the load fails or finds nothing, each of them calls its own loader, one at a time. A loader
        that returns None says that there is no value: None is returned and nothing kept. It may return `Loaded` to say
        more.

        Args:
            key: what to look up.
            loader: called with the key, by one thread at a time for each key.
            timeout: seconds to wait for other threads; afterwards this caller's own loader is called beside theirs.
                None: no limit.

        Raises:
            Exception: whatever this caller's loader raised; nothing is kept.
            RecursiveLoadError: the load would wait for itself.
            OversizeError: the value cannot be kept, with ``oversize="raise"``.

        """
        return cast("V | None", self._load_slowly(key, loader, timeout))

    @overload
    def fetch(
        self,
        key: K,
        loader: Callable[[K], V | Loaded[V]],
        *,
        private: bool = False,
        renew: bool = False,
        timeout: float | None = None,
    ) -> Fetched[V]: ...
    @overload
    def fetch(
        self,
        key: K,
        loader: Callable[[K], V | Loaded[V] | None] | None = None,
        *,
        private: bool = False,
        renew: bool = False,
        timeout: float | None = None,
    ) -> Fetched[V | None]: ...
    def fetch(
        self,
        key: K,
        loader: Callable[[K], V | Loaded[V] | None] | None = None,
        *,
        private: bool = False,
        renew: bool = False,
        timeout: float | None = None,
    ) -> Fetched[V | None]:
        """As `get_or_load`, and which content of the key the value is; without a loader nothing is loaded.

        Args:
            key: what to look up.
            loader: as for `get_or_load`.
            private: the caller gets an object that no other caller and no later lookup gets, and may change it: thawed
                for this call or, if the value has no frozen form, loaded for it.
            renew: with ``private``: the copy that other callers share is given up as well, in case one of them has
                changed it; their next lookup gets a new object, too.
            timeout: as for `get_or_load`.

        Raises:
            Exception: as `get_or_load`.

        """
        found = self._resolve(key, _Wanted(loader, private=private, renew=renew, timeout=timeout))
        return Fetched(None if found.value is UNSET else cast("V", found.value), found.content)

    def __getitem__(self, key: K) -> V:
        """The value under a key, thawed if need be.

        Raises:
            KeyError: there is none.

        """
        value = self.get(key, UNSET)
        if value is UNSET:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        """Whether there is a value under a key; counts as no lookup and no use. Takes no lock."""
        entry = self._store.entries.get(key)
        return entry is not None and not self._store.expired(entry, self._now())

    def __len__(self) -> int:
        self._look_after(VIEW_SECONDS)
        return sum(1 for _ in self._current()) if self._is_any_due() else len(self._store.entries)

    def __iter__(self) -> Iterator[K]:
        """Over a snapshot of the keys: the cache may change meanwhile."""
        self._look_after(VIEW_SECONDS)
        return iter(cast("list[K]", [entry.key for entry in self._current()]))

    def values(self) -> ValuesView[V]:
        """A view of the values: iterating over it looks up what is there when it begins, and skips what leaves."""
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        """A view of the keys and values: as `values`."""
        return _Items(self)

    # ---- changes ----

    def __setitem__(self, key: K, value: V) -> None:
        """Assign a value; it is frozen, weighed and, if it deserves it, kept. An older value goes in any case.

        Raises:
            OversizeError: it weighs more than the budget, with ``oversize="raise"``; nothing has changed.

        """
        hash(key)  # what is no key is refused before anything is touched
        candidate = self._preparer.take(key, self._with_version(key, Loaded(value)), 0.0, self._store.budget)
        if candidate is not None and self.config.oversize == "raise" and not self._store.fits(candidate):
            raise self._oversize(candidate)
        self._section.run_or_defer(self._put, key, candidate)

    def __delitem__(self, key: K) -> None:
        """Remove an entry; a load of its key that is under way will not be kept.

        Raises:
            KeyError: there is none.

        """
        hash(key)
        if self._section.entered():
            if key not in self:
                raise KeyError(key)
            self._section.run_or_defer(self._delete, key, RemovalCause.EXPLICIT)
        elif not self._section.run(self._delete, key, RemovalCause.EXPLICIT):
            raise KeyError(key)

    def invalidate(self, key: K, only_if: Callable[[], bool] | None = None) -> None:
        """Remove what is under a key because it is out of date, if there is anything; also what is being loaded.

        Threads that wait for a load of the key start over. ``only_if`` is called under the cache's lock: if it returns
        False, nothing is removed. It must be quick and must not use the cache.
        """
        hash(key)
        self._section.run_or_defer(self._invalidate, key, only_if)

    @overload
    def pop(self, key: K) -> V: ...
    @overload
    def pop(self, key: K, default: V | D) -> V | D: ...
    def pop(self, key: K, default: Any = UNSET) -> Any:
        """Remove an entry and return its value: of several threads, one gets it.

        Raises:
            KeyError: there is none, and no default was given.

        """
        value = self._take_out(key)
        if value is not UNSET:
            return value
        if default is UNSET:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Remove some entry and return its key and value: of several threads, each gets another.

        Raises:
            KeyError: there is none.

        """
        for key in self:
            value = self._take_out(key)
            if value is not UNSET:
                return key, value
        raise KeyError("popitem(): the cache is empty")

    def _take_out(self, key: K) -> Any:
        """Look a value up and remove it, at one stroke; UNSET if there is none. Counts as one lookup."""
        hash(key)
        if self._section.entered():
            value = self._bypass(key, _Wanted(None)).value
            self._section.run_or_defer(self._delete, key, RemovalCause.EXPLICIT)
            return value
        value, frozen, nbytes = self._section.run(self._withdraw, key)
        if frozen is None or self._freezer is None:
            return value
        thawed = self._thaw_data(key, frozen)
        if thawed is None:
            self._section.run(self._withdrawn, None)
            return UNSET
        value, seconds = thawed
        del thawed  # the value's holders are counted
        own = own_references(value)
        self._section.run(self._withdrawn, seconds, value, nbytes, own)
        return value

    def _withdraw(self, key: K) -> tuple[Any, bytes | None, int]:
        entry = self._store.find(key, self._now())
        if entry is None:
            self._flights.invalidate(key)
            self._counts.absent += 1
            return UNSET, None, 0
        live, frozen = entry.live, entry.frozen
        self._delete(key, RemovalCause.EXPLICIT)
        if live is not None:
            self._counts.hits_live += 1
            return live.value, None, 0
        return UNSET, None if frozen is None else frozen.data, entry.thaws_to_bytes

    def _withdrawn(self, seconds: float | None, value: Any = None, nbytes: int = 0, own: int = 0) -> None:
        if seconds is None:
            self._counts.thaw_failures += 1
            self._counts.absent += 1
        else:
            self._counts.thawed(seconds)
            self._store.pass_through(value, nbytes, own)

    @overload
    def setdefault(self: DagCache[K, D | None], key: K, default: None = None) -> D | None: ...
    @overload
    def setdefault(self, key: K, default: V) -> V: ...
    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value under a key, or the default, which is assigned then: of several threads, one assigns."""
        return self.get_or_load(key, lambda _: Loaded(default))

    def clear(self) -> None:
        """Remove everything and give the memory back to the operating system as far as it goes.

        Of what left before, too, everything is taken apart that no caller holds.
        """
        if self._section.run_or_defer(self._clear):
            self._let_go()
        give_back()

    def expire(self) -> int:
        """Remove all that has been idle for longer than the TTL; how many entries that were.

        Lookups, `len`, iteration and `stats` remove some by the way, for a few milliseconds at most, so that nothing
        needs to call this on a timer.
        """
        gone = 0
        if not self._section.entered():
            while self._is_any_due():
                gone += self._section.run(self._expire_some, _EXPIRY_BATCH)
            self._disposer.dispose()
            self._settle()
        return gone

    def resize(self, max_bytes: ByteLimit | str | int) -> None:
        """Set the byte limit; what does not fit any more leaves at once, live copies first.

        Of what left before, too, everything is taken apart that no caller holds.
        A percentage is resolved now, and again by `MemoryPressure` whenever the memory limit changes.

        Raises:
            ConfigError: it cannot be read; the old limit stays.

        """
        requested = ByteLimit.parse(max_bytes, setting="max_bytes")
        budget = self.config.resolve(requested)
        self._requested = dataclasses.replace(requested)  # an object of its own: a request is known by its identity
        if self._section.run_or_defer(self._resize, budget):
            self._let_go()

    def apply_budget(self, nbytes: int) -> None:
        """Put a number of bytes in force while `requested` stays as it is; for `MemoryPressure`, not for operators."""
        if self._section.run_or_defer(self._resize, nbytes):
            self._let_go()

    # ---- telling ----

    @property
    def max_bytes(self) -> int:
        """The byte limit now in force, in bytes; 0 = unbounded."""
        return self._store.budget

    @property
    def requested(self) -> ByteLimit:
        """The byte limit that was asked for, at the start or by the last `resize`."""
        return self._requested

    def watch(self, watcher: Watcher | None) -> None:
        """Report each lookup to a watcher from now on; None ends that. Hits cost nothing more without a watcher.

        The thread that looks up calls ``watcher(event)``, maybe under the cache's lock: the watcher must be quick, must
        not raise, and must not use the cache. Not reported: `pop`, and lookups in the middle of a change. A forked
        child starts without a watcher.

        Raises:
            RuntimeError: there is a watcher already.

        """
        if watcher is not None and self._watcher is not None:
            raise RuntimeError(f"the cache {self.config.name!r} is being watched already")
        self._watcher = watcher
        if watcher is None:
            self._install_hit_path(self._clock, self._use)
        else:
            self._install_hit_path(_never_fresh, self._use_watched)

    def stats(self) -> CacheStats:
        """One consistent snapshot; the contract is in `dagcache.stats`."""
        self._look_after(VIEW_SECONDS)
        if self._section.entered():
            return self._snapshot()
        return self._section.run(self._snapshot)

    def entries(self) -> list[EntryInfo[K]]:
        """Every resident entry, as it is now."""
        self._look_after(VIEW_SECONDS)
        entries = list(self._current())
        now = self._now()
        return [entry.info(now) for entry in entries]

    def check_invariants(self) -> None:
        """Recompute everything that is kept incrementally.

        Raises:
            AssertionError: something differs.

        """
        if not self._section.entered():
            self._section.run(self._check_invariants)

    def __repr__(self) -> str:
        store = self._store
        budget = format_bytes(store.budget) if store.budget else "no limit"
        return (
            f"<DagCache {self.config.name!r}: {len(store.entries)} entries, {len(store.live)} live,"
            f" {format_bytes(store.used)} of {budget}>"
        )

    # ---- a lookup that was not a plain hit ----

    def _use(self, copy: LiveCopy) -> bool:
        """Note a use on the hit path, without the lock; False if the entry's time is up."""
        now = self._now()
        store = self._store
        if not store.use_unlocked(copy, now):
            return False
        if now > store.next_due or self._disposer.is_due:
            self._expire_idle(Allowance(LOOKUP_SECONDS, self._upkeep_timer))
        self._weigh_again(copy)
        return True

    def _weigh_again(self, copy: LiveCopy | None) -> None:
        """Weigh what a lookup has found if that is due: it may have grown. Without the lock, but for the result."""
        if copy is None or copy.uses < copy.due or self._section.entered():
            return
        nbytes = self._preparer.weigh_again(copy, self._latest)
        if nbytes is None or nbytes == copy.value_bytes:
            return
        try:
            self._section.run(self._reweigh, copy, nbytes)
        except Exception as error:
            report("reweigh", "the new weight of %r could not be accounted", copy.entry.key, error=error)
            self._counts.internal_errors += 1

    def _use_watched(self, copy: LiveCopy) -> bool:
        """As the hit path and `_use`, and tell."""
        if self._clock() >= copy.fresh and not self._use(copy):
            return False
        self._notify(copy.entry.key, "live", copy.entry)
        return True

    def _notify(self, key: Any, tier: str, known: Entry | Candidate | None = None, seconds: float = 0.0) -> None:
        watcher = self._watcher
        if watcher is not None:
            watcher(LookupEvent(key, tier, seconds, None if known is None else _facts_of(known)))

    def _get_slowly(self, key: K, default: Any = None) -> Any:
        value = self._resolve(key, _Wanted(None)).value
        return default if value is UNSET else value

    def _load_slowly(self, key: K, loader: Callable[[K], Any], timeout: float | None = None) -> Any:
        value = self._resolve(key, _Wanted(loader, timeout=timeout)).value
        return None if value is UNSET else value

    def _resolve(self, key: K, wanted: _Wanted) -> FlightResult:
        hash(key)  # what is no key is refused before anything is touched
        if self._section.entered():
            return self._bypass(key, wanted)
        if self._is_any_due():
            self._expire_idle(Allowance(LOOKUP_SECONDS, self._upkeep_timer))
        while True:
            flight = Flight()
            with flight.pending:
                step, found = self._section.run(self._begin, key, flight, wanted)
                if step is _Step.HIT:
                    self._weigh_again(self._store.live.get(key))
                if step is _Step.HIT or step is _Step.ABSENT:
                    return cast("FlightResult", found)
                if step is _Step.RECURSION:
                    raise RecursiveLoadError(f"a load waits, directly or in a ring of threads, for itself: {key!r}")
                if step is _Step.COPY:
                    result = self._thaw_privately(key, *found)
                elif step is _Step.FOLLOW:
                    result = self._follow(key, found, wanted)
                else:
                    result = self._lead(step, key, flight, found, wanted)
            if result.value is not ABANDONED:
                return result

    def _begin(self, key: K, flight: Flight, wanted: _Wanted) -> tuple[_Step, Any]:
        """Under the lock: what there is, or which thread fetches it."""
        now = self._now()
        store, counts = self._store, self._counts
        entry = store.find(key, now)
        if wanted.renew and entry is not None and entry.live is not None:
            store.give_up_live(entry)
            entry = store.entries.get(key)
        if wanted.private and entry is not None and entry.frozen is not None and self._freezer is not None:
            return _Step.COPY, (
                entry,
                FlightResult(None, entry.frozen.data, entry.content, nbytes=entry.thaws_to_bytes),
            )
        if not wanted.private and entry is not None and entry.live is not None:
            counts.hits_live += 1
            self._notify(key, "live", entry)
            return _Step.HIT, FlightResult(entry.live.value, content=entry.content)
        if wanted.loader is None and (entry is None or wanted.private):
            counts.absent += 1
            self._notify(key, "absent")
            return _Step.ABSENT, _ABSENT
        if wanted.private and entry is not None:
            return _Step.LOAD, None  # the live copy belongs to the other callers; the load is not registered
        step = _Step.LOAD if entry is None else _Step.THAW
        other = self._flights.get(key)
        if other is not None and (entry is not None or not other.thawing):
            return self._beside(other, step, entry, wanted)
        if wanted.private and self._freezer is None:
            return step, None  # a load that no other thread can share
        flight.thawing = step is _Step.THAW
        self._flights.register(key, flight)
        return step, entry

    def _beside(self, other: Flight, step: _Step, entry: Entry | None, wanted: _Wanted) -> tuple[_Step, Any]:
        """What a lookup does while another thread fetches its key."""
        if wanted.is_late:
            return step, entry  # on its own: not registered, so the result is not kept
        if self._flights.follow(other):
            return _Step.FOLLOW, other
        if other.thawing:
            return _Step.THAW, entry  # a signal handler interrupts its own thread's thaw: it gets a copy of its own
        return _Step.RECURSION, None

    def _lead(self, step: _Step, key: K, flight: Flight, entry: Any, wanted: _Wanted) -> FlightResult:
        """Thaw or load for all threads that wait. However this ends, they do not wait for ever."""
        try:
            return self._thaw(key, flight, entry) if step is _Step.THAW else self._load(key, flight, wanted)
        except BaseException:
            self._section.run_or_defer(self._flights.retire, key, flight)
            raise
        finally:
            if flight.result is None:
                flight.abandon()

    def _follow(self, key: K, flight: Flight, wanted: _Wanted) -> FlightResult:
        """Wait for another thread's result; abandoned if there is none to share."""
        try:
            result = wanted.wait(flight)
        finally:
            self._flights.unfollow()
        if result is None:
            if wanted.overtakes:
                self._section.run(self._overtake, key, flight)
            return FlightResult(ABANDONED)
        if result.value is ABANDONED:
            return result
        if result.private or wanted.private:
            if result.frozen is None or self._freezer is None:
                return FlightResult(ABANDONED)
            return self._thaw_privately(key, None, result)
        self._section.run(self._joined, key, flight)
        return result

    def _overtake(self, key: K, flight: Flight) -> None:
        """A follower has waited for too long: the next one in leads."""
        if self._flights.is_current(key, flight):
            self._flights.invalidate(key)

    def _joined(self, key: K, flight: Flight) -> None:
        self._counts.joined(flight.thawing)
        self._notify(key, "frozen" if flight.thawing else "miss", self._store.entries.get(key))

    def _thaw(self, key: K, flight: Flight, entry: Entry) -> FlightResult:
        """Lead a thaw; abandoned if the frozen copy is no good, whereupon each thread loads."""
        frozen = entry.frozen
        freezer = self._freezer
        if frozen is None or freezer is None:  # removed since, and its copies let go
            self._section.run(self._flights.retire, key, flight)
            return FlightResult(ABANDONED)
        # Until what has to go for it is gone as well: then as much died as was born, and no collection is due.
        with gc_relaxed():
            return self._thaw_and_offer(key, flight, entry, frozen.data)

    def _thaw_and_offer(self, key: K, flight: Flight, entry: Entry, data: bytes) -> FlightResult:
        thawed = self._thaw_data(key, data)
        if thawed is None:
            self._section.run(self._thaw_failed, key, flight, entry)
            return FlightResult(ABANDONED)
        value, seconds = thawed
        del thawed  # the value's holders are counted
        own = own_references(value)
        weight = self._preparer.weigh_thawed(entry, value, data, seconds, self._store.budget)
        self._offer(self._keep_thawed, key, flight, entry, value, weight, seconds, own)
        self._section.run(self._thawed, key, flight, seconds)
        result = FlightResult(value, data, entry.content, nbytes=weight.nbytes)
        flight.complete(result)
        return result

    def _thaw_privately(self, key: K, entry: Entry | None, found: FlightResult) -> FlightResult:
        """Thaw a copy for one caller; abandoned if the bytes are no good."""
        with gc_relaxed():
            thawed = None if found.frozen is None else self._thaw_data(key, found.frozen)
            if thawed is None:
                self._section.run(self._thaw_failed, key, None, entry)
                return FlightResult(ABANDONED)
            value, seconds = thawed
            del thawed  # the value's holders are counted
            own = own_references(value)
            self._section.run(self._served, key, value, found.nbytes, own, seconds)
            return found._replace(value=value)

    def _thaw_data(self, key: K, data: bytes) -> tuple[Any, float] | None:
        """A value and the seconds it took; None, and a note of it, if the bytes do not give one."""
        assert self._freezer is not None
        started = self._timer()
        try:
            value = self._freezer.thaw(data)
        except MemoryError:  # the bytes are as good as before, and a load would need more
            raise
        except Exception as error:
            self._report_failed_thaw(key, error)
            return None
        return value, self._timer() - started

    def _offer(self, keep: Callable[..., Rejection | None], key: K, *args: Any) -> Rejection | None:
        """Offer a value to the store; a fault of our own costs its place in the cache, the caller gets the value."""
        try:
            return self._section.run(keep, key, *args)
        except Exception as error:
            report("keep", "%r could not be kept: it is served", key, error=error)
            self._counts.internal_errors += 1
            return None

    def _keep_thawed(
        self, key: K, flight: Flight, entry: Entry, value: Any, weight: Sized, seconds: float, own: int
    ) -> None:
        if self._flights.retire(key, flight):
            self._store.keep_thawed(entry, value, weight, seconds, own, self._now())
        else:
            self._store.pass_through(value, weight.nbytes, own)

    def _served(self, key: K, value: Any, nbytes: int, own: int, seconds: float) -> None:
        self._store.pass_through(value, nbytes, own)
        self._count_thaw(key, seconds)

    def _thawed(self, key: K, flight: Flight, seconds: float) -> None:
        self._flights.retire(key, flight)
        self._count_thaw(key, seconds)

    def _count_thaw(self, key: K, seconds: float) -> None:
        self._counts.thawed(seconds)
        self._notify(key, "frozen", self._store.entries.get(key), seconds)

    def _report_failed_thaw(self, key: K, error: Exception) -> None:
        if isinstance(error, ThawError) and error.__cause__ is None:
            report("damage", "the frozen bytes of %r are damaged: it is loaded instead", key, error=error)
        else:
            self._preparer.thaw_failed(key, error)

    def _thaw_failed(self, key: K, flight: Flight | None, entry: Entry | None) -> None:
        self._counts.thaw_failures += 1
        if flight is not None:
            self._flights.retire(key, flight)
        if entry is not None and self._store.entries.get(key) is entry:
            self._store.remove(key, RemovalCause.STALE, self._latest)

    def _load(self, key: K, flight: Flight, wanted: _Wanted) -> FlightResult:
        """Lead a load."""
        with gc_relaxed():
            return self._load_and_offer(key, flight, wanted)

    def _load_and_offer(self, key: K, flight: Flight, wanted: _Wanted) -> FlightResult:
        assert wanted.loader is not None
        started = self._timer()
        try:
            loaded = wanted.loader(key)
        except Exception:
            self._section.run(self._load_failed, key, flight)
            raise
        seconds = self._timer() - started
        if loaded is None:
            self._section.run(self._load_absent, key, flight)
            return _ABSENT
        facts = loaded if isinstance(loaded, Loaded) else Loaded(loaded)
        del loaded  # the value's holders are counted
        candidate = self._take(key, facts, seconds)
        result = FlightResult(facts.value, content=facts.content)
        rejection = self._offer(self._keep_loaded, key, flight, candidate, facts.keep_if, wanted.private)
        self._section.run(self._loaded, key, flight, seconds, candidate)
        if rejection is Rejection.OVERSIZE and self.config.oversize == "raise" and candidate is not None:
            raise self._oversize(candidate)
        if rejection is Rejection.OVERTAKEN:
            return result  # for this caller only
        if candidate is not None:
            result = result._replace(frozen=candidate.frozen, nbytes=candidate.live_bytes)
        flight.complete(result._replace(private=wanted.private))
        return result

    def _take(self, key: K, facts: Loaded[Any], seconds: float) -> Candidate | None:
        """Prepare a loaded value; a fault of our own costs its place in the cache, the caller gets the value."""
        try:
            return self._preparer.take(key, self._with_version(key, facts), seconds, self._store.budget)
        except Exception as error:
            report("prepare", "%r could not be prepared: it is served and not kept", key, error=error)
            self._counts.internal_errors += 1
            return None

    def _with_version(self, key: K, facts: Loaded[Any]) -> Loaded[Any]:
        if self._version_of is None or facts.version is not None:
            return facts
        try:
            return dataclasses.replace(facts, version=self._version_of(key))
        except Exception as error:
            report("version", "version_of failed on %r: it counts as no version", key, error=error)
            return facts

    def _keep_loaded(
        self,
        key: K,
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
        return self._counts.reject(self._store.admit(candidate, self._now(), private=private))

    def _is_to_be_kept(self, key: K, keep_if: Callable[[], bool]) -> bool:
        try:
            return keep_if()
        except Exception as error:
            report("keep_if", "keep_if failed on %r: the value is served and not kept", key, error=error)
            self._counts.internal_errors += 1
            return False

    def _loaded(self, key: K, flight: Flight, seconds: float, candidate: Candidate | None) -> None:
        self._flights.retire(key, flight)
        self._counts.loads += 1
        self._counts.load_seconds.observe(seconds)
        self._notify(key, "miss", candidate, seconds)

    def _load_failed(self, key: K, flight: Flight) -> None:
        self._flights.retire(key, flight)
        self._counts.load_failures += 1
        self._notify(key, "absent")

    def _load_absent(self, key: K, flight: Flight) -> None:
        self._flights.retire(key, flight)
        self._counts.absent += 1
        self._notify(key, "absent")

    def _bypass(self, key: K, wanted: _Wanted) -> FlightResult:
        """A lookup by a thread that is in the middle of a change: it must not wait, and gets no place in the cache."""
        copy = None if wanted.private else self._store.live.get(key)
        if copy is not None:
            self._counts.hits_live += 1
            return FlightResult(copy.value, content=copy.entry.content)
        try:
            loaded = None if wanted.loader is None else wanted.loader(key)
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

    # ---- actions under the lock ----

    def _put(self, key: K, candidate: Candidate | None) -> None:
        self._flights.invalidate(key)
        if candidate is None:
            self._counts.reject(Rejection.SIZER)
            self._store.remove(key, RemovalCause.REPLACED, self._latest)
        else:
            self._counts.reject(self._store.admit(candidate, self._now()))

    def _delete(self, key: K, cause: RemovalCause) -> bool:
        self._flights.invalidate(key)
        return self._store.remove(key, cause, self._now())

    def _invalidate(self, key: K, only_if: Callable[[], bool] | None) -> None:
        if only_if is None or only_if():
            self._delete(key, RemovalCause.STALE)

    def _clear(self) -> None:
        self._flights.invalidate_all()
        self._store.clear()

    def _reweigh(self, copy: LiveCopy, nbytes: int) -> None:
        self._store.reweigh(copy, nbytes, self._now())

    def _resize(self, budget: int) -> None:
        self._store.resize(budget, self._now())
        self._disposer.fit(budget if self._store.enforce else 0)

    def _expire_some(self, limit: int) -> int:
        return self._store.expire(self._now(), limit)

    def _charge_held(self) -> bool:
        self._settles = True
        return self._store.settle(self._disposer.held_bytes, self._now())

    def _check_invariants(self) -> None:
        self._store.check_invariants()
        self._disposer.check_invariants()

    def _snapshot(self) -> CacheStats:
        return build_stats(
            self.config.name,
            self._store,
            self._counts,
            self._preparer,
            self._disposer,
            self._unlocked_hits(),
            self._now(),
        )

    def _repair(self) -> None:
        self._store.repair(self._latest)  # a clock that fails is one of the things that tear a change

    def _repaired(self) -> None:
        message = "a change to the cache %r was interrupted: its totals were recomputed"
        report("repair", message, self.config.name, level=logging.WARNING)

    def _take_released(self) -> Callable[[], None] | None:
        released = self._store.take_released()
        if released:
            self._disposer.take(released, self._latest)
        if self._settles:  # what called for this goes on settling
            self._settles = False
            return self._dispose_for_a_while
        # What is freed before a thaw makes as much is not set off against it: a collection would be due all the same.
        before_a_thaw = bool(self._flights) and gc.isenabled()
        is_due = self._disposer.is_due or (self._disposer.is_awaited and not before_a_thaw)
        return self._tidy if is_due else None

    # ---- what left ----

    def _tidy(self) -> None:
        """See to what left, and to what is held of it, after a change and outside the lock."""
        self._dispose_for_a_while()
        self._settle()

    def _dispose_for_a_while(self) -> None:
        self._dispose_within(Allowance(LOOKUP_SECONDS, self._upkeep_timer))

    def _dispose_within(self, allowance: Allowance) -> None:
        """Bury until the time is up; but what is over the budget, whatever that takes."""
        self._disposer.dispose(lambda: allowance.is_spent() and not self._is_over_budget())

    def _is_over_budget(self) -> bool:
        return self._store.exceeds(self._disposer.held_bytes, self._disposer.due_bytes)

    def _settle(self) -> None:
        """Have residents leave for what callers hold of what left: both are in the process's memory."""
        if self._disposer.is_disposing:
            return  # the disposal around this settles when it is done
        while self._store.exceeds(self._disposer.held_bytes):
            if not self._section.run(self._charge_held):
                return
        self._store.note_held(self._disposer.held_bytes)

    def _let_go(self) -> None:
        """Bury everything, and take apart all that is free, whatever that takes."""
        self._disposer.empty()
        self._store.forget_held()
        self._settle()

    def _look_after(self, seconds: float) -> None:
        """For so long, remove what is idle and dispose what left; and look at what waits."""
        if self._section.entered():
            return
        allowance = Allowance(seconds, self._upkeep_timer)
        self._expire_idle(allowance)
        if self._disposer.is_awaited:
            self._dispose_within(allowance)
            self._settle()

    def _expire_idle(self, allowance: Allowance) -> None:
        """Remove what is idle and dispose what left, until the time is up."""
        if self._section.entered() or self._disposer.is_disposing:
            return
        while self._is_any_due():
            self._section.run(self._expire_some, _EXPIRY_SLICE)
            if allowance.is_spent():
                return
        if self._disposer.is_due:
            self._dispose_within(allowance)

    def _is_any_due(self) -> bool:
        """Whether the time of some entry may be up."""
        return self._now() > self._store.next_due

    def _current(self) -> Iterator[Entry]:
        """The entries, but for those whose time is up and that have not been removed yet."""
        now = self._now()
        return (entry for entry in list(self._store.entries.values()) if not self._store.expired(entry, now))

    # ---- small things ----

    def _unlocked_hits(self) -> int:
        """How many lookups were served without the lock."""
        return sum(count() for count in self._hit_counts)

    def _now(self) -> float:
        """The clock, which never goes back here."""
        now = self._clock()
        if now < self._latest:
            return self._latest
        self._latest = now
        return now

    def _oversize(self, candidate: Candidate) -> OversizeError:
        return OversizeError(
            f"max_bytes = {format_bytes(self._store.budget)} cannot hold the value of {candidate.key!r},"
            f" which needs {format_bytes(candidate.least_bytes)}"
        )

    def _after_fork_in_child(self) -> None:
        orphan = self._store
        _ORPHANS.extend((orphan, self._disposer))
        orphan.live.clear()  # for whoever still holds the old hit path; the entries keep the copies
        self._build(orphan.budget)


class _Items(ItemsView[K, V]):
    _mapping: DagCache[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        for key in self._mapping:
            value = self._mapping.get(key, UNSET)
            if value is not UNSET:
                yield key, value


class _Values(ValuesView[V]):
    _mapping: DagCache[Any, V]

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping.items())


def _never_fresh() -> float:
    """A clock by which every hit is to be noted."""
    return math.inf


def _facts_of(known: Entry | Candidate) -> EntryFacts:
    frozen = known.frozen  # without the lock: it may leave in the middle of this
    data = frozen.data if isinstance(frozen, FrozenCopy) else frozen
    return EntryFacts(known.live_bytes, 0 if data is None else len(data), known.load_seconds, known.family, known.order)


def _config_of(config: CacheConfig | None, freezer: object, **settings: Any) -> CacheConfig:
    given = {name: value for name, value in settings.items() if value is not UNSET}
    if config is not None and given:
        raise TypeError(f"give a CacheConfig or its fields, not both: {', '.join(given)}")
    made = CacheConfig(**given) if config is None else config
    return dataclasses.replace(made, frozen=False) if freezer is None else made


_GET: Final[Any] = DagCache.get
_GET_OR_LOAD: Final[Any] = DagCache.get_or_load
_HAS_GIL: Final[bool] = getattr(sys, "_is_gil_enabled", lambda: True)()
_caches: weakref.WeakValueDictionary[int, DagCache[Any, Any]] = weakref.WeakValueDictionary()
