"""The waiting room: values that left the cache while a caller held them wait here until they can be taken apart.

A third to a half of the values are held by a caller when they leave. Taking one apart is tried again once there is a
sign that it may be free: its reference count has fallen to the references from its own parts. The sign costs no walk.
The exact census of the breaker decides, so a wrong sign only costs time.

The newest values wait by strong reference, up to 2 MiB and a quarter of the budget. Most callers drop a value that
passes through at once. It is then taken apart during the next thaw, so that as many objects die as are made and no
collection is due. All others wait by weak reference. That keeps nothing alive: a value that is held for hours costs a
ticket, and need not be forgotten. Values without weak references wait by strong reference, within bounds of their own.

A lookup may find a waiting value again, by the number of its ticket. A ticket is in a queue, or in the hand of one
thread. So a value is not found under a ticket by which another thread takes it apart; `releases` has the other tickets.
"""

from __future__ import annotations

import functools
import gc
import itertools
import operator
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from dagcache.concurrency.allowance import never
from dagcache.reclaim import releases
from dagcache.reclaim.breaker import CycleBreaker, Outcome, report_failure
from dagcache.reclaim.weak_references import WaitingReference

STRONG_BYTES = 2 * 2**20
"""The most bytes of the newest values; beyond, the oldest of them wait by weak reference."""
STRONG_PART = 4
"""The newest values, and those without weak references, each take at most this part of the budget (a quarter)."""
MOST_STRONG = 64
"""The most values among the newest, however small: each look visits them."""
STUBBORN_BYTES = 16 * 2**20
"""The most bytes of values without weak references; beyond, the oldest of them are given up."""
MOST_STUBBORN = 256
"""The most values without weak references, however small."""
SIGNS_PER_LOOK = 16
"""Reference counts that one look reads: half a microsecond each."""
TRIES_PER_LOOK = 2
"""Censuses in one look: more than new values arrive between looks, and a bounded delay."""
LONGEST_PAUSE = 64
"""The most looks at a value between two tries, while a part of it is held."""
_MOST_ROUNDS = 3
"""Rounds of trying all values: one may be held by another one that waits."""

_UNKNOWN = sys.maxsize

_numbers = itertools.count(1)  # an `id` would return with a later ticket


def ticket_number() -> int:
    """The number of a ticket to come, above 0. Thread-safe."""
    return next(_numbers)


class _Weight(weakref.ref["_Ticket"]):
    """The bytes of a waiting value, for as long as its ticket exists: an interrupt may lose a ticket."""

    __slots__ = ("nbytes",)

    nbytes: int

    @classmethod
    def of(cls, ticket: _Ticket) -> _Weight:
        """The weight of a ticket."""
        made = cls(ticket)
        made.nbytes = ticket.nbytes
        return made


class _Ticket:
    """A waiting value. ``weights`` has its bytes, by the number of the ticket, for as long as the value exists."""

    __slots__ = (
        "__weakref__",
        "_cell",
        "_failed_at",
        "_passes",
        "_pause",
        "_reference",
        "_weights",
        "nbytes",
        "number",
        "own",
    )

    def __init__(
        self, value_cell: list[object], nbytes: int, own: int | None, number: int, weights: dict[int, _Weight]
    ) -> None:
        self.number = number
        self.nbytes = nbytes
        self.own = _UNKNOWN if own is None else own
        """References to the value from its own parts."""
        self._failed_at = _UNKNOWN
        self._passes = self._pause = 0
        self._cell = value_cell
        self._reference: WaitingReference | None = None
        self._weights = weights
        weights[self.number] = _Weight.of(self)

    @property
    def is_weak(self) -> bool:
        """Whether it waits by weak reference."""
        return self._reference is not None

    def weaken(self) -> bool:
        """Wait by weak reference from now on; False if the value has none."""
        if not self.is_weak:
            try:
                # A callback without Python code: an interrupt in it would be swallowed.
                self._reference = WaitingReference.to(self._cell[0], functools.partial(self._weights.pop, self.number))
            except TypeError:
                return False
        self._cell = []
        return True

    @property
    def waits(self) -> bool:
        """Whether its value still exists. Makes no reference to it, which could become the last one."""
        return bool(self._cell) if self._reference is None else self.number in self._weights

    def value_cell(self) -> list[object]:
        """The value in a list, or an empty list."""
        if self._reference is None:
            return self._cell
        self._cell = []  # an interrupt may have struck in `weaken`
        value = self._reference()
        return [] if value is None else [value]

    def shared_cell(self) -> tuple[list[object], bool]:
        """The value in a list, which may be empty, and whether a lookup may return it: see `releases.follow`."""
        return (self._cell.copy(), True) if self._reference is None else releases.follow(self._reference)

    def check_invariants(self) -> None:
        """A value that waits by weak reference is not held here. Raises AssertionError."""
        assert not (self.is_weak and self._cell)

    def is_due(self, holders: int) -> bool:
        """Whether the value seems free, and the last try found more holders or was long enough ago."""
        self._passes += 1
        return holders <= self.own and (holders < self._failed_at or self._passes > self._pause)

    def note_failure(self, holders: int) -> None:
        """The value is held; if there was a sign, a part of it is."""
        self._failed_at = holders
        self._passes = 0
        self._pause = min(2 * self._pause + 1, LONGEST_PAUSE)

    def leave(self) -> None:
        """End the wait."""
        self._cell = []
        self._reference = None
        self._weights.pop(self.number, None)


