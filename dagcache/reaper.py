"""What left the cache is destroyed and reported here, outside every lock.

Destroying a graph runs code that is not ours (finalisers, weak reference callbacks), which may well use the cache.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from dagcache.entry import Entry, LiveCopy
from dagcache.log_limits import report
from dagcache.reclaim import CycleBreaker
from dagcache.stats import EntryInfo, RemovalCause
from dagcache.store import Leavings
from dagcache.waiting_room import WaitingRoom

OnRemoval = Callable[[EntryInfo, RemovalCause], Any]


def _holders(cell: list[Any]) -> int:
    return sys.getrefcount(cell[0])


_SOLE = _holders([object()])


class Reaper:
    """Has what left taken apart, and tells the listener. Thread-safe; never raises an Exception.

    ``breaker``: None leaves cyclic values to the collector.
    """

    def __init__(self, *, breaker: CycleBreaker | None, on_removal: OnRemoval | None) -> None:
        self._room = None if breaker is None else WaitingRoom(breaker)
        self._on_removal = on_removal
        self._due: deque[tuple[Leavings, float]] = deque()
        self.listener_failures = 0

    @property
    def unbroken_cycles(self) -> int:
        """Values that were left to the collector."""
        return 0 if self._room is None else self._room.given_up

    @property
    def waiting_bytes(self) -> int:
        """What the values weigh that left the cache and are not freed yet, as far as they are to be taken apart."""
        if self._room is None:
            return 0
        return self._room.waiting_bytes + sum(leavings.nbytes for leavings, _ in self._due.copy())

    @property
    def is_due(self) -> bool:
        """Whether there is anything to bury."""
        return bool(self._due)

    @property
    def is_awaited(self) -> bool:
        """Whether values wait for `bury` to look after them."""
        return bool(self._room)

    def take(self, leavings: Leavings, now: float) -> None:
        """Take what left, for `bury`. Called under the cache's lock: from then on it cannot be lost."""
        self._due.append((leavings, now))

    def bury(self) -> None:
        """Report what was taken and let its memory go, if nobody holds it; and look after what is still held.

        Also sees to what is left of a burial that was interrupted.
        """
        while self._due:
            try:
                batch = self._due.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                self._bury(*batch)
            except BaseException:
                self._due.append(batch)
                raise
        if self._room:
            self._room.look()

    def _bury(self, leavings: Leavings, now: float) -> None:
        while leavings.removed:
            entry, cause = leavings.removed.popleft()
            try:
                self._report(entry, cause, now)
            finally:
                # An entry and its copies know each other: without this the collector would have to find them.
                entry.live = entry.frozen = None
        copies: list[Any] = leavings.copies
        while copies:
            self._part_with([copies.pop()])
        while leavings.passed:
            value, nbytes, own = leavings.passed.pop()
            cell = [value]
            del value
            self._release(cell, nbytes, own)

    def _report(self, entry: Entry, cause: RemovalCause, now: float) -> None:
        if self._on_removal is None:
            return
        try:
            self._on_removal(entry.info(now), cause)
        except Exception as error:
            self.listener_failures += 1
            report("listener", "the removal listener failed on %r", entry.key, error=error)

    def _part_with(self, cell: list[LiveCopy]) -> None:
        is_sole = _holders(cell) == _SOLE
        copy = cell.pop()
        value = [copy.value]
        if is_sole:  # else a lookup without a lock has found the copy and is about to return its value
            copy.value = None
        self._release(value, copy.value_bytes, copy.own_references)

    def _release(self, value_cell: list[object], nbytes: int, own: int | None) -> None:
        if self._room is not None:
            self._room.admit(value_cell, nbytes, own)
