"""`DagCache`: the public mapping over the store, thread-safe.

A lookup takes up to three steps: the hit path (`hit_path`, no lock), a short decision under the lock (`decision`), and,
outside the lock again, a thaw or a load (`thawing`, `loading`) that all threads share (`joining`). Nothing slow happens
under the lock: no load, no freezing or thawing, no weighing, no listener, and no destruction of values that left
(`upkeep`).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
import weakref
from collections.abc import (
    Awaitable,
    Callable,
    Hashable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Generic, NoReturn, TypeVar, cast, overload

from dagcache.concurrency.global_lock import has_global_lock
from dagcache.config import CacheConfig
from dagcache.core import hit_path
from dagcache.core.clock import SteadyClock
from dagcache.core.counters import build_stats
from dagcache.core.disposal import Disposer
from dagcache.core.entry import Candidate, Entry
from dagcache.core.loaded import Fetched, Kept, Loaded, Prepared, refuse_single_use
from dagcache.core.parts import Parts
from dagcache.core.preparation import Preparer
from dagcache.core.request import Request
from dagcache.core.unset import UNSET, Unset
from dagcache.core.views import PresentItems, PresentValues
from dagcache.core.watching import Watcher
from dagcache.forks import after_fork_in_child
from dagcache.freezing.pickle_freezer import Freezer, PickleFreezer
from dagcache.reclaim.breaker import CycleBreaker, GenericBreaker
from dagcache.sizing.durations import exact_seconds, parse_seconds
from dagcache.sizing.limits import ACCEPTED, ByteLimit, format_bytes, is_tiny
from dagcache.sizing.memory import give_back
from dagcache.stats import CacheStats, EntryInfo, FamilyCost, Rejection, RemovalCause

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")

_log = logging.getLogger("dagcache")


class _Shadowed(hit_path.Shadowed):
    def _method_replaced(cls) -> None:  # noqa: N805 - of a metaclass
        for cache in list(_caches.values()):
            cache._shadow_methods()  # noqa: SLF001 - the class of this very class


class DagCache(MutableMapping[K, V], Generic[K, V], metaclass=_Shadowed):
    """A cache that is bounded by bytes and idle time, for values that are large and slow to build. Thread-safe.

    ``DagCache(max_bytes="512MiB", ttl=3600)``: keywords are the fields of `CacheConfig`, which may also be given whole.

    Args:
        config: the settings, instead of keywords.
        max_bytes, ttl, max_age, jitter, negative_ttl, name, mode, frozen, oversize, memory_limit, workers,
            unproven_share: fields of `CacheConfig`.
        sizer: ``sizer(value) -> bytes`` replaces the built-in weighing. It is called when a value comes in, and now and
            then by a thread that looks the value up, while other threads may use it.
        freezer: how values are frozen. None is another way to write ``frozen=False``, which `config` shows.
        clock: monotonic seconds.
        on_removal: ``on_removal(info, cause)`` is called for every entry that left, outside the lock; its errors are
            logged and counted. Any call of any thread may run it, also a plain `get`, and also for entries that another
            thread has evicted. So it must not take a lock that a caller of the cache may hold. Put the removal on a
            queue (``deque.append``) and handle it elsewhere; docs/library.md shows how.
        version_of: ``version_of(key) -> (family, order) | None``, for keys that hold their version: it gives
            `Loaded.version` to assigned values, and to loaded ones that come without it.
        breaker: takes apart cyclic values that left and have no holders; None leaves that to the collector.
        shared: objects that exist once per process and to which many values refer (singletons, time zones). They are
            frozen by reference, count in no value's weight, and are never taken apart. The cache holds them.

    Raises:
        ConfigError: (a ValueError) a setting cannot be read.
        TypeError: both a config and fields of it are given.

    """

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        max_bytes: ByteLimit | str | int | Unset = UNSET,
        ttl: float | str | timedelta | Unset = UNSET,
        max_age: float | str | timedelta | Unset = UNSET,
        jitter: float | str | Unset = UNSET,
        negative_ttl: float | str | timedelta | Unset = UNSET,
        name: str | Unset = UNSET,
        mode: str | Unset = UNSET,
        frozen: bool | str | Unset = UNSET,
        oversize: str | Unset = UNSET,
        memory_limit: ByteLimit | str | int | Unset = UNSET,
        workers: int | str | Unset = UNSET,
        unproven_share: float | str | Unset = UNSET,
        sizer: Callable[[V], int] | None = None,
        freezer: Freezer | Unset | None = UNSET,
        clock: Callable[[], float] = time.monotonic,
        on_removal: Callable[[EntryInfo[K], RemovalCause], object] | None = None,
        version_of: Callable[[K], tuple[Hashable, float] | None] | None = None,
        breaker: CycleBreaker | Unset | None = UNSET,
        shared: Iterable[object] = (),
    ) -> None:
        self.config = _config_of(
            config,
            freezer,
            max_bytes=max_bytes,
            ttl=ttl,
            max_age=max_age,
            jitter=jitter,
            negative_ttl=negative_ttl,
            name=name,
            mode=mode,
            frozen=frozen,
            oversize=oversize,
            memory_limit=memory_limit,
            workers=workers,
            unproven_share=unproven_share,
        )
        self._clock = SteadyClock(clock)
        shared = tuple(shared)
        breaker = GenericBreaker(shared) if breaker is UNSET else breaker
        self._freezer: Freezer | None = None
        if self.config.frozen:
            self._freezer = PickleFreezer(shared) if freezer is UNSET else freezer
        self._requested = self.config.max_bytes
        budget = self.config.budget()
        self._warn_if_tiny(self._requested, budget)
        self._parts = Parts(
            self.config,
            self._clock,
            budget,
            freezer=self._freezer,
            make_preparer=functools.partial(
                Preparer, freezer=self._freezer, sizer=sizer, shared=shared, version_of=version_of
            ),
            make_disposer=functools.partial(Disposer, breaker=breaker, on_removal=on_removal),
        )
        self._hit_path = self._parts.make_hit_path()
        self._hit_path.present_as(_GET, _GET_OR_LOAD)
        self._take_parts()
        self._shadow_methods()
        _caches[id(self)] = self
        after_fork_in_child(self._take_parts)

    def _take_parts(self) -> None:
        """Take over the present parts: those of a new cache, or of a forked child, where they are built again."""
        parts = self._parts
        self._store = parts.store
        self._flights = parts.flights
        self._preparer = parts.preparer
        self._disposer = parts.disposer
        self._counts = parts.counts
        self._upkeep = parts.upkeep
        self._section = parts.section
        self._lookups = parts.lookups
        self._bulk = parts.bulk

    def _shadow_methods(self) -> None:
        """Shadow the methods with the hit path, unless a subclass or a patch has replaced them."""
        for name in hit_path.NAMES:
            vars(self).pop(name, None)
        kind = type(self)
        if _HAS_GIL and (kind.get, kind.get_or_load) == (_GET, _GET_OR_LOAD):
            vars(self).update(get=self._hit_path.get, get_or_load=self._hit_path.get_or_load)

    # ---- lookups ----

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """The value under a key, thawed if need be, or the default. Never loads."""
        return self._lookups.get(key, default)

    @overload
    def get_or_load(self, key: K, loader: Callable[[K], V | Loaded[V]], *, timeout: float | None = None) -> V: ...
    @overload
    def get_or_load(
        self, key: K, loader: Callable[[K], V | Loaded[V] | None], *, timeout: float | None = None
    ) -> V | None: ...
    def get_or_load(
        self, key: K, loader: Callable[[K], V | Loaded[V] | None], *, timeout: float | None = None
    ) -> V | None:
        """The value under a key, or else the value that `loader(key)` returns; it is kept if the policy admits it.

        If many threads ask for one key, one of them loads, and the others wait and share the value. They share only the
        value: if the load fails or finds nothing, each of them calls its own loader, one at a time. A loader returns
        None if a key has no value. Then None is returned and nothing is kept; with ``negative_ttl`` the next lookups
        of the key return None without a load. It may return `Loaded`, with further facts.

        Args:
            key: what to look up.
            loader: called with the key, by one thread at a time for each key.
            timeout: seconds to wait for other threads; afterwards this caller's own loader is called beside theirs.
                None: no limit.

        Raises:
            Exception: the error of this caller's loader; nothing is kept.
            RecursiveLoadError: the load would wait for itself.
            OversizeError: the value cannot be kept, with ``oversize="raise"``.

        """
        return cast("V | None", self._lookups.get_or_load(key, loader, timeout))

    def get_or_load_many(
        self,
        keys: Iterable[K],
        loader: Callable[[list[K]], Mapping[K, V | Loaded[V]]],
        *,
        timeout: float | None = None,
    ) -> dict[K, V]:
        """The values under many keys, with one call of the loader for all keys that have no value: one query for all.

        A key that another thread loads is waited for, and loaded by a call of its own if that load fails. The cache
        does not hold more than its budget, so a value may be loaded, returned and not kept.

        Args:
            keys: what to look up; each of them counts as one lookup.
            loader: ``loader(keys) -> {key: value}``. A key that it leaves out has no value.
            timeout: seconds to wait for other threads, for each key, as for `get_or_load`.

        Returns:
            The values by key, in the order of ``keys``, without the keys that have none.

        Raises:
            Exception: as `get_or_load`.

        """
        return cast("dict[K, V]", self._bulk.resolve(keys, cast("Any", loader), timeout))

    @overload
    async def aget_or_load(
        self, key: K, loader: Callable[[K], Awaitable[V | Loaded[V]]], *, timeout: float | None = None
    ) -> V: ...
    @overload
    async def aget_or_load(
        self, key: K, loader: Callable[[K], Awaitable[V | Loaded[V] | None]], *, timeout: float | None = None
    ) -> V | None: ...
    async def aget_or_load(
        self, key: K, loader: Callable[[K], Awaitable[V | Loaded[V] | None]], *, timeout: float | None = None
    ) -> V | None:
        """As `get_or_load`, for asyncio: ``await loader(key)``, and a wait for another load stops the task only.

        Tasks and threads share one load. A task that is cancelled while it loads passes the load on to one that waits.
        Thaws, freezing and weighing run in the event loop's thread; they take milliseconds for a usual value.

        Args:
            key: what to look up.
            loader: a coroutine function. A task that it starts is a part of the load: it must not wait for the key.
            timeout: seconds to wait for other loads, as for `get_or_load`.

        Raises:
            Exception: as `get_or_load`.
            asyncio.CancelledError: this task was cancelled.

        """
        value = (await self._lookups.resolve_async(key, Request(loader, timeout=timeout, blocks=False))).value
        return None if value is UNSET else cast("V", value)

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
        """As `get_or_load`, with the identity of the value's content; without a loader nothing is loaded.

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
        found = self._lookups.resolve(key, Request(loader, private=private, renew=renew, timeout=timeout))
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
        return entry is not None and not self._store.expired(entry, self._clock())

    def frozen_bytes(self, key: K) -> int:
        """The bytes of the frozen copy under a key; 0 = none. Counts as no lookup and no use. Takes no lock."""
        entry = self._store.entries.get(key)
        frozen = None if entry is None else entry.frozen
        return 0 if entry is None or frozen is None or self._store.expired(entry, self._clock()) else len(frozen.data)

    def frozen_copy(self, key: K) -> Kept | None:
        """The frozen copy under a key, with its facts; None = none. Counts as no lookup and no use. Takes no lock."""
        entry = self._store.entries.get(key)
        frozen = None if entry is None else entry.frozen
        if entry is None or frozen is None or self._store.expired(entry, self._clock()):
            return None
        prepared = Prepared(frozen.data, entry.loaded_bytes, entry.load_seconds)
        return Kept(prepared, entry.serialized_bytes, entry.content, entry.family, entry.order)

    def __len__(self) -> int:
        self._upkeep.for_view()
        return sum(1 for _ in self._current()) if self._upkeep.is_any_due() else len(self._store.entries)

    def __iter__(self) -> Iterator[K]:
        """An iterator over a snapshot of the keys: the cache may change meanwhile."""
        self._upkeep.for_view()
        return iter(cast("list[K]", [entry.key for entry in self._current()]))

    def values(self) -> ValuesView[V]:
        """A view of the values. Iteration looks up the keys of its beginning, and skips those that leave."""
        return PresentValues(self)

    def items(self) -> ItemsView[K, V]:
        """A view of the keys and values: as `values`."""
        return PresentItems(self)

    # ---- changes ----

    def __setitem__(self, key: K, value: V) -> None:
        """Assign a value: it is frozen, weighed, and kept if the policy admits it. An older value goes in any case.

        Raises:
            OversizeError: it weighs more than the budget, with ``oversize="raise"``; nothing has changed.
            TypeError: it can be used once only: an awaitable or an iterator.

        """
        hash(key)  # an unhashable key is refused before anything changes
        refuse_single_use(value)
        candidate = self._lookups.loads.prepare(key, Loaded(value), 0.0)
        if candidate is not None and self.config.oversize == "raise" and not self._store.fits(candidate):
            raise self._lookups.loads.oversize(candidate)
        self._section.run_or_defer(self._put, key, candidate)

    def __delitem__(self, key: K) -> None:
        """Remove an entry; a pending load of its key will not be kept.

        Raises:
            KeyError: there is none.

        """
        hash(key)
        if self._section.entered():
            if key not in self:
                raise KeyError(key)
            self._section.run_or_defer(self._lookups.delete, key, RemovalCause.EXPLICIT)
        elif not self._section.run(self._lookups.delete, key, RemovalCause.EXPLICIT):
            raise KeyError(key)

    def invalidate(self, key: K, only_if: Callable[[], bool] | None = None) -> None:
        """Remove the entry under a key, if there is one, as out of date, and disown a pending load of it.

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
        value = self._lookups.take_out(key)
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
            value = self._lookups.take_out(key)
            if value is not UNSET:
                return key, value
        raise KeyError("popitem(): the cache is empty")

    @overload
    def setdefault(self: DagCache[K, D | None], key: K, default: None = None) -> D | None: ...
    @overload
    def setdefault(self, key: K, default: V) -> V: ...
    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value under a key, or the default, which is assigned then: of several threads, one assigns."""
        return self._lookups.resolve(key, Request(lambda _: Loaded(default), finds=True)).value

    def clear(self) -> None:
        """Remove everything and give the memory back to the operating system where possible.

        Values that left before and have no holders are taken apart as well.
        """
        if self._section.run_or_defer(self._clear):
            self._upkeep.free_all()
        give_back()

    def expire(self) -> int:
        """Remove all entries that have been idle for longer than the TTL or are too old; the number of them.

        Lookups, `len`, iteration and `stats` remove some as well, for a few milliseconds at most, so no timer needs to
        call this.
        """
        return self._upkeep.expire_all()

    def free_dropped(self) -> None:
        """Free some of the values that left and that callers have dropped since, for a millisecond or one large value.

        Lookups do that as well. Call it where callers drop many values together, as at the end of a session. It costs
        next to nothing if no value waits.
        """
        self._upkeep.for_dropped()

    def resize(self, max_bytes: ByteLimit | str | int) -> None:
        """Set the byte limit. The surplus leaves at once, live copies first.

        Values that left before and have no holders are taken apart as well.
        A percentage is resolved now, and again by `MemoryPressure` whenever the memory limit changes.

        Raises:
            ConfigError: it cannot be read; the old limit stays.

        """
        requested = ByteLimit.parse(max_bytes, setting="max_bytes")
        budget = self.config.resolve(requested)
        self._warn_if_tiny(requested, budget)
        self._requested = dataclasses.replace(requested)  # an object of its own: a request is known by its identity
        self.apply_budget(budget)

    def change_ttl(self, ttl: float | str | timedelta) -> None:
        """Set the idle seconds after which an entry leaves, also for the residents; 0 = never.

        Expired entries leave with the next calls. `CacheConfig.ttl` stays as it is.

        Raises:
            ConfigError: it cannot be read; the old TTL stays.

        """
        self._section.run_or_defer(self._store.change_ttl, parse_seconds(ttl, "ttl"))

    def _warn_if_tiny(self, requested: ByteLimit, budget: int) -> None:
        if is_tiny(budget):
            message = "cache %r: max_bytes = %s is %d bytes, which hold next to nothing; accepted: %s"
            with suppress(Exception):  # a handler of the host's
                _log.warning(message, self.config.name, requested, budget, ACCEPTED)

    def apply_budget(self, nbytes: int) -> None:
        """Put a number of bytes in force while `requested` stays as it is; for `MemoryPressure`, not for operators."""
        if self._section.run_or_defer(self._resize, nbytes):
            self._upkeep.free_all()

    # ---- views ----

    @property
    def max_bytes(self) -> int:
        """The byte limit now in force, in bytes; 0 = unbounded."""
        return self._store.budget

    @property
    def ttl(self) -> float:
        """The idle seconds after which an entry leaves, from the start or the last `change_ttl`; 0 = never."""
        return self._store.ttl

    @property
    def changed_settings(self) -> dict[str, str]:
        """The settings that differ from `config` since `resize` or `change_ttl`, with their texts."""
        changed = {}
        if self._requested != self.config.max_bytes:
            changed["max_bytes"] = str(self._requested)
        if self.ttl != self.config.ttl:
            changed["ttl"] = exact_seconds(self.ttl)
        return changed

    @property
    def requested(self) -> ByteLimit:
        """The requested byte limit, from the start or the last `resize`."""
        return self._requested

    def watch(self, watcher: Watcher | None) -> None:
        """Report each lookup to a watcher from now on; None ends that. Hits cost nothing more without a watcher.

        The thread that looks up calls ``watcher(event)``, maybe under the cache's lock: the watcher must be quick, must
        not raise, and must not use the cache. Not reported: `pop`, and lookups in the middle of a change. A forked
        child starts without a watcher.

        Raises:
            RuntimeError: there is a watcher already.

        """
        if watcher is not None and self._lookups.watching.watcher is not None:
            raise RuntimeError(f"the cache {self.config.name!r} is being watched already")
        self._parts.watch(watcher)

    def stats(self) -> CacheStats:
        """One consistent snapshot; the contract is in `dagcache.stats`."""
        self._upkeep.for_view()
        if self._section.entered():
            return self._snapshot()
        return self._section.run(self._snapshot)

    def entries(self) -> list[EntryInfo[K]]:
        """Every resident entry, as it is now."""
        self._upkeep.for_view()
        entries = list(self._current())
        now = self._clock()
        return [entry.info(now) for entry in entries]

    def family_costs(self) -> dict[Hashable, FamilyCost]:
        """The costs of each family of keys since the cache was created; of at least the 1,024 most expensive ones.

        A family is the first part of what ``version_of`` or `Loaded.version` gives. Loads that failed do not count.
        """
        snapshot = self._counts.families.snapshot
        return snapshot() if self._section.entered() else self._section.run(snapshot)

    def check_invariants(self) -> None:
        """Recompute all totals and indexes that are kept incrementally. Only while no other thread uses the cache.

        Raises:
            AssertionError: something differs.

        """
        if not self._section.entered():
            self._section.run(self._check_invariants)

    # ---- the object ----

    def close(self) -> None:
        """Remove everything, give the memory back, and keep nothing from now on. A second call does nothing.

        Lookups stay correct: `get_or_load` loads each time, threads that wait for a load get its value, and nothing is
        kept. So a component may end while its threads still look values up.
        """
        # First: a load that ends from now on is not kept, and `clear` removes the earlier ones.
        self._store.closed = True
        self.clear()
        self._section.run_or_defer(self._counts.families.clear)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._store.closed

    def __enter__(self) -> DagCache[K, V]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # By identity, so that a cache can be a key. Equality is a mapping's, by contents: two caches that are equal now are
    # two keys.
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __reduce_ex__(self, _: object) -> NoReturn:
        """Refuse to be copied or pickled: a copy would share the state and the lock of this cache."""
        raise TypeError(
            f"the cache {self.config.name!r} can be neither copied nor pickled;"
            " make another one with DagCache(cache.config)"
        )

    def __repr__(self) -> str:
        store = self._store
        budget = format_bytes(store.budget) if store.budget else "no limit"
        return (
            f"<DagCache {self.config.name!r}: {len(store.entries)} entries, {len(store.live)} live,"
            f" {format_bytes(store.used)} of {budget}>"
        )

    # ---- actions under the lock ----

    def _put(self, key: K, candidate: Candidate | None) -> None:
        self._flights.invalidate(key)
        if candidate is None:
            self._counts.reject(Rejection.SIZER)
            self._store.remove(key, RemovalCause.REPLACED, self._clock.latest)
        else:
            self._counts.reject(self._store.admit(candidate, self._clock()))

    def _invalidate(self, key: K, only_if: Callable[[], bool] | None) -> None:
        if only_if is None or only_if():
            self._lookups.delete(key, RemovalCause.STALE)

    def _clear(self) -> None:
        self._flights.invalidate_all()
        self._store.clear()

    def _resize(self, budget: int) -> None:
        self._store.resize(budget, self._clock())
        self._disposer.fit(budget if self._store.enforce else 0)

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
            self._parts.unlocked_hits(),
            len(self.changed_settings),
            self._clock(),
        )

    def _current(self) -> Iterator[Entry]:
        """The entries without those that have expired and are not removed yet."""
        now = self._clock()
        return (entry for entry in list(self._store.entries.values()) if not self._store.expired(entry, now))


def _config_of(config: CacheConfig | None, freezer: object, **settings: Any) -> CacheConfig:
    if not (config is None or isinstance(config, CacheConfig)):
        raise TypeError(f"config = {config!r} is not a CacheConfig; a byte limit is max_bytes={config!r}")
    given = {name: value for name, value in settings.items() if value is not UNSET}
    if config is not None and given:
        raise TypeError(f"give a CacheConfig or its fields, not both: {', '.join(given)}")
    made = CacheConfig(**given) if config is None else config
    return dataclasses.replace(made, frozen=False) if freezer is None else made


_GET: Final[Any] = DagCache.get
_GET_OR_LOAD: Final[Any] = DagCache.get_or_load
_HAS_GIL: Final[bool] = has_global_lock()
_caches: weakref.WeakValueDictionary[int, DagCache[Any, Any]] = weakref.WeakValueDictionary()
