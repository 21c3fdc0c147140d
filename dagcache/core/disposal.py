"""The disposal of values and entries that left the cache, outside every lock: the listener's call, then destruction.

The destruction of a graph runs foreign code (finalisers, weak reference callbacks), which may use the cache.
"""

from __future__ import annotations

import inspect
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from dagcache.concurrency.allowance import never
from dagcache.core.entry import Entry, LiveCopy
from dagcache.core.released import Released
from dagcache.log_limits import report
from dagcache.reclaim.breaker import CycleBreaker
from dagcache.reclaim.waiting_room import WaitingRoom
from dagcache.stats import EntryInfo, RemovalCause

OnRemoval = Callable[[EntryInfo[Any], RemovalCause], object]


def _holders(cell: list[Any]) -> int:
    return sys.getrefcount(cell[0])


_SOLE = _holders([object()])


class _Batch:
    """The entries and values that left in one change, their remaining bytes, and the time."""

    __slots__ = ("__weakref__", "nbytes", "now", "released")

    def __init__(self, released: Released, now: float) -> None:
        self.released = released
        self.nbytes = released.nbytes
        self.now = now


class Disposer:
    """Calls the listener and has values taken apart. Thread-safe; never raises an Exception.

    ``breaker``: None leaves cyclic values to the collector. ``budget``: bytes, 0 = unbounded, see `WaitingRoom`.
    """

    def __init__(self, *, breaker: CycleBreaker | None, on_removal: OnRemoval | None, budget: int = 0) -> None:
        self._room = None if breaker is None else WaitingRoom(breaker, budget)
        self._on_removal = on_removal
        self._due: deque[_Batch] = deque()
        self._in_hand: dict[int, weakref.ref[_Batch]] = {}
        """Batches that a thread disposes of. Weak references: a batch that an interrupt has lost is not kept alive."""
        self._here = threading.local()
        self.listener_failures = 0

    @property
    def taken_apart(self) -> int:
        """Values that a census found free."""
        return 0 if self._room is None else self._room.taken_apart

    @property
    def died(self) -> int:
        """Values that died when their holders dropped them."""
        return 0 if self._room is None else self._room.died

    @property
    def unbroken_cycles(self) -> int:
        """Values that were left to the collector."""
        return 0 if self._room is None else self._room.given_up

    @property
    def waiting(self) -> int:
        """The number of values that left, were looked at, and are held."""
        return 0 if self._room is None else self._room.waiting

    @property
    def held_bytes(self) -> int:
        """The bytes of these values."""
        return 0 if self._room is None else self._room.waiting_bytes

    @property
    def due_bytes(self) -> int:
        """The bytes of values that left and have not been looked at yet."""
        if not self._due and not self._in_hand:
            return 0
        in_hand = [reference() for reference in list(self._in_hand.values())]
        batches = {id(batch): batch for batch in (*in_hand, *self._due.copy()) if batch is not None}
        return sum(batch.nbytes for batch in batches.values())

    @property
    def waiting_bytes(self) -> int:
        """The bytes of all values that left the cache and are not freed yet."""
        return self.held_bytes + self.due_bytes

    @property
    def is_due(self) -> bool:
        """Whether there is anything to dispose."""
        return bool(self._due)

    @property
    def is_awaited(self) -> bool:
        """Whether values wait for `dispose`."""
        return self._room is not None and not self._room.is_empty

    @property
    def is_disposing(self) -> bool:
        """Whether this thread is within a disposal: in the listener, or in code that a value runs as it goes."""
        if not getattr(self._here, "is_disposing", False):
            return False
        disposal, frame = self._dispose_some.__code__, inspect.currentframe()
        while frame is not None:
            if frame.f_code is disposal:
                return True
            frame = frame.f_back
        self._here.is_disposing = False  # an interrupt came before `_dispose` reset it
        return False

    def find(self, ticket: int) -> list[object]:
        """The value that waits under a ticket's number, in a list; an empty list if there is none."""
        return [] if self._room is None else self._room.find(ticket)

    def mute(self) -> None:
        """Call the listener no more."""
        self._on_removal = None

    def fit(self, budget: int) -> None:
        """Follow a new budget, in bytes; 0 = unbounded. The surplus goes with the next call."""
        if self._room is not None:
            self._room.budget = budget

    def take(self, released: Released, now: float) -> None:
        """Take over entries and values for `dispose`. Called under the cache's lock: from then on none can be lost."""
        self._due.append(_Batch(released, now))

    def dispose(self, is_enough: Callable[[], bool] = never) -> None:
        """Report and free what was taken, unless a caller holds it, and look again at the values that wait.

        ``is_enough`` is asked after each entry; True leaves the rest to the next call. Within a disposal by the same
        thread this does nothing: the outer one continues. The rest of an interrupted disposal is done as well.
        """
        if self.is_disposing:
            return
        while self._due:
            try:
                batch = self._due.popleft()
            except IndexError:  # another thread was faster
                break
            if not self._dispose(batch, is_enough):
                break
        if self._room is not None:
            self._room.look(is_enough)

    def empty(self) -> None:
        """Dispose of everything, and take apart all values that are free now, however long that takes."""
        if self.is_disposing:
            return
        self.dispose()
        if self._room is not None:
            self._room.empty()

    def check_invariants(self) -> None:
        """Recompute the bytes that wait; raises AssertionError where they differ. Not beside a disposal."""
        assert all(batch.nbytes == batch.released.nbytes for batch in self._due)
        if self._room is not None:
            self._room.check_invariants()

    def _dispose(self, batch: _Batch, is_enough: Callable[[], bool]) -> bool:
        """Whether to continue."""
        self._in_hand[id(batch)] = weakref.ref(batch)
        self._here.is_disposing = True
        try:
            return self._dispose_some(batch, is_enough)
        except BaseException:
            batch.nbytes = batch.released.nbytes
            raise
        finally:
            self._here.is_disposing = False
            if batch.released:
                self._due.appendleft(batch)
            self._in_hand.pop(id(batch), None)

    def _dispose_some(self, batch: _Batch, is_enough: Callable[[], bool]) -> bool:
        while batch.released:
            self._dispose_next(batch)
            if is_enough():
                return False
        return True

    def _dispose_next(self, batch: _Batch) -> None:
        """One entry with its live copy, or one value."""
        released = batch.released
        if released.entries and not released.demoted:
            entry, cause = released.entries.popleft()
            batch.nbytes -= entry.frozen.nbytes if entry.frozen is not None else 0
            try:
                self._report(entry, cause, batch.now)
            finally:
                # An entry and its copies know each other: without this the collector would have to find them.
                copy, entry.live, entry.frozen = entry.live, None, None
                if copy is not None:
                    released.demoted.append(copy)
                del copy  # the copy's holders are counted
        if released.demoted:
            cell = [released.demoted.pop()]
            nbytes = cell[0].nbytes
            self._part_with(cell)
            batch.nbytes -= nbytes
        elif released.rejected:
            value, nbytes, own, ticket = released.rejected.pop()
            value_cell = [value]
            del value
            self._release(value_cell, nbytes, own, ticket)
            batch.nbytes -= nbytes

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
        self._release(value, copy.value_bytes, copy.own_references, copy.ticket)

    def _release(self, value_cell: list[object], nbytes: int, own: int | None, ticket: int) -> None:
        if self._room is not None:
            self._room.admit(value_cell, nbytes, own, ticket)
