"""The newcomers' window: live copies whose entries have not been used again after their first burst.

A starting scheduler looks all its versions up once before it repeats a lookup, and uses each of them several times
within a moment. If all of them became live, most would have to leave again for frozen copies, and the allocator could
not return the holes. So the live copies of such entries take only a share of the budget, oldest out first: a first in,
first out window, as that of W-TinyLFU (Einziger, Friedman & Manes, *TinyLFU*, ACM ToS 13(4), 2017).
"""

from __future__ import annotations

from collections.abc import Container

from dagcache.core.entry import LiveCopy


class Newcomers:
    """Live copies in the order in which they came in. Not thread-safe: called under the cache's lock.

    A copy whose entry was used again stays until its turn comes, and then remains live.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._window: dict[LiveCopy, int] = {}
        self._nbytes = 0

    def limit(self, budget: int) -> float:
        """Bytes that the window may take of a budget in bytes."""
        return self._share * budget

    def add(self, copy: LiveCopy, budget: int) -> list[LiveCopy]:
        """Add a live copy if its entry is new; return the copies that must be given up for it, oldest first.

        A copy that exceeds the window alone does not belong to it.
        """
        limit = self.limit(budget)
        if self._share == 1 or copy.entry.gap or copy.nbytes > limit:
            return []
        self._window[copy] = copy.nbytes
        self._nbytes += copy.nbytes
        given_up: list[LiveCopy] = []
        while self._nbytes > limit:
            oldest = next(iter(self._window))
            self.leave(oldest)
            if not oldest.entry.gap:
                given_up.append(oldest)
        return given_up

    def leave(self, copy: LiveCopy) -> None:
        """Forget a copy that is live no more, if it is known."""
        self._nbytes -= self._window.pop(copy, 0)

    def clear(self) -> None:
        """Forget all copies."""
        self._window.clear()
        self._nbytes = 0

    def check_invariants(self, live: Container[LiveCopy]) -> None:
        """Raise AssertionError if a copy is not among the live ones, or the total is wrong."""
        assert all(copy in live for copy in self._window)
        assert self._nbytes == sum(self._window.values())
