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
from dagcache.log_limits import report
from dagcache.reclaim import CycleBreaker, Outcome
from dagcache.stats import EntryInfo, RemovalCause
from dagcache.store import Leavings

_log = logging.getLogger("dagcache")

OnRemoval = Callable[[EntryInfo, RemovalCause], Any]


_PASSED = 32  # a scheduler holds the DAGs of the twenty runs that it examines in one go
_RELEASED_AT_ONCE = 2  # more than comes, and not so much that the next ones find nothing to balance their births
_PASSED_BLINDLY = 2  # a loop over lookups still holds the last value during the next one


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
        except Exception as error:
            self.listener_failures += 1
            report("listener", "the removal listener failed on %r", entry.key, error=error)

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
        """See to a value that its caller still holds, and that is cyclic garbage once he drops it.

        The last few are remembered, and taken apart when their callers have dropped them: left to the automatic
        collector, they cost more than their thaws did. Where that cannot be told, it is the collector's business; and
        if the host has switched that off, they are taken apart when enough others have come, or lookups would leak.
        """
        if self._breaker is None:
            return
        self._passed.append(([value], token))
        del value  # a reference from here would count as its caller's
        blindly = collector_is_off()
        released = 0
        for _ in range(len(self._passed)):
            released += self._look_at_the_oldest(keep_unknown=blindly)
            if released == _RELEASED_AT_ONCE:
                break
        while len(self._passed) > (_PASSED_BLINDLY if blindly else _PASSED):
            try:
                cell, its_token = self._passed.popleft()
            except IndexError:  # another thread was faster
                return
            if blindly:
                self._release(cell, its_token)

    def _look_at_the_oldest(self, *, keep_unknown: bool) -> bool:
        """Take the oldest apart if nobody holds it, whether or not that succeeds; otherwise it becomes the newest."""
        try:
            cell, token = self._passed.popleft()
        except IndexError:  # another thread was faster
            return False
        free = self._seems_free(cell, token)
        if free:
            self._release(cell, token)
        elif keep_unknown or free is not None:
            self._passed.append((cell, token))
        return bool(free)

    def _seems_free(self, cell: list[object], token: object) -> bool | None:
        assert self._breaker is not None
        try:
            return self._breaker.seems_free(cell, token)
        except Exception:
            _log.exception("the cycle breaker failed")
            return None

    def _release(self, cell: list[object], token: object) -> bool:
        """Let go of a value; False if its memory is left to the collector."""
        assert self._breaker is not None
        try:
            return self._breaker.release(cell, token) is Outcome.FREED
        except Exception:
            _log.exception("the cycle breaker failed")
            return False
