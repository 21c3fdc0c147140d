"""Waiting values in the ledger: their bytes, their share of the budget, and their end."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.core.ledger import HELD_PART
from dagcache.pressure import MemoryPressure
from tests.support import probe
from tests.support.caches import KIB, MIB, Unfreezable, Weighted, fill, make_cache
from tests.support.clock import ManualClock
from tests.support.graphs import Dag, make_dag
from tests.support.rings import Ring, rings

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")

NBYTES = 100 * KIB


class RingList(list[Any]):
    """As `Ring`, without weak references."""

    __slots__ = ("nbytes",)

    def __init__(self, nbytes: int) -> None:
        super().__init__([self])
        self.nbytes = nbytes


def total_within_budget(cache: DagCache[Any, Any]) -> bool:
    """Whether everything fits, except bytes that callers hold beyond their share."""
    stats = cache.stats()
    resident = stats.total_bytes - stats.waiting_bytes
    return resident + min(stats.waiting_bytes, stats.max_bytes // HELD_PART) <= stats.max_bytes


def test_residents_make_room_for_what_a_caller_holds() -> None:
    """Both are in the process's memory."""
    cache, clock = make_cache(max_bytes=2 * MIB)
    fill(cache, range(100, 119))
    held = waiting_values(cache, 4)
    for key in range(60):
        clock.advance(10)
        fill(cache, [key])
        cache.check_invariants()
        stats = cache.stats()
        assert stats.waiting_bytes == len(held) * NBYTES
        assert stats.total_bytes <= stats.max_bytes
    assert stats.live_entries == 19 - len(held)


@pytest.mark.parametrize("resized", [False, True])
def test_the_room_is_the_residents_again_when_the_caller_drops_it(resized: bool) -> None:
    """Not immediately, because the next session may hold as much; unless the budget is set again."""
    cache, clock = make_cache(max_bytes=MIB)

    def live_after_laps(laps: int) -> int:
        for key in range(20 * laps):
            clock.advance(10)
            fill(cache, [key % 20])
        cache.check_invariants()
        return cache.stats().live_entries

    held = waiting_values(cache, 2)
    few = live_after_laps(2)
    held.clear()
    if resized:
        cache.resize(MIB)
    else:
        assert live_after_laps(1) == few
    assert live_after_laps(2 if resized else 60) == few + 2


def test_a_caller_that_holds_very_much_does_not_empty_the_cache() -> None:
    """Evicting does not free what is held: three quarters stay with the residents, and all is reported."""
    cache, clock = make_cache(max_bytes=MIB)
    held = []
    for key in range(100):
        clock.advance(10)
        held.append(cache.get_or_load(key, Ring))
        cache.check_invariants()
        assert total_within_budget(cache)
    stats = cache.stats()
    resident = stats.total_bytes - stats.waiting_bytes
    assert stats.waiting_bytes == (len(held) - stats.live_entries) * NBYTES > stats.max_bytes
    assert 0.6 * stats.max_bytes < resident < 0.75 * stats.max_bytes
    assert stats.entries == 100


def test_an_observing_cache_evicts_nothing_for_what_is_held() -> None:
    """It accounts."""
    cache, _ = make_cache(max_bytes=MIB, mode="observe")
    held = [cache.get_or_load(key, Ring) for key in range(20)]
    cache.clear()
    fill(cache, range(20))
    assert (cache.stats().live_entries, cache.stats().waiting_bytes) == (20, len(held) * NBYTES)


def test_large_values_are_not_kept_alive_beyond_a_part_of_the_budget() -> None:
    """For any number: 64 values of ten MiB would be 640 MiB beside a budget of one."""
    cache, _ = make_cache(max_bytes=MIB, freezer=None)
    for key in range(64):
        cache.get_or_load(key, lambda _: Ring("large", 10 * MIB))
    assert cache.stats().waiting_bytes == 0
    assert rings() == 0


