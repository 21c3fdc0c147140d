"""The newcomers' window: live copies whose entries have not been used again after their first burst.

A starting scheduler looks all its versions up, several times within a moment, before it returns to one. If all of them
became live, most would have to leave again for frozen copies, and the allocator could not return the holes. So the live
copies of such entries take only a share of the budget, oldest out first: a first in, first out window, as that of
W-TinyLFU (Einziger, Friedman & Manes, *TinyLFU*, ACM ToS 13(4), 2017).
"""

from __future__ import annotations

from collections.abc import Container
from itertools import islice

from dagcache.core.entry import LIVE_OVERHEAD, LiveCopy

REVIEW = 64
"""Copies that one addition reviews, oldest first: those that were used again take no share any more."""
BURST_SHARE = 2
"""Shares that the window may take while it holds copies for the rest of their burst."""


class Newcomers:
    """Live copies in the order in which they came in. Not thread-safe: called under the cache's lock.

    A copy that exceeds the window alone does not belong to it: the store lets it in from its second lookup on.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._window: dict[LiveCopy, int] = {}
        self._nbytes = 0

    def has_room_for(self, value_bytes: int, budget: int) -> bool:
        """Whether the window of a budget (bytes) could hold a live copy of a value on its own."""
        return value_bytes + LIVE_OVERHEAD <= self._share * budget

    def add(self, copy: LiveCopy, budget: int) -> None:
        """Add a live copy if its entry is new and also has a frozen copy."""
        entry = copy.entry
        is_new = not entry.gap and entry.frozen is not None
        if self._share < 1 and is_new and self.has_room_for(copy.value_bytes, budget):
            self._window[copy] = copy.nbytes
            self._nbytes += copy.nbytes

    def reweigh(self, copy: LiveCopy) -> None:
        """Take over the bytes of a copy that has changed them."""
        if copy in self._window:
            self._nbytes += copy.nbytes - self._window[copy]
            self._window[copy] = copy.nbytes

    def trim(self, budget: int, now: float, spared: float) -> list[LiveCopy]:
        """Return the copies to be given up for a budget in bytes, oldest first; the window no longer holds them.

        ``spared``: seconds for which newcomers are held for the rest of their burst, up to twice the share.
        """
        limit = self._share * budget
        if self._nbytes <= limit:
            return []
        for copy in [copy for copy in islice(self._window, REVIEW) if copy.entry.gap]:
            self.leave(copy)
        given_up: list[LiveCopy] = []
        while self._nbytes > limit:
            oldest = next(iter(self._window))
            if now - oldest.admitted_at <= spared and self._nbytes <= BURST_SHARE * limit:
                break
            self.leave(oldest)
            if not oldest.entry.gap:
                given_up.append(oldest)
        return given_up

    def leave(self, copy: LiveCopy) -> None:
        """Forget a copy that is live no more, or that was used again."""
        self._nbytes -= self._window.pop(copy, 0)

    def clear(self) -> None:
        """Forget all copies."""
        self._window.clear()
        self._nbytes = 0

    def check_invariants(self, live: Container[LiveCopy]) -> None:
        """Raise AssertionError if a copy is not among the live ones, or a weight is wrong."""
        assert all(copy in live and nbytes == copy.nbytes for copy, nbytes in self._window.items())
        assert self._nbytes == sum(self._window.values())
