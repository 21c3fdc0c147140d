"""Where values wait that left the cache while somebody held them, until they can be taken apart.

Callers hold what a lookup gave them, so a third to a half of what leaves is held at that moment. Taking it apart is
tried again when it may be free. The sign for that costs no walk: the value's reference count has fallen to what its
own parts account for. The exact census of the breaker decides; a wrong sign costs time and no more.

The newest wait by strong reference, up to 2 MiB: what passes through is dropped at once by most callers, and is then
taken apart during the next thaw, so that as many objects die as are made and no collection is due. All others wait by
weak reference. That keeps nothing alive, so a value that is held for hours costs a ticket; and nothing has to be
forgotten while it is held. Values without weak references wait by strong reference, within bounds of their own.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import deque
from contextlib import suppress

from dagcache.reclaim import CycleBreaker, Outcome, WaitingReference, tell_of_failure

STRONG_BYTES = 2 * 2**20
"""Of the newest: what comes beyond makes the oldest of them wait by weak reference."""
MOST_STRONG = 64
"""The newest, whatever they weigh."""
STUBBORN_BYTES = 16 * 2**20
"""Of values of types without weak references, beside the newest: what comes beyond makes the oldest be given up."""
MOST_STUBBORN = 256
"""Of these, whatever they weigh."""
SIGNS_PER_LOOK = 16
"""Reference counts that are read in one look: half a microsecond each."""
TRIES_PER_LOOK = 2
"""Censuses in one look: more than values come, and a bounded stop."""
LONGEST_PAUSE = 64
"""Looks at a value between two tries, if somebody holds a part of it."""

_UNKNOWN = sys.maxsize


class _Ticket:
    """A value that waits."""

    __slots__ = ("_alive", "_cell", "_failed_at", "_passes", "_pause", "_reference", "nbytes", "own")

    def __init__(self, value_cell: list[object], nbytes: int, own: int | None) -> None:
        self.nbytes = nbytes
        self.own = _UNKNOWN if own is None else own
        """References to the value from its own parts."""
        self._failed_at = _UNKNOWN
        self._passes = self._pause = 0
        self._cell = value_cell
        self._reference: WaitingReference | None = None
        self._alive: dict[int, int] = {}

    @property
    def is_weak(self) -> bool:
        """Whether it waits by weak reference."""
        return self._reference is not None

    def weaken(self) -> bool:
        """Wait by weak reference from now on; False if the value has none."""
        if self.is_weak:
            return True
        value = self._cell[0]
        self._alive = {0: 0}
        try:
            # A callback that runs no line of Python: an interrupt in it would be swallowed.
            self._reference = WaitingReference(value, functools.partial(self._alive.pop, 0))
        except TypeError:
            return False
        self._cell = []
        return True

    @property
    def waits(self) -> bool:
        """Whether its value is still there. Makes no reference to it, which could be the last one."""
        return bool(self._cell if self._reference is None else self._alive)

    def value_cell(self) -> list[object]:
        """The value in a list, or an empty list."""
        if self._reference is None:
            return self._cell
        value = self._reference()
        return [] if value is None else [value]

    def is_due(self, holders: int) -> bool:
        """Whether the value seems free, and the last try found more holders or was long enough ago."""
        self._passes += 1
        return holders <= self.own and (holders < self._failed_at or self._passes > self._pause)

    def note_failure(self, holders: int) -> None:
        """Somebody holds it: if the sign was there, a part of it."""
        self._failed_at = holders
        self._passes = 0
        self._pause = min(2 * self._pause + 1, LONGEST_PAUSE)

    def give_up(self) -> None:
        """It waits no more."""
        self._cell = []
        self._reference = None


def _count(cell: list[object]) -> int:
    return sys.getrefcount(cell[0])


_SOLE = _count([object()])


class WaitingRoom:
    """Takes values apart as soon as nobody holds them. Thread-safe without a lock; never raises an Exception."""

    def __init__(self, breaker: CycleBreaker) -> None:
        self._breaker = breaker
        self._strong: deque[_Ticket] = deque()
        self._weak: deque[_Ticket] = deque()
        self._stubborn: deque[_Ticket] = deque()
        self._queues = (self._strong, self._weak, self._stubborn)
        self._in_hand: dict[int, _Ticket] = {}
        self._looks = 0
        self._interval = LONGEST_PAUSE
        """Looks between two tries against the sign."""
        self.given_up = 0
        """Values that were left to the collector."""

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    @property
    def waiting_bytes(self) -> int:
        """What the values weigh that wait here and are still there."""
        in_hand = list(self._in_hand.values())
        return sum(map(_bytes, self._queues)) + sum(ticket.nbytes for ticket in in_hand)

    def admit(self, value_cell: list[object], nbytes: int, own: int | None) -> None:
        """Take over the value in a one-element list, and take it apart at once if it seems free.

        ``own``: the references to it from its own parts, None if they are unknown.
        """
        if not gc.is_tracked(value_cell[0]):  # it dies of its last reference
            value_cell.clear()
            return
        ticket = _Ticket(value_cell, nbytes, own)
        holders = _count(value_cell) - _SOLE
        if ticket.is_due(holders):
            self._try(ticket, value_cell, holders)
        if not ticket.waits:
            return
        if ticket.is_weak:
            value_cell.clear()
            self._weak.append(ticket)
        else:
            self._strong.append(ticket)
            self._bound()

    def look(self) -> None:
        """Take a couple of values apart that seem free now."""
        self._looks += 1
        for queue in self._queues:
            self._look_into(queue, blindly=self._looks % (self._interval + 1) == 0)

    def _look_into(self, queue: deque[_Ticket], *, blindly: bool) -> None:
        tries = 0
        for _ in range(min(len(queue), SIGNS_PER_LOOK)):
            try:
                ticket = queue.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                tries += self._see_to(ticket, blindly=blindly)
            finally:
                if ticket.waits:
                    (self._weak if ticket.is_weak else queue).append(ticket)
            if tries:
                blindly = self._interval == 0
            if tries == TRIES_PER_LOOK:
                return

    def _see_to(self, ticket: _Ticket, *, blindly: bool) -> bool:
        """Try a value if it is due; whether it was tried."""
        cell = ticket.value_cell()
        if not cell:
            return False
        holders = _count(cell) - _SOLE
        if ticket.is_due(holders):
            self._try(ticket, cell, holders)
            return True
        if blindly and holders > ticket.own:
            # Use may add to the references from the value's own parts; then the sign never comes.
            freed = self._try(ticket, cell, holders)
            self._interval = self._interval // 2 if freed else min(2 * self._interval + 1, LONGEST_PAUSE)
            return True
        return False

    def _try(self, ticket: _Ticket, cell: list[object], holders: int) -> bool:
        """Have the breaker release a value; whether it was free."""
        self._in_hand[id(ticket)] = ticket
        try:
            outcome = self._release(cell)
        finally:
            del self._in_hand[id(ticket)]
        if outcome is Outcome.HELD and cell:
            ticket.note_failure(holders)
            ticket.weaken()  # if all that is left are weak references, it may die of ours
        else:
            ticket.give_up()
            self.given_up += outcome is not Outcome.FREED
        return outcome is Outcome.FREED

    def _release(self, cell: list[object]) -> Outcome:
        try:
            return self._breaker.release(cell)
        except Exception as error:
            tell_of_failure(error)
            return Outcome.SKIPPED

    def _bound(self) -> None:
        """Another one has come: see to the oldest, if there are too many."""
        with suppress(IndexError):  # another thread was faster
            while len(self._strong) > MOST_STRONG or _bytes(self._strong) > STRONG_BYTES:
                ticket = self._strong.popleft()
                (self._weak if ticket.weaken() else self._stubborn).append(ticket)
            while len(self._stubborn) > MOST_STUBBORN or _bytes(self._stubborn) > STUBBORN_BYTES:
                ticket = self._stubborn.popleft()
                cell = ticket.value_cell()
                if not self._try(ticket, cell, _count(cell) - _SOLE) and ticket.waits:
                    ticket.give_up()
                    self.given_up += 1


def _bytes(queue: deque[_Ticket]) -> int:
    return sum(ticket.nbytes for ticket in queue.copy() if ticket.waits)