def _count(cell: list[object]) -> int:
    return sys.getrefcount(cell[0])


_SOLE = _count([object()])


class WaitingRoom:
    """Takes values apart as soon as no caller holds them. Thread-safe without a lock; never raises an Exception."""

    def __init__(self, breaker: CycleBreaker, budget: int = 0) -> None:
        self._breaker = breaker
        self._strong: deque[_Ticket] = deque()
        self._weak: deque[_Ticket] = deque()
        self._stubborn: deque[_Ticket] = deque()
        self._queues = (self._strong, self._weak, self._stubborn)
        self._weights: dict[int, _Weight] = {}
        self._undecided: list[object] = []
        """Values that `find` met and may not return. They are dropped outside the lock."""
        self._looks = 0
        self._interval = LONGEST_PAUSE
        """Looks between two tries without a sign."""
        self._admitted = 0
        self.taken_apart = 0
        """Values that the census found free."""
        self.given_up = 0
        """Values that were left to the collector."""
        self.budget = budget
        """The cache's budget in bytes, 0 = unbounded. It bounds values with strong references from the next call on."""

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    @property
    def is_empty(self) -> bool:
        """Whether no ticket and no bytes are left."""
        return not (self._weights or len(self))

    @property
    def waiting(self) -> int:
        """The number of waiting values that still exist."""
        return len(self._weights)

    @property
    def waiting_bytes(self) -> int:
        """The bytes of these values."""
        return _bytes(self._weights.copy().values())

    @property
    def died(self) -> int:
        """The number of values that died without a census, when their holders dropped them."""
        return self._admitted - self.taken_apart - self.given_up - self.waiting

    def admit(self, value_cell: list[object], nbytes: int, own: int | None, number: int = 0) -> None:
        """Adopt the value in a one-element list, and take it apart at once if it seems free.

        ``own``: the references to it from its own parts, None if they are unknown. ``number``: its `ticket_number`, by
        which `find` finds it; 0: it is not to be found.
        """
        self._admitted += 1
        if not gc.is_tracked(value_cell[0]):  # it dies of its last reference
            value_cell.clear()
            return
        ticket = _Ticket(value_cell, nbytes, own, number or ticket_number(), self._weights)
        holders = _count(value_cell) - _SOLE
        try:
            if ticket.is_due(holders):
                self._try(ticket, value_cell, holders)
                if ticket.is_weak:
                    value_cell.clear()
        finally:
            self._put_back(ticket, self._strong)
        self._bound()

    def find(self, number: int) -> list[object]:
        """The value that waits under a number, in a list. An empty list if it is gone or may be taken apart.

        May be called under a lock: nothing dies here.
        """
        weight = self._weights.get(number)
        ticket = None if weight is None else weight()
        if ticket is None:
            return []
        for queue in self._queues:
            try:
                queue.remove(ticket)
            except ValueError:
                continue
            try:
                cell, may_return = ticket.shared_cell()
            finally:
                self._put_back(ticket, queue)
            if may_return:
                return cell
            self._undecided += cell
        return []

    def look(self, is_spent: Callable[[], bool] = never) -> None:
        """Take apart some values that seem free; only one of each queue once ``is_spent`` returns true."""
        self._looks += 1
        self._undecided.clear()
        for queue in self._queues:
            self._look_into(queue, is_spent, blindly=self._looks % (self._interval + 1) == 0)
        if len(self._weights) > len(self):
            self._forget_the_lost()

    def empty(self) -> None:
        """Take apart every value that is free now, without waiting for a sign. Takes a census of each waiting value."""
        self._undecided.clear()
        self._bound()
        for _ in range(_MOST_ROUNDS):
            freed = [self._try_all(queue) for queue in self._queues]
            if not any(freed):
                break

    def check_invariants(self) -> None:
        """Recompute the waiting bytes from the tickets. Raises AssertionError on a difference. Not beside a look.

        Values may die meanwhile: the collector runs at any time.
        """
        for ticket in (*self._strong, *self._weak, *self._stubborn):
            ticket.check_invariants()
        before = self._weights.copy()
        found = {ticket.number: ticket.nbytes for queue in self._queues for ticket in queue if ticket.waits}
        assert self._weights.keys() <= found.keys() <= before.keys()
        assert all(before[number].nbytes == nbytes for number, nbytes in found.items())
        assert self.died >= 0
        assert not any(ticket.is_weak for queue in (self._strong, self._stubborn) for ticket in queue)
        assert all(ticket.is_weak for ticket in self._weak)

    def _look_into(self, queue: deque[_Ticket], is_spent: Callable[[], bool], *, blindly: bool) -> None:
        tries = 0
        for _ in range(min(len(queue), SIGNS_PER_LOOK)):
            try:
                ticket = queue.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                tries += self._see_to(ticket, blindly=blindly)
            finally:
                self._put_back(ticket, queue)
            if tries:
                blindly = self._interval == 0
                if tries == TRIES_PER_LOOK or is_spent():
                    return

    def _see_to(self, ticket: _Ticket, *, blindly: bool) -> bool:
        """Try a value if it is due. Returns whether it was tried."""
        cell = ticket.value_cell()
        if not cell:
            return False
        holders = _count(cell) - _SOLE
        if ticket.is_due(holders):
            self._try(ticket, cell, holders)
            return True
        if blindly and holders > ticket.own:
            # Use of a value may add references between its parts; then the sign never comes.
            freed = self._try(ticket, cell, holders)
            self._interval = self._interval // 2 if freed else min(2 * self._interval + 1, LONGEST_PAUSE)
            return True
        return False

    def _try_all(self, queue: deque[_Ticket]) -> bool:
        """Try each value of a queue. Returns whether one was free."""
        freed = False
        for _ in range(len(queue)):
            try:
                ticket = queue.popleft()
            except IndexError:  # another thread was faster
                break
            try:
                freed |= self._try_blindly(ticket)
            finally:
                self._put_back(ticket, queue)
        return freed

    def _try_blindly(self, ticket: _Ticket) -> bool:
        cell = ticket.value_cell()
        return bool(cell) and self._try(ticket, cell, _count(cell) - _SOLE)

    def _put_back(self, ticket: _Ticket, queue: deque[_Ticket]) -> None:
        if ticket.waits:
            (self._weak if ticket.is_weak else queue).append(ticket)
        else:
            ticket.leave()

    def _try(self, ticket: _Ticket, cell: list[object], holders: int) -> bool:
        """Have the breaker release a value. Returns whether it was free."""
        outcome = self._release(cell)
        if outcome is Outcome.HELD and cell:
            ticket.note_failure(holders)
            ticket.weaken()  # so that the value can die with its last other holder
        else:
            self.taken_apart += outcome is Outcome.FREED
            self.given_up += outcome is not Outcome.FREED
            ticket.leave()
        return outcome is Outcome.FREED

    def _release(self, cell: list[object]) -> Outcome:
        try:
            # Although the generic breaker does the same: the breaker may be the user's.
            return releases.release(functools.partial(self._breaker.release, cell))
        except Exception as error:
            report_failure(error)
            return Outcome.SKIPPED

    def _bound(self) -> None:
        """Weaken or give up the oldest values if too many wait by strong reference."""
        most_strong = _bound_within(self.budget, STRONG_BYTES)
        most_stubborn = _bound_within(self.budget, STUBBORN_BYTES)
        with suppress(IndexError):  # another thread was faster
            while len(self._strong) > MOST_STRONG or _bytes(self._strong.copy()) > most_strong:
                ticket = self._strong.popleft()
                (self._weak if ticket.weaken() else self._stubborn).append(ticket)
            while len(self._stubborn) > MOST_STUBBORN or _bytes(self._stubborn.copy()) > most_stubborn:
                ticket = self._stubborn.popleft()
                if not self._try_blindly(ticket) and ticket.waits:
                    self.given_up += 1
                    ticket.leave()

    def _forget_the_lost(self) -> None:
        """Remove the bytes of tickets that an interrupt has lost; their values are left to the collector.

        Such a ticket is gone. One that another thread has in hand is not.
        """
        for number, weight in self._weights.copy().items():
            if weight() is None:
                self._weights.pop(number, None)


def _bound_within(budget: int, most: int) -> int:
    return min(budget // STRONG_PART, most) if budget else most


_NBYTES = operator.attrgetter("nbytes")


def _bytes(items: Iterable[_Ticket | _Weight]) -> int:
    return sum(map(_NBYTES, items))
