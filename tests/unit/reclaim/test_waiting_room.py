"""Values that wait until they are free: with a breaker that the test controls, and with the exact one."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from typing import Any

import pytest

from dagcache.reclaim import waiting_room
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from dagcache.reclaim.waiting_room import (
    LONGEST_PAUSE,
    MOST_STRONG,
    MOST_STUBBORN,
    STRONG_BYTES,
    STUBBORN_BYTES,
    WaitingRoom,
    ticket_number,
)

pytestmark = pytest.mark.usefixtures("no_collector")


class Ring:
    """A value that refers to itself."""

    def __init__(self) -> None:
        self.me = self
        self.part = [self]


OWN = 2
"""A ring's references to itself."""


class Leaf:
    """A value without cycles."""


class Breaker:
    """Judges as a test says, and counts."""

    def __init__(self, outcome: Outcome = Outcome.HELD) -> None:
        self.outcome = outcome
        self.tried: list[int] = []

    def release(self, value_cell: list[object]) -> Outcome:
        """Keep it or let it go."""
        self.tried.append(id(value_cell[0]))
        if self.outcome is not Outcome.HELD:
            value_cell.clear()
        return self.outcome


def admit(room: WaitingRoom, value: Any, nbytes: int = 10) -> None:
    """Let a held value wait."""
    room.admit([value], nbytes, OWN if isinstance(value, Ring) else 0)


def alive() -> int:
    """Rings that are left."""
    return sum(type(item) is Ring for item in gc.get_objects())


@pytest.mark.parametrize("nbytes", [10, STRONG_BYTES + 1], ids=["by strong reference", "by weak reference"])
def test_a_value_goes_as_soon_as_its_holder_drops_it(nbytes: int) -> None:
    """At the next look."""
    room = WaitingRoom(GenericBreaker())
    held = Ring()
    admit(room, held, nbytes)
    room.look()
    assert (room.waiting_bytes, len(room), alive()) == (nbytes, 1, 1)
    del held
    room.look()
    assert (room.waiting_bytes, len(room), alive()) == (0, 0, 0)


def test_a_value_that_nobody_holds_does_not_wait() -> None:
    """It goes at once."""
    room = WaitingRoom(GenericBreaker())
    room.admit([Ring()], 10, OWN)
    assert (room.waiting_bytes, alive()) == (0, 0)


def test_a_value_of_unknown_references_is_tried_at_once() -> None:
    """As a value with a sign does."""
    room = WaitingRoom(GenericBreaker())
    room.admit([Ring()], 10, None)
    assert alive() == 0


def test_what_no_collector_tracks_does_not_wait() -> None:
    """It dies of its last reference."""
    breaker = Breaker()
    room = WaitingRoom(breaker)
    room.admit(["text"], 10, None)
    assert (len(room), breaker.tried) == (0, [])


def test_without_the_sign_nothing_is_tried() -> None:
    """Reading a reference count is all that it costs."""
    breaker = Breaker()
    room = WaitingRoom(breaker)
    held = Ring()
    admit(room, held)
    for _ in range(LONGEST_PAUSE - 1):
        room.look()
    assert breaker.tried == []
    assert held.me is held


def test_a_value_of_which_a_part_is_held_is_tried_ever_more_seldom() -> None:
    """The sign is there, and the census says no."""
    breaker = Breaker()
    room = WaitingRoom(breaker)
    room.admit([Ring()], 10, OWN)
    for _ in range(1000):
        room.look()
    assert 1000 / LONGEST_PAUSE < len(breaker.tried) < 1000 / LONGEST_PAUSE + 8
    breaker.outcome = Outcome.FREED
    for _ in range(LONGEST_PAUSE + 1):
        room.look()
    assert len(room) == 0


def test_a_value_that_refers_to_itself_more_often_than_when_it_came_goes_all_the_same() -> None:
    """Use may add such references; then the sign never comes, and some are tried without it."""
    room = WaitingRoom(GenericBreaker())
    for _ in range(500):
        value = Ring()
        admit(room, value)
        value.part += [value] * 3
        del value
        room.look()
    assert len(room) < 3 * LONGEST_PAUSE
    for _ in range(3 * LONGEST_PAUSE):
        room.look()
    assert (len(room), alive()) == (0, 0)


