"""Replays of lookups against other budgets, in the real store with stand-ins for values.

Nothing is loaded, frozen or weighed: each lookup states the bytes of its value and the seconds that it takes to restore
it. Admission, demotion, eviction and expiry are decided by the code that decides them in a cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import cast

from dagcache.config import DEFAULT_TTL
from dagcache.core.entry import Candidate, Entry
from dagcache.core.released import Released
from dagcache.core.store import Store
from dagcache.reclaim.waiting_room import TRIES_PER_LOOK, ticket_number
from dagcache.sizing.estimate import Sized

_EXPIRED_PER_LOOKUP = 256  # entries that one lookup checks for expiry, as in a cache
_STAND_IN = object()
_FREED_PER_LOOKUP = 2 * TRIES_PER_LOOK  # from the newest of the waiting values and from the others


@dataclass(frozen=True, slots=True)
class Lookup:
    """One lookup of a value, and the facts about the value."""

    at: float
    """When, in seconds on any clock that does not go back."""
    key: Hashable
    live_bytes: int
    frozen_bytes: int
    """0 = no frozen form, or none that is worth keeping."""
    load_seconds: float
    thaw_seconds: float
    """Duration of a thaw."""
    family: Hashable | None = None
    """The DAG that the key is a version of; None = unknown."""
    order: float = 0
    """Position among the versions of the family."""
    record_bytes: int = 0
    """As in `dagcache.core.entry.Candidate`."""
    session: int | None = None
    """A number of its session, whose caller holds the value until the next session begins; None = unknown."""
    release_seconds: float = 0.0
    """Time to take apart a value that this one displaces; counts with each load and each thaw."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The results of a cache: ``live_hits + frozen_hits + misses == lookups``."""

    max_bytes: int
    """The budget; 0 = unbounded."""
    lookups: int
    live_hits: int
    frozen_hits: int
    misses: int
    seconds: float
    """All loads and thaws together, with the disposals that they make due."""
    peak_bytes: int
    """The most bytes that the residents took at any time."""

    @property
    def hit_ratio(self) -> float:
        """The share of lookups that did not load; 0 if there were none."""
        return (self.live_hits + self.frozen_hits) / self.lookups if self.lookups else 0.0


def replay(
    lookups: Iterable[Lookup],
    max_bytes: int,
    ttl: float = DEFAULT_TTL,
    unproven_share: float = 1.0,
    held_lookups: int = 0,
) -> ReplayResult:
    """Replay lookups, in their order, in a cache that is empty at first.

    A value that leaves while a caller holds it takes room from the residents and serves further lookups, in a cache and
    here. A recording does not say how long callers hold values, so this is a parameter.

    Args:
        lookups: the lookups; a key that is not resident is loaded.
        max_bytes: the budget, in bytes; 0 = unbounded.
        ttl: idle seconds after which an entry leaves; 0 = never.
        unproven_share: as for `dagcache.core.cache.DagCache`.
        held_lookups: the number of lookups of a session where lookups do not state it; 0 = values are dropped at once.

    """
    cache = _Cache(max_bytes, ttl, unproven_share, held_lookups)
    for lookup in lookups:
        cache.look_up(lookup)
    return cache.result()


