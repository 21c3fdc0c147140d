"""The side work of a call: expiry, disposal and listeners, limited by time and not by number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dagcache import DagCache, EntryInfo, RemovalCause
from dagcache.concurrency.allowance import LOOKUP_SECONDS, VIEW_SECONDS, Allowance, never
from dagcache.core.disposal import Disposer
from dagcache.core.entry import Candidate, Entry, LiveCopy
from dagcache.core.released import Released
from dagcache.reclaim.breaker import Outcome
from tests.support import probe
from tests.support.caches import KIB, MIB, Removals, Unfreezable, Weighted, fill, make_cache
from tests.support.clock import ManualClock

ENTRIES = 500
PIECE = LOOKUP_SECONDS / 10
"""The seconds to take a value apart, in these tests."""
SLACK = 4 * LOOKUP_SECONDS
"""A call asks for the time between two pieces, and each of its turns under the lock may dispose for its own time."""


class Slow:
    """A breaker, or a listener, that takes time on its own timer, and counts its work."""

    def __init__(self, seconds: float = PIECE) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.done = 0

    def timer(self) -> float:
        """The time, seconds."""
        return self.now

    def work(self, *_: object) -> None:
        """Do one piece."""
        self.now += self.seconds
        self.done += 1

    def release(self, value_cell: list[object]) -> Outcome:
        """Take a value apart."""
        self.work()
        value_cell.clear()
        return Outcome.FREED


def night(slow: Slow, **settings: Any) -> tuple[DagCache[Any, Any], ManualClock]:
    """A cache in which very many entries have just expired, and one that is in use."""
    settings.setdefault("breaker", slow)
    cache, clock = make_cache(ttl=100, **settings)
    probe.time_upkeep(cache, slow.timer)
    fill(cache, range(ENTRIES), KIB)
    clock.advance(90)
    fill(cache, ["busy"], KIB)
    clock.advance(11)
    slow.done, slow.now = 0, 0.0
    return cache, clock


def load_all(keys: list[object]) -> dict[object, Weighted]:
    """A load of many."""
    return {key: Weighted(key) for key in keys}


async def load_later(key: object) -> Weighted:
    """A load in an event loop."""
    return Weighted(key)


CHANGES: dict[str, Callable[[DagCache[Any, Any]], object]] = {
    "hit": lambda cache: cache.get("busy"),
    "lookup of nothing": lambda cache: cache.get("none"),
    "lookup of what is expired": lambda cache: cache.get(7),
    "load": lambda cache: cache.get_or_load("new", Weighted),
    "failed load": lambda cache: cache.get_or_load("new", lambda _: None),
    "load of many": lambda cache: cache.get_or_load_many(["busy", "new"], load_all),
    "load in an event loop": lambda cache: asyncio.run(cache.aget_or_load("new", load_later)),
    "private copy": lambda cache: cache.fetch("busy", private=True),
    "assignment": lambda cache: cache.__setitem__("new", Weighted("new", KIB)),
    "deletion": lambda cache: cache.__delitem__("busy"),
    "pop": lambda cache: cache.pop("busy"),
    "default": lambda cache: cache.setdefault("new", Weighted("new")),
    "invalidation": lambda cache: cache.invalidate("busy"),
}
VIEWS: dict[str, Callable[[DagCache[Any, Any]], object]] = {
    "stats": lambda cache: cache.stats(),
    "len": len,
    "iter": iter,
    "popped item": lambda cache: cache.popitem(),
    "entries": lambda cache: cache.entries(),
}
WHOLE: dict[str, Callable[[DagCache[Any, Any]], object]] = {
    "expire": lambda cache: cache.expire(),
    "clear": lambda cache: cache.clear(),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_lookup_or_a_change_spends_no_more_than_its_time_on_what_has_expired(how: str) -> None:
    slow = Slow()
    cache, _ = night(slow)
    CHANGES[how](cache)
    assert slow.now <= LOOKUP_SECONDS + SLACK
    assert slow.done < ENTRIES / 5
    cache.check_invariants()


@pytest.mark.parametrize("how", VIEWS)
def test_a_look_at_the_whole_cache_spends_no_more_than_its_time(how: str) -> None:
    """A few milliseconds: a scrape is not cut off."""
    slow = Slow()
    cache, _ = night(slow)
    VIEWS[how](cache)
    assert VIEW_SECONDS <= slow.now <= VIEW_SECONDS + SLACK
    cache.check_invariants()


@pytest.mark.parametrize("how", VIEWS)
def test_a_look_at_the_whole_cache_spends_its_time_on_values_that_earlier_calls_left(how: str) -> None:
    """Nothing expires any more; the disposal has all the time of the call, not only that of a lookup."""
    slow = Slow(LOOKUP_SECONDS)
    cache, _ = night(slow)
    for _ in range(ENTRIES // 4):  # each of them expires some entries, and has time for one or two values
        cache.get("none")
    slow.seconds, slow.now = PIECE, 0.0
    VIEWS[how](cache)
    assert VIEW_SECONDS <= slow.now <= VIEW_SECONDS + SLACK
    cache.check_invariants()


@pytest.mark.parametrize("how", WHOLE)
def test_a_call_that_is_to_remove_everything_does(how: str) -> None:
    """It takes as long as it takes."""
    slow = Slow()
    cache, _ = night(slow)
    WHOLE[how](cache)
    assert slow.done >= ENTRIES
    assert cache.stats().waiting_bytes == 0
    cache.check_invariants()


def test_expire_says_how_many_entries_it_removed() -> None:
    cache, _ = night(Slow())
    assert cache.expire() == ENTRIES


@pytest.mark.parametrize("how", ["hit", "stats"])
def test_many_calls_see_to_everything(how: str) -> None:
    """A bit each; the last of them find nothing left."""
    slow = Slow()
    cache, clock = night(slow)
    for _ in range(ENTRIES):
        (CHANGES | VIEWS)[how](cache)
        clock.advance(0.06)  # hits in quick succession are not noted
    assert slow.done == ENTRIES
    assert list(probe.entries(cache)) == ["busy"]
    assert cache.stats().waiting_bytes == 0


def test_what_has_expired_is_neither_served_nor_listed_while_it_waits_for_its_turn() -> None:
    """In no view of the mapping."""
    cache, _ = night(Slow(VIEW_SECONDS))
    assert len(cache) == 1
    assert list(cache) == ["busy"]
    assert [info.key for info in cache.entries()] == ["busy"]
    assert [key for key, _ in cache.items()] == ["busy"]
    assert ENTRIES - 1 not in cache
    assert cache.get(ENTRIES - 1) is None
    assert len(probe.entries(cache)) > ENTRIES / 2
    cache.check_invariants()


def test_the_ledger_has_what_is_held_until_it_is_freed() -> None:
    """The bytes of expired entries are resident or waiting, and move from one to the other."""
    slow = Slow()
    cache, _ = night(slow)
    before = probe.resident_bytes(cache)
    for _ in range(10):
        stats = cache.stats()
        freed = before - stats.total_bytes
        assert stats.entries < ENTRIES
        assert freed == pytest.approx(slow.done * before / (ENTRIES + 1), rel=0.1)
    assert freed > 0


def test_a_slow_listener_does_not_stop_a_lookup_for_all_that_has_expired() -> None:
    """Each call reports a few."""
    slow, removals = Slow(), Removals()

    def listen(*args: Any) -> None:
        slow.work()
        removals(*args)

    cache, _ = night(slow, breaker=None, on_removal=listen)
    cache.get("busy")
    assert 0 < len(removals.told) < ENTRIES / 5
    cache.expire()
    assert len(removals.told) == ENTRIES == len(removals.causes())


def test_a_listener_that_uses_the_cache_is_not_called_within_its_own_call() -> None:
    """However much is due: the disposal that called it goes on with that."""
    depth, depths = 0, []

    def listen(info: EntryInfo[Any], _: RemovalCause) -> None:
        nonlocal depth
        depth += 1
        depths.append(depth)
        cache["new", info.key] = Weighted("new", KIB)
        cache.get(-1)
        len(cache)
        depth -= 1

    slow = Slow()
    cache, _ = night(slow, on_removal=listen)
    for _ in range(3):
        cache.get("busy")
    cache.clear()
    assert set(depths) == {1}
    assert len(depths) > ENTRIES
    cache.check_invariants()


def removals(*keys: str) -> Released:
    """The released entries of an eviction of these keys: live entries of ten bytes."""
    released = Released()
    for key in keys:
        entry = Entry(Candidate(key=key, value=None, live_bytes=10), 0.0)
        entry.live = LiveCopy(entry, [key], 10, 1.0, None)
        released.entries.append((entry, RemovalCause.SIZE))
    return released


def test_a_burial_stops_after_the_entry_at_which_it_is_enough() -> None:
    """The rest is due, in the order of removal, and its bytes are in the ledger."""
    slow, heard = Slow(), Removals()
    disposer = Disposer(breaker=slow, on_removal=heard)
    disposer.take(removals("a", "b", "c"), 0.0)
    disposer.take(removals("d"), 0.0)
    disposer_bytes = disposer.due_bytes
    seen = []
    while disposer.is_due:
        disposer.dispose(lambda: True)
        disposer.check_invariants()
        seen.append((slow.done, [info.key for info, _ in heard.told][-1], disposer.due_bytes))
    each = disposer_bytes // 4
    assert seen == [(1, "a", 3 * each), (2, "b", 2 * each), (3, "c", each), (4, "d", 0)]


def test_a_burial_within_a_burial_leaves_everything_to_the_outer_one() -> None:
    """However many changes have left something: a listener that changes the cache does not call itself."""
    depth, depths = 0, []

    def listen(*_: object) -> None:
        nonlocal depth
        depth += 1
        depths.append(depth)
        disposer.dispose()
        depth -= 1

    disposer = Disposer(breaker=None, on_removal=listen)
    for key in ("a", "b", "c"):
        disposer.take(removals(key), 0.0)
    disposer.dispose()
    assert depths == [1, 1, 1]
    assert not disposer.is_disposing


def test_a_burial_of_which_an_interrupt_has_left_the_mark_hinders_no_other() -> None:
    """Whether there is one is seen from the stack."""
    slow = Slow()
    disposer = Disposer(breaker=slow, on_removal=None)
    disposer._here.is_disposing = True
    disposer.take(removals("a"), 0.0)
    disposer.dispose()
    assert slow.done == 1


def test_what_is_over_the_budget_is_buried_whatever_that_takes() -> None:
    """A call gives back the memory of all values that it displaced for a newcomer."""
    slow = Slow(1.0)
    cache, clock = make_cache(max_bytes=MIB, freezer=None, breaker=slow)
    probe.time_upkeep(cache, slow.timer)
    for key in range(30):
        clock.advance(10)
        cache[key] = Weighted(key, 20 * KIB)
    for key in range(100, 103):
        for _ in range(3):
            clock.advance(10)
            cache.get_or_load(key, lambda key: Unfreezable(key, 400 * KIB))
            stats = cache.stats()
            assert stats.total_bytes <= MIB
            cache.check_invariants()


def test_an_allowance_is_spent_when_its_seconds_have_passed() -> None:
    """By the timer that it was given."""
    slow = Slow(0.5)
    allowance = Allowance(1.0, slow.timer)
    seen = [allowance.is_spent()]
    for _ in range(2):
        slow.work()
        seen.append(allowance.is_spent())
    assert (seen, never()) == ([False, False, True], False)