def large_lists(cache: DagCache[Any, Any]) -> list[RingList]:
    """Values without weak references, held, each of them larger than the share of the budget in which these wait."""
    return [cache.get_or_load(key, lambda _: RingList(10 * MIB)) for key in range(64)]


def test_large_values_without_weak_references_are_left_to_their_holders_and_counted() -> None:
    """The cache has no reference to them, so it cannot account for them either."""
    cache, _ = make_cache(max_bytes=MIB, freezer=None)
    held = large_lists(cache)
    stats = cache.stats()
    assert stats.unbroken_cycles == len(held) == 64
    assert (stats.waiting, stats.waiting_bytes, stats.live_bytes) == (0, 0, 0)
    assert not [each for each in gc.get_referrers(held[0]) if each is not held and each is not held[0]]
    cache.check_invariants()


def test_the_collector_frees_large_values_without_weak_references() -> None:
    """The cache left them to it."""
    cache, _ = make_cache(max_bytes=MIB, freezer=None)
    held = large_lists(cache)
    held.clear()
    assert sum(type(item) is RingList for item in gc.get_objects()) == 64
    gc.collect()
    assert sum(type(item) is RingList for item in gc.get_objects()) == 0
    assert cache.stats().unbroken_cycles == 64


@pytest.mark.parametrize("kind", [Ring, RingList], ids=["weak references", "none"])
def test_strong_references_of_the_cache_take_no_more_than_a_quarter_of_the_budget(kind: Any) -> None:
    """Of each kind, of values of any size."""
    for nbytes in (10 * KIB, 100 * KIB, MIB):
        cache, _ = make_cache(max_bytes=MIB, freezer=None)
        held = [kind(nbytes) if kind is RingList else kind(number, nbytes) for number in range(64)]
        for value in held:
            cache["a"] = value
            cache.pop("a", None)
        for queue in probe.strongly_waiting(cache):
            assert sum(ticket.nbytes for ticket in queue) <= MIB // 4
        cache.check_invariants()


Look = Callable[[DagCache[Any, Any], ManualClock], object]


def _press(cache: DagCache[Any, Any], _: ManualClock) -> None:
    MemoryPressure(cache, limit=lambda: 100 * MIB, resident=lambda: 99 * MIB).step()


def _many_weighted(keys: list[Any]) -> dict[Any, Weighted]:
    return {key: Weighted(key) for key in keys}


async def _weighted(key: object) -> Weighted:
    return Weighted(key)


LOOKS: dict[str, Look] = {
    "a miss": lambda cache, _: cache.get("none"),
    "a load": lambda cache, _: cache.get_or_load("new", Weighted),
    "a load of many": lambda cache, _: cache.get_or_load_many(["new"], _many_weighted),
    "a load of a task": lambda cache, _: asyncio.run(cache.aget_or_load("new", _weighted)),
    "a thaw": lambda cache, _: cache.fetch("live", private=True),
    "an assignment": lambda cache, _: cache.__setitem__("new", Weighted("new")),
    "a default": lambda cache, _: cache.setdefault("new", Weighted("new")),
    "a deletion": lambda cache, _: cache.__delitem__("live"),
    "pop": lambda cache, _: cache.pop("live"),
    "popitem": lambda cache, _: cache.popitem(),
    "invalidate": lambda cache, _: cache.invalidate("live"),
    "stats": lambda cache, _: cache.stats(),
    "len": lambda cache, _: len(cache),
    "iter": lambda cache, _: iter(cache),
    "entries": lambda cache, _: cache.entries(),
    "expire": lambda cache, _: cache.expire(),
    "clear": lambda cache, _: cache.clear(),
    "resize": lambda cache, _: cache.resize("9MiB"),
    "memory pressure": _press,
}


def waiting_values(cache: DagCache[Any, Any], number: int) -> list[Any]:
    """Values that left while they were held."""
    held = [cache.get_or_load(key, Ring) for key in range(number)]
    for key in range(number):
        del cache[key]
    assert cache.stats().waiting == number
    return held


