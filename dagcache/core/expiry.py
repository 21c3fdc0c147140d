"""Expiry: a schedule of the times at which entries are checked for idleness.

Hits take no lock, so they cannot reorder the schedule. Instead, an entry is checked when its TTL would end without
another use. If it was used in the meantime, it is scheduled again. So an entry is checked once per TTL, and a lookup
pays nothing while no entry is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from math import inf

from dagcache.core.entry import Entry

_Item = tuple[float, int, Entry]


class Deadlines:
    """A heap of entries by the time of their next check. Not thread-safe: called under the cache's lock."""

    __slots__ = ("_heap", "_ticket", "next_due", "ttl")

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self.next_due = inf
        self._heap: list[_Item] = []
        self._ticket = count()

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, entry: Entry) -> None:
        """Schedule a check of an entry for the end of its TTL."""
        if self.ttl:
            heapq.heappush(self._heap, (entry.used + self.ttl, next(self._ticket), entry))
            self.next_due = self._heap[0][0]

    def expired(self, entry: Entry, now: float) -> bool:
        """Whether an entry has been idle for longer than the TTL."""
        # The same sum as in the heap: with other rounding, a due entry might never count as expired.
        return self.ttl > 0 and now > entry.used + self.ttl

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
        self._heap = [(entry.used + self.ttl, next(self._ticket), entry) for entry in residents] if self.ttl else []
        heapq.heapify(self._heap)
        self.next_due = self._heap[0][0] if self._heap else inf

    def check_invariants(self, residents: Iterable[Entry]) -> None:
        """Raise AssertionError unless each resident is scheduled no later than the end of its TTL."""
        earliest: dict[int, float] = {}
        for due, _, entry in self._heap:
            earliest[id(entry)] = min(due, earliest.get(id(entry), inf))
        if self.ttl:
            assert all(earliest.get(id(entry), inf) <= entry.used + self.ttl for entry in residents)
        assert self.next_due == (self._heap[0][0] if self._heap else inf)
