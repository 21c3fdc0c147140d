"""The disposer alone, with a breaker that records its values."""

from __future__ import annotations

from collections import deque
from typing import Any

from dagcache.core.disposal import Disposer
from dagcache.core.entry import Candidate, Entry, LiveCopy
from dagcache.core.released import Rejected, Released
from dagcache.reclaim.breaker import Outcome
from dagcache.stats import RemovalCause
from tests.support.caches import Removals


class Breaker:
    """Takes apart by writing down."""

    def __init__(self) -> None:
        self.released: list[object] = []

    def release(self, value_cell: list[object]) -> Outcome:
        """Write down."""
        self.released.append(value_cell.pop())
        return Outcome.FREED


def live_copy(value: object) -> LiveCopy:
    """A copy that left, of five bytes."""
    return LiveCopy(Entry(Candidate(key="a", value=None, live_bytes=5), 0.0), value, 5, 1.0, None)


def test_what_left_is_taken_apart_at_the_burial_and_counts_as_waiting_before() -> None:
    """Copies that were evicted, and values that were served and not kept."""
    breaker = Breaker()
    disposer = Disposer(breaker=breaker, on_removal=None)
    copy = live_copy(["a"])
    disposer.take(Released(demoted=[copy], rejected=[Rejected(["b"], 7, None)]), 0.0)
    assert disposer.waiting_bytes == copy.nbytes + 7
    del copy  # the disposal leaves a copy that is in use its value
    disposer.dispose()
    assert disposer.waiting_bytes == 0
    assert breaker.released == [["a"], ["b"]]


def test_a_copy_that_a_lookup_has_just_found_keeps_its_value() -> None:
    """The lookup is about to return it."""
    disposer = Disposer(breaker=Breaker(), on_removal=None)
    copies = [live_copy(["a"]), live_copy(["b"])]
    found = copies[0]
    disposer.take(Released(demoted=copies), 0.0)
    disposer.dispose()
    assert found.value == ["a"]


def test_without_a_breaker_nothing_waits() -> None:
    """There is nothing to be done about it."""
    disposer = Disposer(breaker=None, on_removal=None)
    disposer.take(Released(demoted=[live_copy(["a"])], rejected=[Rejected(["b"], 7, None)]), 0.0)
    disposer.dispose()
    assert (disposer.waiting_bytes, disposer.is_awaited, disposer.unbroken_cycles) == (0, False, 0)


class Emptied(deque[Any]):
    """A queue that another thread empties between a look at it and the next step."""

    def __len__(self) -> int:
        return 99

    def __bool__(self) -> bool:
        return True


def test_what_another_thread_has_fetched_is_left_to_it() -> None:
    """Several threads dispose at once; each thing is disposed of once."""
    breaker = Breaker()
    disposer = Disposer(breaker=breaker, on_removal=None)
    disposer._due = Emptied()
    disposer.dispose()
    assert not breaker.released


def test_a_report_says_what_the_entry_was_and_why_it_left() -> None:
    """As of the time at which it left."""
    removals = Removals()
    disposer = Disposer(breaker=None, on_removal=removals)
    entry = Entry(Candidate(key="a", value="value", live_bytes=7), 100.0)
    disposer.take(Released(entries=deque([(entry, RemovalCause.STALE)])), 130.0)
    due = [disposer.is_due]
    disposer.dispose()
    due.append(disposer.is_due)
    assert due == [True, False]
    ((info, cause),) = removals.told
    assert (info.key, info.idle_seconds, cause) == ("a", 30.0, RemovalCause.STALE)
