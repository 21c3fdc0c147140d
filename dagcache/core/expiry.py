"""When to look at which entry for its idle time.

Hits take no lock, so they cannot reorder anything. Instead each entry is looked at when its idle time would be up if
nobody had used it; one that was used meanwhile goes back with its new deadline. An entry is looked at once per TTL, and
finding the due ones costs nothing while none is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from math import inf

from dagcache.core.entry import Entry

_Item = tuple[float, int, Entry]


class Deadlines:
    """A heap of entries by the time at which to look at them. Not thread-safe: kept under the cache's lock."""

    __slots__ = ("_heap", "_ticket", "next_due", "ttl")

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self.next_due = inf
        self._heap: list[_Item] = []
        self._ticket = count()

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, entry: Entry) -> None:
        """Look at an entry when its idle time could be up."""
        if self.ttl:
            heapq.heappush(self._heap, (entry.used + self.ttl, next(self._ticket), entry))
            self.next_due = self._heap[0][0]

    def expired(self, entry: Entry, now: float) -> bool:
        """Whether an entry has been idle for longer than the TTL."""
        # As the heap reckons: rounded in another way, a due entry might never be found expired.
        return self.ttl > 0 and now > entry.used + self.ttl

    def due(self, now: float, is_resident: Callable[[Entry], bool], limit: int) -> Iterator[Entry]:
        """The entries whose idle time is up, at most `limit` looked at; each is watched no longer."""
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
        """Drop what is watched in vain, once that is more than half: entries that left are not to be held for a TTL."""
        if len(self._heap) > 2 * count_of_residents + 64:
            self.rebuild(residents)

    def rebuild(self, residents: Iterable[Entry]) -> None:
        """Watch exactly these entries."""
        self._heap = [(entry.used + self.ttl, next(self._ticket), entry) for entry in residents] if self.ttl else []
        heapq.heapify(self._heap)
        self.next_due = self._heap[0][0] if self._heap else inf

    def check_invariants(self, residents: Iterable[Entry]) -> None:
        """Raise AssertionError unless each resident is watched, and no later than it may expire."""
        earliest: dict[int, float] = {}
        for due, _, entry in self._heap:
            earliest[id(entry)] = min(due, earliest.get(id(entry), inf))
        if self.ttl:
            assert all(earliest.get(id(entry), inf) <= entry.used + self.ttl for entry in residents)
        assert self.next_due == (self._heap[0][0] if self._heap else inf)