def test_values_that_are_held_for_long_do_not_hide_those_that_are_not() -> None:
    """However many they are; nothing is forgotten."""
    room = WaitingRoom(GenericBreaker())
    held = [Ring() for _ in range(300)]
    for number in range(len(held)):
        admit(room, held[number], STRONG_BYTES // 10)
    for _ in range(300):
        value = Ring()
        admit(room, value, STRONG_BYTES // 10)
        del value
        room.look()
        assert alive() < len(held) + 60
    del held, number
    for _ in range(400):
        room.look()
    assert (len(room), alive(), room.given_up) == (0, 0, 0)


def test_no_more_than_a_couple_go_in_one_look() -> None:
    """A lookup is not stopped for all that was dropped together."""
    room = WaitingRoom(GenericBreaker())
    held = [Ring() for _ in range(10)]
    for number in range(10):
        admit(room, held[number])
    held.clear()
    left = []
    for _ in range(5):
        room.look()
        left.append(alive())
    assert left == [8, 6, 4, 2, 0]


def test_only_the_newest_are_kept_alive() -> None:
    room = WaitingRoom(Breaker())
    held = [Ring() for _ in range(5)]
    for number in range(5):
        admit(room, held[number], STRONG_BYTES // 2)
    for ring in held:
        ring.part.clear()
        ring.me = None  # type: ignore[assignment]
    del held, ring
    assert alive() == 2
    assert room.waiting_bytes == STRONG_BYTES
    room.look()
    assert (len(room), alive()) == (0, 0)


def test_a_value_to_which_only_weak_references_lead_is_not_kept_alive() -> None:
    """The census finds a holder; then the value dies as it would without the room."""
    room = WaitingRoom(GenericBreaker())
    held = Leaf()
    watching = weakref.ref(held)
    admit(room, held)
    del held
    room.look()
    assert watching() is None


def test_the_newest_are_few_whatever_they_weigh() -> None:
    """Each look at the bytes goes over all of them."""
    room = WaitingRoom(Breaker())
    held = [Ring() for _ in range(MOST_STRONG + 10)]
    for ring in held:
        admit(room, ring, 0)
    assert len(room._strong) == MOST_STRONG
    assert len(room._weak) == 10


@pytest.mark.parametrize("nbytes", [0, STUBBORN_BYTES // 4])
def test_values_without_weak_references_wait_within_bounds(nbytes: int) -> None:
    """Beyond, the oldest are tried once more and left to the collector."""
    breaker = Breaker()
    room = WaitingRoom(breaker)
    held = [[number] for number in range(MOST_STRONG + MOST_STUBBORN + 50)]
    for value in held:
        admit(room, value, nbytes)
    kept = 4 if nbytes else MOST_STRONG + MOST_STUBBORN
    assert len(room) == kept
    assert room.given_up == len(breaker.tried) == len(held) - kept
    assert room.waiting_bytes == kept * nbytes


def test_what_cannot_be_taken_apart_is_given_up() -> None:
    """It is counted, and the collector's."""
    room = WaitingRoom(Breaker(Outcome.SKIPPED))
    room.admit([Ring()], 10, None)
    assert (len(room), room.given_up) == (0, 1)


def test_a_breaker_that_fails_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Without a traceback: it may fail at every lookup."""

    class Failing(Breaker):
        def release(self, value_cell: list[object]) -> Outcome:
            raise LookupError("secret")

    room = WaitingRoom(Failing())
    room.admit([Ring()], 10, None)
    (record,) = caplog.records
    assert "LookupError" in record.getMessage()
    assert "LookupError" in record.message
    assert "secret" not in record.message
    assert (len(room), room.given_up) == (0, 1)


def test_an_interrupt_loses_no_other_value() -> None:
    """The one that was in hand is left to the collector at worst."""

    class Interrupted(Breaker):
        def release(self, value_cell: list[object]) -> Outcome:
            raise KeyboardInterrupt

    room = WaitingRoom(GenericBreaker())
    held = [Ring(), Ring()]
    for number in range(2):
        admit(room, held[number])
    room._breaker = Interrupted()
    held.clear()
    with pytest.raises(KeyboardInterrupt):
        room.look()
    assert room.waiting_bytes == 20
    room._breaker = GenericBreaker()
    room.look()
    assert (len(room), alive()) == (0, 0)


def test_a_value_that_comes_in_twice_goes() -> None:
    """Its own waiting references do not hold it."""
    rooms = [WaitingRoom(GenericBreaker()), WaitingRoom(GenericBreaker())]
    held = Ring()
    for _ in range(2):
        for room in rooms:
            admit(room, held, 2 * STRONG_BYTES)
    del held
    for room in rooms:
        for _ in range(3):
            room.look()
    assert (alive(), sum(map(len, rooms))) == (0, 0)


def test_two_rooms_that_hold_a_value_let_it_go() -> None:
    """Each has it among its newest until that is no longer so."""
    rooms = [WaitingRoom(GenericBreaker()), WaitingRoom(GenericBreaker())]
    held = Ring()
    for room in rooms:
        admit(room, held)
    del held
    fillers = [Ring() for _ in range(MOST_STRONG)]
    for filler in fillers:
        admit(rooms[0], filler)
    del fillers, filler
    for _ in range(MOST_STRONG):
        for room in rooms:
            room.look()
    assert alive() == 0


class Emptied(deque[Any]):
    """A queue that another thread empties between a look at it and the next step."""

    def __len__(self) -> int:
        return 99


def test_what_another_thread_has_fetched_is_left_to_it() -> None:
    """Several threads look at once."""
    breaker = Breaker()
    room = WaitingRoom(breaker)
    room._strong = Emptied()
    room._queues = (room._strong, room._weak, room._stubborn)
    room.look()
    room._bound()
    assert breaker.tried == []


class Overtaken(deque[Any]):
    """A queue from which a thread takes a ticket, and is then overtaken by others, which look."""

    def __init__(self, room: WaitingRoom) -> None:
        super().__init__(room._strong)
        self._room = room

    def popleft(self) -> Any:
        """The first one, after two looks of others."""
        taken = super().popleft()
        for _ in range(2):
            self._room.look()
        return taken


def test_what_a_thread_has_in_hand_keeps_its_bytes_however_often_others_look() -> None:
    """From the moment at which it is no longer in the queue."""
    room = WaitingRoom(Breaker())
    held = Ring()
    admit(room, held)
    room._strong = Overtaken(room)
    room._queues = (room._strong, room._weak, room._stubborn)
    room.look()
    assert (room.waiting, room.waiting_bytes, len(room)) == (1, 10, 1)
    room.check_invariants()


class Collecting(deque[Any]):
    """An empty queue. The collector runs when it is read."""

    def __iter__(self) -> Any:
        gc.collect()
        return super().__iter__()


def test_a_value_may_die_during_the_check() -> None:
    """The collector runs at any time."""
    room = WaitingRoom(Breaker())
    held = [Ring(), Ring()]
    for number in range(2):
        admit(room, held[number], 2 * STRONG_BYTES)
    del held[0]
    room._queues = (room._weak, Collecting())  # type: ignore[assignment]
    room.check_invariants()
    assert (room.waiting, len(room._weak)) == (1, 2)


def test_the_check_finds_bytes_without_a_ticket_and_tickets_without_bytes() -> None:
    """Otherwise it would show nothing."""
    room = WaitingRoom(Breaker())
    held = [Ring(), Ring()]
    for ring in held:
        admit(room, ring)
    taken = room._strong.pop()
    with pytest.raises(AssertionError):
        room.check_invariants()
    room._strong.append(taken)
    room.check_invariants()
    weight = room._weights.pop(taken.number)
    with pytest.raises(AssertionError):
        room.check_invariants()
    room._weights[taken.number] = weight
    weight.nbytes += 1
    with pytest.raises(AssertionError):
        room.check_invariants()


def test_the_bounds_are_those_that_are_told() -> None:
    """The most bytes of garbage that may wait in the host's memory."""
    assert (waiting_room.STRONG_BYTES, waiting_room.STUBBORN_BYTES) == (2 * 2**20, 16 * 2**20)


def test_strong_references_keep_to_a_quarter_of_the_budget() -> None:
    """Beside a small budget two MiB would be absurd; a budget of 0 has no quarter."""
    strong = []
    for budget in (0, 400, 40_000_000):
        room = WaitingRoom(Breaker(), budget)
        held = [Ring() for _ in range(30)]
        for ring in held:
            admit(room, ring, 10)
        strong.append(len(room._strong))
        room.check_invariants()
    assert strong == [30, 10, 30]


def test_a_smaller_budget_is_kept_from_the_next_call_on() -> None:
    """The oldest wait by weak reference then."""
    room = WaitingRoom(Breaker())
    held = [Ring() for _ in range(30)]
    for ring in held:
        admit(room, ring, 10)
    room.budget = 400
    room.empty()
    assert (len(room._strong), room.waiting_bytes) == (0, 300)  # each was tried, and is held
    room.check_invariants()


def test_everything_that_is_free_goes_when_all_is_to_go() -> None:
    """However long ago the last try was, and without a sign."""
    room = WaitingRoom(GenericBreaker())
    held = [Ring() for _ in range(50)]
    for ring in held:
        admit(room, ring, STRONG_BYTES // 10)
        ring.part += [ring] * 3
    kept = held[::10]
    held.clear()
    del ring
    room.empty()
    assert (room.waiting, room.taken_apart, alive()) == (len(kept), 45, 5)
    room.check_invariants()


def test_every_value_is_counted_once() -> None:
    """Taken apart, dead, given up, or waiting."""
    room = WaitingRoom(GenericBreaker())
    held = [Ring(), Leaf(), Ring()]
    for number in range(3):
        admit(room, held[number], 2 * STRONG_BYTES)
    room.admit(["text"], 10, None)
    assert (room.taken_apart, room.died, room.given_up, room.waiting) == (0, 1, 0, 3)
    del held[1]
    assert (room.taken_apart, room.died, room.given_up, room.waiting) == (0, 2, 0, 2)
    del held[0]
    room.look()
    assert (room.taken_apart, room.died, room.given_up, room.waiting) == (1, 2, 0, 1)
    room._breaker = Breaker(Outcome.SKIPPED)
    held.clear()
    room.empty()
    assert (room.taken_apart, room.died, room.given_up, room.waiting) == (1, 2, 1, 0)
    room.check_invariants()


def test_a_look_that_has_no_time_left_takes_one_value_of_a_kind_apart() -> None:
    """The rest waits for the next one."""
    room = WaitingRoom(GenericBreaker())
    held = [Ring() for _ in range(10)]
    for number in range(10):
        admit(room, held[number])
    held.clear()
    room.look(lambda: True)
    assert alive() == 9


def test_bytes_of_a_ticket_that_an_interrupt_has_lost_are_forgotten() -> None:
    """At the next look."""
    room = WaitingRoom(Breaker())
    held = Ring()
    admit(room, held)
    room._strong.clear()
    assert room.waiting_bytes == 10
    room.look()
    assert room.waiting_bytes == 0
    assert room.is_empty


class Unreferable(list[Any]):
    """A value without weak references."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("kind", "nbytes"),
    [(Ring, 10), (Ring, STRONG_BYTES + 1), (Unreferable, STRONG_BYTES + 1)],
    ids=["by strong reference", "by weak reference", "without weak references"],
)
def test_a_waiting_value_is_found_by_its_number_and_waits_on(kind: type, nbytes: int) -> None:
    room, number, value = WaitingRoom(Breaker()), ticket_number(), kind()
    room.admit([value], nbytes, 0, number)
    for _ in range(2):
        assert room.find(number) == [value]
        assert (len(room), room.waiting_bytes, room.died) == (1, nbytes, 0)
        room.check_invariants()


def test_a_value_that_is_gone_is_not_found() -> None:
    """Taken apart, or dead by itself; and another number finds nothing."""
    room, numbers = WaitingRoom(GenericBreaker()), [ticket_number() for _ in range(3)]
    held: list[Any] = [Ring(), Leaf()]
    room.admit([held[0]], STRONG_BYTES + 1, OWN, numbers[0])
    room.admit([held[1]], STRONG_BYTES + 1, 0, numbers[1])
    assert [len(room.find(number)) for number in numbers] == [1, 1, 0]
    held.clear()
    room.look()
    assert [room.find(number) for number in numbers] == [[], [], []]
    assert alive() == 0


def test_a_value_is_not_found_while_it_may_be_taken_apart() -> None:
    """A lookup in another thread would return a graph that is about to be emptied."""
    number = ticket_number()

    class Interrupted(Breaker):
        def release(self, value_cell: list[object]) -> Outcome:
            assert room.find(number) == []
            return super().release(value_cell)

    breaker = Interrupted()
    room = WaitingRoom(breaker)
    room.admit([Ring()], 10, OWN, number)
    for _ in range(LONGEST_PAUSE):
        room.look()
    room.empty()
    assert len(breaker.tried) > 3
    assert len(room.find(number)) == 1


def test_a_value_that_was_found_is_not_taken_apart_before_its_finder_drops_it() -> None:
    room, number = WaitingRoom(GenericBreaker()), ticket_number()
    held: list[Any] = [Ring()]
    room.admit(held.copy(), 10, OWN, number)
    found = room.find(number)
    held.clear()
    room.look()
    room.empty()
    assert vars(found[0])["me"] is found[0]
    found.clear()
    room.look()
    assert (len(room), alive()) == (0, 0)
