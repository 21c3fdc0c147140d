"""What left the cache is destroyed and reported here, outside every lock.

Destroying a graph runs code that is not ours (finalisers, weak reference callbacks), which may well use the cache.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from dagcache.entry import Entry, LiveCopy
from dagcache.gcpause import collector_is_off
from dagcache.reclaim import CycleBreaker, Outcome
from dagcache.stats import EntryInfo, RemovalCause
from dagcache.store import Leavings

_log = logging.getLogger("dagcache")

OnRemoval = Callable[[EntryInfo, RemovalCause], Any]


_PASSED = 2  # a loop over lookups still holds the last value during the next one


def _holders(cell: list[Any]) -> int:
    return sys.getrefcount(cell[0])


_SOLE = _holders([object()])


class Reaper:
    """Destroys victims and tells the listener. Thread-safe; never raises an Exception."""

    def __init__(self, *, breaker: CycleBreaker | None, on_removal: OnRemoval | None) -> None:
        self._breaker = breaker
        self._on_removal = on_removal
        self._due: deque[tuple[Leavings, float]] = deque()
        self._passed: deque[tuple[list[object], object]] = deque()
        self.listener_failures = 0
        self.unbroken_cycles = 0

    @property
    def is_due(self) -> bool:
        """Whether there is anything to bury."""
        return bool(self._due)

    def take(self, leavings: Leavings, now: float) -> None:
        """Take what left, for `bury`. Called under the cache's lock: from then on it cannot be lost."""
        self._due.append((leavings, now))

    def bury(self) -> None:
        """Report what was taken, then let its memory go; also what is left of a burial that was interrupted."""
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
            self._destroy([copies.pop()])
        while leavings.passed:
            self._await_the_end_of(*leavings.passed.pop())

    def _report(self, entry: Entry, cause: RemovalCause, now: float) -> None:
        if self._on_removal is None:
            return
        try:
            self._on_removal(entry.info(now), cause)
        except Exception:
            self.listener_failures += 1
            _log.exception("the removal listener failed on %r", entry.key)

    def _destroy(self, cell: list[LiveCopy]) -> None:
        if self._breaker is None:
            return
        if _holders(cell) > _SOLE:
            # A lookup without a lock has found the copy and is about to return its value.
            self.unbroken_cycles += 1
            return
        copy = cell.pop()
        value, token = [copy.value], copy.token
        copy.value = copy.token = None
        if not self._release(value, token):
            self.unbroken_cycles += 1

    def _await_the_end_of(self, value: object, token: object) -> None:
        """See to a value that its caller still holds, if nobody else will.

        It is cyclic garbage once it is dropped. The automatic collector frees such young garbage at once and cheaply.
        Where the host has switched that off, each lookup of a full cache would leak a graph: so the last few are
        remembered, and taken apart when enough others have come for their callers to be done with them.
        """
        if not collector_is_off():
            self._passed.clear()
            return
        self._passed.append(([value], token))
        while len(self._passed) > _PASSED:
            try:
                cell, its_token = self._passed.popleft()
            except IndexError:  # another thread was faster
                return
            self._release(cell, its_token)

    def _release(self, cell: list[object], token: object) -> bool:
        """Let go of a value; False if its memory is left to the collector."""
        if self._breaker is None:
            return True
        try:
            return self._breaker.release(cell, token) is Outcome.FREED
        except Exception:
            _log.exception("the cycle breaker failed")
            return False
