"""The ledger: accounted bytes by tier, and the budget that bounds them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from dagcache.core.entry import LIVE_OVERHEAD, Entry
from dagcache.stats import WEIGHT_BOUNDS, Histogram

HELD_PART = 4
"""Values that left and are held by callers take at most this part of the budget (a quarter) from the residents.
Eviction does not free them, so a caller that holds much would otherwise empty the cache."""

HELD_DECAY = 11
"""The residents get back 1 / 2 ** 11 of the bytes that callers no longer hold, at each look. That is half of them in
about 1,400 looks, or one sweep."""

UNLIMITED = 2**62
"""The limit of a cache without a budget, bytes."""


class Ledger:
    """Bytes of the resident entries. Not thread-safe: called under the cache's lock.

    Bytes change only in `enter` and `leave`. An entry leaves before a copy of it changes, and enters afterwards.
    """

    def __init__(self, budget: int, *, enforce: bool) -> None:
        self._enforce = enforce
        self.held = 0
        """Bytes that left and are held by callers, or were lately: see `note_held`."""
        self._clear()
        self.set_budget(budget)

    def _clear(self) -> None:
        self.live_bytes = 0
        self.frozen_bytes = 0
        self.overhead_bytes = 0
        self.used = 0
        """Bytes that the residents take of the budget: live, frozen and overhead."""
        self.frozen_tier_bytes = 0
        """Bytes of the frozen copies, with their overhead."""
        self.serialized_bytes = 0
        self.frozen_entries = 0
        self.absence_bytes = 0
        """Bytes of the records of absent keys: see `dagcache.core.absences`. The residents cannot have them."""
        self._histogram = [0] * (len(WEIGHT_BOUNDS) + 1)

    def set_budget(self, budget: int) -> None:
        """Set the byte limit; 0 = unbounded."""
        self.budget = budget
        self.enforced_budget = budget if budget and self._enforce else UNLIMITED
        """The budget in force, bytes; `UNLIMITED` if there is none."""
        self._most_held = self.enforced_budget // HELD_PART

    @property
    def limit(self) -> int:
        """Bytes that the residents may take."""
        return self.enforced_budget - min(self.held, self._most_held) - self.absence_bytes

    def entry_bytes(self) -> Histogram:
        """Return the distribution of entries by the bytes of all their copies."""
        return Histogram(WEIGHT_BOUNDS, tuple(self._histogram), float(self.used))

    def exceeds(self, held: int, due: int = 0) -> bool:
        """Whether the budget is exceeded while callers hold `held` bytes and `due` bytes are about to be freed."""
        return self.used + self.absence_bytes + due > self.enforced_budget - min(held, self._most_held)

    def enter(self, entry: Entry) -> None:
        """Add the bytes of an entry, with the copies that it has now."""
        self._count(entry, 1)

    def leave(self, entry: Entry) -> None:
        """Subtract the bytes of an entry, with the copies that it has now."""
        self._count(entry, -1)

    def note_held(self, held: int) -> None:
        """Charge at least the bytes that callers hold; bytes that they no longer hold are charged less and less.

        Callers take values and drop them again, session by session. Room that residents get in between costs a live
        copy in the next session: with 815 versions and twenty per session, five times as many demotions for no
        additional hit.
        """
        self.held = max(held, self.held - max(1, self.held >> HELD_DECAY))

    def rebuild(self, entries: Iterable[Entry]) -> None:
        """Recompute all bytes from the entries."""
        self._clear()
        self.set_budget(self.budget)
        for entry in entries:
            self.enter(entry)

    def check_invariants(self, entries: Iterable[Entry]) -> None:
        """Raise AssertionError if a total differs from the entries, or the residents exceed the budget."""
        residents = list(entries)
        frozen = [entry.frozen for entry in residents if entry.frozen is not None]
        live = [entry.live for entry in residents if entry.live is not None]
        assert self.live_bytes == sum(copy.value_bytes for copy in live)
        assert self.frozen_bytes == sum(len(copy.data) for copy in frozen)
        assert self.frozen_entries == len(frozen)
        assert self.overhead_bytes == sum(entry.overhead_bytes for entry in residents) + LIVE_OVERHEAD * len(live)
        assert self.frozen_tier_bytes == sum(copy.nbytes for copy in frozen)
        assert self.serialized_bytes == sum(entry.serialized_bytes for entry in residents)
        assert self.used == sum(entry.copies_bytes for entry in residents)
        assert self.used == self.live_bytes + self.frozen_bytes + self.overhead_bytes
        assert self.entry_bytes() == Histogram.of(WEIGHT_BOUNDS, [float(entry.copies_bytes) for entry in residents])
        used = self.used + self.absence_bytes
        assert used <= self.enforced_budget, f"{used} bytes used of {self.budget}"

    def _count(self, entry: Entry, sign: int) -> None:
        nbytes = entry.copies_bytes
        live, frozen = entry.live, entry.frozen
        self.used += sign * nbytes
        self._histogram[bisect_left(WEIGHT_BOUNDS, nbytes)] += sign
        self.overhead_bytes += sign * entry.overhead_bytes
        if live is not None:
            self.live_bytes += sign * live.value_bytes
            self.overhead_bytes += sign * LIVE_OVERHEAD
        if frozen is not None:
            self.frozen_bytes += sign * len(frozen.data)
            self.frozen_tier_bytes += sign * frozen.nbytes
            self.frozen_entries += sign
        self.serialized_bytes += sign * entry.serialized_bytes