def replay_lru(lookups: Iterable[Lookup], entries: int = 512) -> ReplayResult:
    """Replay lookups in an LRU cache of so many live values, as Airflow's own cache is."""
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
    """The steps of a lookup as `dagcache.core.cache` takes them, without threads."""

    def __init__(self, max_bytes: int, ttl: float, unproven_share: float, held_lookups: int = 0) -> None:
        self._store = Store(budget=max_bytes, ttl=ttl, unproven_share=unproven_share)
        self._now = float("-inf")
        self._lookups = self._live_hits = self._frozen_hits = self._peak = 0
        self._seconds = 0.0
        self._callers = _Callers(held_lookups)

    def look_up(self, lookup: Lookup) -> None:
        """Serve one lookup by the first way that succeeds: live, frozen, load."""
        self._lookups += 1
        self._now = now = max(self._now, lookup.at)
        self._callers.take(lookup)
        if self._hit(lookup.key, now):
            self._live_hits += 1
            return
        store = self._store
        if now > store.next_due:
            store.expire(now, _EXPIRED_PER_LOOKUP)
        entry = store.find(lookup.key, now)
        if entry is not None and self._callers.share(entry):
            self._live_hits += 1
        elif entry is None:
            self._seconds += lookup.load_seconds + lookup.release_seconds
            store.admit(_candidate(lookup), now)
        else:  # its live copy would have been found above
            self._frozen_hits += 1
            self._seconds += lookup.thaw_seconds + lookup.release_seconds
            weight = Sized(lookup.live_bytes, exact=False, seconds=0.0)
            store.keep_thawed(entry, _STAND_IN, weight, lookup.thaw_seconds, None, now)
        self._settle(lookup.key, now)
        self._peak = max(self._peak, store.used)

    def _settle(self, key: Hashable, now: float) -> None:
        """Charge released values that callers hold, as a cache does after each change."""
        callers = self._callers
        callers.keep(self._store.take_released(), key)
        callers.free_some()
        while self._store.exceeds(callers.waiting_bytes):
            if not self._store.settle(callers.waiting_bytes, now):
                return
            callers.keep(self._store.take_released(), key)
        self._store.note_held(callers.waiting_bytes)

    def result(self) -> ReplayResult:
        """Return the counts so far."""
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
        """Serve a live copy, if there is one; a use right after another is not noted, as on the hit path."""
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


class _Callers:
    """Callers that hold the values of a session's lookups until it ends, and then drop all of them.

    ``session_lookups``: the number of lookups of a session where they do not state it; 0 = values are dropped at once.
    """

    def __init__(self, session_lookups: int) -> None:
        self.waiting_bytes = 0
        """Bytes of released values that callers hold, or that are not freed yet."""
        self._session_lookups = session_lookups
        self._session: int | None = None
        self._lookups = 0
        self._taken: set[Hashable] = set()
        self._held: dict[int, int] = {}  # bytes by ticket
        self._dropped: dict[int, int] = {}

    def take(self, lookup: Lookup) -> None:
        """A caller takes a value. The first one of a session takes it after all others are dropped."""
        session = lookup.session
        if session is None:
            if not self._session_lookups:
                return
            session = self._lookups // self._session_lookups
        if session != self._session:
            self._session = session
            self._taken.clear()
            self._dropped.update(self._held)
            self._held.clear()
        self._lookups += 1
        self._taken.add(lookup.key)

    def keep(self, released: Released, key: Hashable) -> None:
        """Account for released values that callers hold; the rejected ones are of this key."""
        for copy in released.demoted:
            self._hold(copy.entry.key, copy.value_bytes, copy.ticket)
        for entry, _ in released.entries:
            if entry.live is not None:
                self._hold(entry.key, entry.live.value_bytes)
        for each in released.rejected:
            self._hold(key, each.nbytes, each.ticket)

    def share(self, entry: Entry) -> bool:
        """Take the value of an entry that left the live tier and waits; False if there is none."""
        ticket = entry.ticket
        if ticket in self._dropped:
            self._held[ticket] = self._dropped.pop(ticket)
        return ticket in self._held

    def free_some(self) -> None:
        """Free the oldest of the dropped values, as many as one lookup frees."""
        for ticket in list(islice(self._dropped, _FREED_PER_LOOKUP)):
            self.waiting_bytes -= self._dropped.pop(ticket)

    def _hold(self, key: Hashable, nbytes: int, ticket: int = 0) -> None:
        if key in self._taken:
            self.waiting_bytes += nbytes
            self._held[ticket or ticket_number()] = nbytes


class _Length:
    """Stand-in for frozen bytes: the store asks only for their number."""

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
        record_bytes=lookup.record_bytes,
    )
