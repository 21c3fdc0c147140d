"""Expiry: a schedule of the times at which entries are checked for idleness and age.

Hits take no lock, so they cannot reorder the schedule. Instead, an entry is checked when its TTL would end without
another use. If it was used in the meantime, it is scheduled again. So an entry is checked once per TTL, and a lookup
pays nothing while no entry is due.

Jitter takes a random share off both limits of each entry. Entries that were last used in the same minute then expire
one after the other, and so do their loads. A limit never grows: `max_age` stays the greatest age.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from math import inf
from random import Random

from dagcache.core.entry import Entry

_Item = tuple[float, int, Entry]


class Deadlines:
    """A heap of entries by the time of their next check. Not thread-safe: called under the cache's lock.

    Args:
        ttl: seconds without a use after which an entry expires; 0 = never.
        max_age: seconds after its load after which an entry expires, used or not; 0 = never.
        jitter: the greatest share that is taken off both for an entry, 0.0 to 0.5.
        random: uniform in [0, 1).

    """

    __slots__ = ("_heap", "_jitter", "_max_age", "_random", "_ticket", "_ttl", "next_due")

    def __init__(
        self, ttl: float, max_age: float = 0.0, jitter: float = 0.0, random: Callable[[], float] | None = None
    ) -> None:
        self._ttl = ttl or inf
        self._max_age = max_age or inf
        self._jitter = jitter
        # A generator for each cache: a forked child gets another one with its empty cache.
        self._random = Random().random if random is None else random
        self.next_due = inf
        self._heap: list[_Item] = []
        self._ticket = count()

    def __len__(self) -> int:
        return len(self._heap)

    def begin(self, entry: Entry, now: float) -> None:
        """Set the limits of an entry that was loaded now."""
        entry.idle_limit = self._shortened(self._ttl)
        entry.expires = now + self._shortened(self._max_age)

    def change_ttl(self, ttl: float, residents: Iterable[Entry]) -> None:
        """Set another TTL, also for these entries, which are all residents."""
        self._ttl = ttl or inf
        residents = list(residents)
        for entry in residents:
            entry.idle_limit = self._shortened(self._ttl)
        self.rebuild(residents)

    def schedule(self, entry: Entry) -> None:
        """Schedule a check of an entry for the time at which it expires without another use."""
        if self._is_limited:
            heapq.heappush(self._heap, (_due(entry), next(self._ticket), entry))
            self.next_due = self._heap[0][0]

    def expired(self, entry: Entry, now: float) -> bool:
        """Whether an entry has been idle for longer than its TTL, or is older than its greatest age."""
        # The same sum as in the heap: with other rounding, a due entry might never count as expired.
        return now > entry.used + entry.idle_limit or now > entry.expires

    def due(self, now: float, is_resident: Callable[[Entry], bool], limit: int) -> Iterator[Entry]:
        """Return expired entries, after at most `limit` checks; they are no longer scheduled."""
        for _ in range(limit):
            if not self._heap or self._heap[0][0] >= now:
                break
            entry = heapq.heappop(self._heap)[2]
            if is_resident(entry):
                if self.expired(entry, now):
                    yield entry
                else:
                    self.schedule(entry)
        self.next_due = self._heap[0][0] if self._heap else inf

    def drop_removed(self, residents: Iterable[Entry], count_of_residents: int) -> None:
        """Drop removed entries once they are more than half: they must not stay in memory for a TTL."""
        if len(self._heap) > 2 * count_of_residents + 64:
            self.rebuild(residents)

    def rebuild(self, residents: Iterable[Entry]) -> None:
        """Schedule exactly these entries."""
        self._heap = [(_due(entry), next(self._ticket), entry) for entry in residents] if self._is_limited else []
        heapq.heapify(self._heap)
        self.next_due = self._heap[0][0] if self._heap else inf

    def check_invariants(self, residents: Iterable[Entry]) -> None:
        """Raise AssertionError unless each resident has its limits, and is scheduled no later than it expires."""
        earliest: dict[int, float] = {}
        for due, _, entry in self._heap:
            earliest[id(entry)] = min(due, earliest.get(id(entry), inf))
        for entry in residents:
            assert (1 - self._jitter) * self._ttl <= entry.idle_limit <= self._ttl
            assert earliest.get(id(entry), inf) <= _due(entry)
        assert self.next_due == (self._heap[0][0] if self._heap else inf)

    @property
    def _is_limited(self) -> bool:
        return self._ttl < inf or self._max_age < inf

    def _shortened(self, limit: float) -> float:
        return limit * (1 - self._jitter * self._random()) if self._jitter else limit


def _due(entry: Entry) -> float:
    return min(entry.used + entry.idle_limit, entry.expires)
