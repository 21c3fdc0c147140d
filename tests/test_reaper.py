"""What left is destroyed and reported: by itself, with a breaker that writes down what it gets."""

from __future__ import annotations

import gc
from collections import deque
from typing import Any

import pytest

from dagcache.entry import Arrival, Entry
from dagcache.reaper import Reaper
from dagcache.reclaim import CycleBreaker, Outcome
from dagcache.stats import RemovalCause
from dagcache.store import Leavings
from tests.support.caches import Removals, automatic_gc_off


class Breaker:
    """Takes apart by writing down."""

    def __init__(self) -> None:
        self.released: list[tuple[object, object]] = []
        self.free: dict[object, bool | None] = {}

    def arm(self, value: object) -> object:
        """Remember nothing."""
        return None

    def seems_free(self, cell: list[object], token: object) -> bool | None:
        """As a test has it."""
        return self.free.get(cell[0])

    def release(self, cell: list[object], token: object) -> Outcome:
        """Write down."""
        self.released.append((cell.pop(), token))
        return Outcome.FREED


def make_reaper(breaker: CycleBreaker | None) -> Reaper:
    """A reaper that nobody listens to."""
    return Reaper(breaker=breaker, on_removal=None)


def pass_by(reaper: Reaper, *values: object) -> None:
    """Values that were served and not kept, one after the other."""
    for value in values:
        reaper.take(Leavings(passed=[(value, f"token of {value}")]), 0.0)
        reaper.bury()


def test_values_that_passed_are_taken_apart_when_others_have_come() -> None:
    """With the automatic collector off by the host's wish; the last two may still be held by their callers."""
    breaker = Breaker()
    with automatic_gc_off():
        pass_by(make_reaper(breaker), "a", "b", "c", "d")
    assert breaker.released == [("a", "token of a"), ("b", "token of b")]


def test_values_that_passed_are_the_collectors_where_it_runs() -> None:
    """If nobody can tell whether they are still held; also those from before it was switched on again."""
    breaker = Breaker()
    reaper = make_reaper(breaker)
    with automatic_gc_off():
        pass_by(reaper, "a", "b")
    assert gc.isenabled()
    pass_by(reaper, "c")
    assert not breaker.released
    assert not reaper._passed


def test_values_that_passed_are_taken_apart_once_their_callers_have_dropped_them() -> None:
    """Whether the automatic collector runs or not, and in whatever order they are dropped."""
    breaker = Breaker()
    breaker.free = dict.fromkeys("abcd", False)
    reaper = make_reaper(breaker)
    pass_by(reaper, "a", "b", "c")
    assert not breaker.released
    breaker.free["b"] = True
    pass_by(reaper, "d")
    assert breaker.released == [("b", "token of b")]
    assert [cell for cell, _ in reaper._passed] == [["a"], ["c"], ["d"]]


def test_no_more_than_two_are_taken_apart_at_once() -> None:
    """A scheduler drops the DAGs of a whole loop together: what dies should balance what the next ones bring."""
    breaker = Breaker()
    breaker.free = dict.fromkeys(range(10), False)
    reaper = make_reaper(breaker)
    pass_by(reaper, *range(6))
    breaker.free.update(dict.fromkeys(range(6), True))
    for number, released in enumerate([2, 4, 6, 6], start=6):
        pass_by(reaper, number)
        assert len(breaker.released) == released


def test_values_that_are_held_for_long_are_left_to_the_collector() -> None:
    """No more than a few dozen are remembered: what a caller keeps for ever must not be looked at for ever."""
    breaker = Breaker()
    breaker.free = dict.fromkeys(range(100), False)
    reaper = make_reaper(breaker)
    pass_by(reaper, *range(100))
    assert [cell for cell, _ in reaper._passed] == [[number] for number in range(68, 100)]
    assert not breaker.released


def test_a_breaker_that_fails_to_look_costs_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """The value is left to the collector."""
    breaker = Breaker()
    breaker.free = None  # type: ignore[assignment]
    reaper = make_reaper(breaker)
    pass_by(reaper, "a")
    assert "the cycle breaker failed" in caplog.text
    assert not reaper._passed


def test_without_a_breaker_values_that_passed_are_not_held() -> None:
    """There is nothing to be done about them."""
    reaper = make_reaper(None)
    with automatic_gc_off():
        pass_by(reaper, "a", "b", "c", "d")
    assert not reaper._passed


class Emptied(deque[Any]):
    """A queue that another thread empties between a look at it and the next step."""

    def __len__(self) -> int:
        return 99

    def __bool__(self) -> bool:
        return True


@pytest.mark.parametrize("queue", ["_due", "_passed"])
def test_what_another_thread_has_fetched_is_left_to_it(queue: str) -> None:
    """Several threads bury at once; each thing is buried once."""
    breaker = Breaker()
    reaper = make_reaper(breaker)
    with automatic_gc_off():
        reaper._due.append((Leavings(passed=[("a", None)]), 0.0))
        if queue == "_passed":
            reaper._passed = _Swallowing()
        else:
            reaper._due = Emptied()
        reaper.bury()
    assert not breaker.released


class _Swallowing(Emptied):
    def append(self, item: Any) -> None:
        """Gone at once."""


def test_a_report_says_what_the_entry_was_and_why_it_left() -> None:
    """As of the time at which it left."""
    removals = Removals()
    reaper = Reaper(breaker=None, on_removal=removals)
    entry = Entry(Arrival(key="a", value="value", live_bytes=7), 100.0)
    reaper.take(Leavings(removed=deque([(entry, RemovalCause.STALE)])), 130.0)
    due = [reaper.is_due]
    reaper.bury()
    due.append(reaper.is_due)
    assert due == [True, False]
    ((info, cause),) = removals.told
    assert (info.key, info.idle_seconds, cause) == ("a", 30.0, RemovalCause.STALE)
