"""What a list of lookups would have cost with another budget: replayed in the real store, with stand-ins for values.

Nothing is loaded, frozen or weighed: each lookup states what its value weighs and what bringing it back takes. Who is
let in, who leaves, what is demoted, remembered and expired is decided by the very code that does so in a cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import cast

from dagcache.config import DEFAULT_TTL
from dagcache.core.entry import Candidate
from dagcache.core.store import Store
from dagcache.sizing.estimate import Sized

_EXPIRED_PER_LOOKUP = 256  # entries that one lookup looks at for their idle time, as in a cache
_STAND_IN = object()


@dataclass(frozen=True, slots=True)
class Lookup:
    """One lookup of a value, and the facts about the value."""

    at: float
    """When, in seconds on any clock that does not go back."""
    key: Hashable
    live_bytes: int
    frozen_bytes: int
    """0 = it has no frozen form, or none that is worth keeping."""
    load_seconds: float
    thaw_seconds: float
    """What bringing it back from its frozen form takes."""
    family: Hashable | None = None
    """What the key is a version of; None = unknown."""
    order: float = 0
    """Its place among its family's versions."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a cache made of the lookups: ``live_hits + frozen_hits + misses == lookups``."""

    max_bytes: int
    """The budget; 0 = none."""
    lookups: int
    live_hits: int
    frozen_hits: int
    misses: int
    seconds: float
    """All loads and thaws together."""
    peak_bytes: int
    """The most that was held at any time."""

    @property
    def hit_ratio(self) -> float:
        """The share of lookups that did not load; 0 if there were none."""
        return (self.live_hits + self.frozen_hits) / self.lookups if self.lookups else 0.0


def replay(
    lookups: Iterable[Lookup], max_bytes: int, ttl: float = DEFAULT_TTL, unproven_share: float = 1.0
) -> ReplayResult:
    """Replay lookups, in their order, in a cache that is empty at first.

    Args:
        lookups: what was looked up; what is absent is loaded, at the lookup's own time.
        max_bytes: the budget, in bytes; 0 = unbounded.
        ttl: idle seconds after which an entry leaves; 0 = never.
        unproven_share: as a `dagcache.core.cache.DagCache` takes it.

    """
    cache = _Cache(max_bytes, ttl, unproven_share)
    for lookup in lookups:
        cache.look_up(lookup)
    return cache.result()


def replay_lru(lookups: Iterable[Lookup], entries: int = 512) -> ReplayResult:
    """Replay lookups in a cache of the so many most recently used values, all of them live: what Airflow's own does."""
    held: OrderedDict[Hashable, int] = OrderedDict()
    used = peak = count = misses = 0
    seconds = 0.0
    for lookup in lookups:
        count += 1
        if lookup.key in held:
            held.move_to_end(lookup.key)
            continue
        misses += 1
        seconds += lookup.load_seconds
        held[lookup.key] = lookup.live_bytes
        used += lookup.live_bytes
        if len(held) > entries:
            used -= held.popitem(last=False)[1]
        peak = max(peak, used)
    return ReplayResult(0, count, count - misses, 0, misses, seconds, peak)


class _Cache:
    """The life of a lookup as `dagcache.core.cache` leads it, without threads."""

    def __init__(self, max_bytes: int, ttl: float, unproven_share: float) -> None:
        self._store = Store(budget=max_bytes, ttl=ttl, unproven_share=unproven_share)
        self._now = float("-inf")
        self._lookups = self._live_hits = self._frozen_hits = self._peak = 0
        self._seconds = 0.0

    def look_up(self, lookup: Lookup) -> None:
        """Serve one lookup by the first way that succeeds: live, frozen, load."""
        self._lookups += 1
        self._now = now = max(self._now, lookup.at)
        if self._hit(lookup.key, now):
            self._live_hits += 1
            return
        store = self._store
        if now > store.next_due:
            store.expire(now, _EXPIRED_PER_LOOKUP)
        entry = store.find(lookup.key, now)
        if entry is None:
            self._seconds += lookup.load_seconds
            store.admit(_candidate(lookup), now)
        else:  # its live copy would have been found above
            self._frozen_hits += 1
            self._seconds += lookup.thaw_seconds
            weight = Sized(lookup.live_bytes, exact=False, seconds=0.0)
            store.keep_thawed(entry, _STAND_IN, weight, lookup.thaw_seconds, None, now)
        store.take_released()
        self._peak = max(self._peak, store.used)

    def result(self) -> ReplayResult:
        """What came of it."""
        return ReplayResult(
            max_bytes=self._store.budget,
            lookups=self._lookups,
            live_hits=self._live_hits,
            frozen_hits=self._frozen_hits,
            misses=self._lookups - self._live_hits - self._frozen_hits,
            seconds=self._seconds,
            peak_bytes=self._peak,
        )

    def _hit(self, key: Hashable, now: float) -> bool:
        """The hit path: a copy that was just used is served without noting it."""
        copy = self._store.live.get(key)
        if copy is None:
            return False
        if now < copy.fresh:
            return True
        if not self._store.use_unlocked(copy, now):
            return False
        while now > self._store.next_due:
            self._store.expire(now, _EXPIRED_PER_LOOKUP)
        return True


class _Length:
    """Stands for frozen bytes: the store asks only how many they are."""

    __slots__ = ("_length",)

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


def _candidate(lookup: Lookup) -> Candidate:
    frozen = cast("bytes", _Length(lookup.frozen_bytes)) if lookup.frozen_bytes else None
    return Candidate(
        key=lookup.key,
        value=_STAND_IN,
        live_bytes=lookup.live_bytes,
        frozen=frozen,
        load_seconds=lookup.load_seconds,
        family=lookup.family,
        order=lookup.order,
    )