@pytest.mark.parametrize("how", LOOKS)
def test_every_path_but_a_plain_hit_looks_after_what_waits(how: str) -> None:
    cache, clock = make_cache(max_bytes=8 * MIB)
    fill(cache, ["live"])
    held = waiting_values(cache, 1)
    held.clear()
    LOOKS[how](cache, clock)
    assert rings() == 0
    cache.check_invariants()


@pytest.mark.parametrize("how", ["clear", "resize", "memory pressure"])
def test_a_call_that_is_to_free_memory_takes_apart_all_that_is_free(how: str) -> None:
    """At once, although lookups would do so a couple at a time; also what has come to refer to itself more often."""
    cache, clock = make_cache(max_bytes=64 * MIB)
    fill(cache, ["live"])
    held = waiting_values(cache, 40)
    kept = held[:5]
    for value in held[25:35]:
        value.more = [value] * 3
    del value
    held.clear()
    gc.collect()
    for _ in range(50_000):
        cache.get("live")
    assert probe.waiting(cache)[0] > 20  # those that the cache itself keeps alive
    LOOKS[how](cache, clock)
    assert probe.waiting(cache) == (5, len(kept) * NBYTES)
    kept.clear()
    LOOKS[how](cache, clock)
    if how == "memory pressure":  # it takes its next step later
        cache.resize("1MiB")
    assert probe.waiting(cache)[1] == 0
    cache.check_invariants()


def test_values_that_hold_each_other_go_together_when_everything_is_to_go() -> None:
    """The first is free only when the second is gone."""
    cache, _ = make_cache(max_bytes=8 * MIB)
    held = waiting_values(cache, 3)
    for one, other in itertools.pairwise(held):
        other.other = one
    held.clear()
    del one, other
    cache.clear()
    assert cache.stats().waiting_bytes == 0
    assert cache.stats().unbroken_cycles == 0


def test_victims_that_were_held_all_come_back_without_the_collector() -> None:
    """A loop holds what it has just used, and the policy picks just that."""
    cache, clock = make_cache(max_bytes=3 * MIB)
    lap: list[Any] = []
    for _ in range(4):
        for key in range(60):
            clock.advance(1)
            lap.append(cache.get_or_load(key, lambda _: Sized(make_dag(3))))
            if len(lap) == 20:
                lap.clear()
            cache.check_invariants()
    stats = cache.stats()
    assert stats.demotions > 30
    lap.clear()
    cache.clear()
    stats = cache.stats()
    assert (stats.waiting, stats.waiting_bytes, stats.unbroken_cycles) == (0, 0, 0)
    assert stats.taken_apart > 60
    assert sum(type(item) is Dag for item in gc.get_objects()) == 0


class Sized:
    """A DAG that states its weight."""

    nbytes = NBYTES

    def __init__(self, dag: Dag) -> None:
        self.dag = dag
        self.me = self


def test_the_counts_say_what_became_of_each_value() -> None:
    """Taken apart, dead without that, left to the collector, or waiting."""
    cache, _ = make_cache(max_bytes=64 * MIB, freezer=None)
    held = waiting_values(cache, 3)
    held.pop()
    cache.clear()
    acyclic = cache.get_or_load("plain", Unfreezable)
    probe.strongly_waiting(cache)[0].clear()
    del cache["plain"]
    cache.resize(1)  # it waits by weak reference
    del acyclic
    stats = cache.stats()
    assert (stats.taken_apart, stats.died, stats.unbroken_cycles, stats.waiting) == (1, 1, 0, 2)


def test_waiting_bytes_are_part_of_the_total() -> None:
    """Beside those of the three tiers."""
    cache, _ = make_cache()
    fill(cache, ["a"])
    before = cache.stats().total_bytes
    held = waiting_values(cache, 2)
    assert cache.stats().total_bytes == before + len(held) * NBYTES
