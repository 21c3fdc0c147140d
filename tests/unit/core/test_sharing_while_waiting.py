"""Lookups of values that left the live tier and are still in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcache import DagCache, Loaded
from tests.support.caches import KIB, MIB, make_cache, never
from tests.support.rings import Ring, rings

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")

SMALL = 10 * KIB
"""A budget with room for frozen copies only."""


def demoted(cache: DagCache[Any, Any]) -> Any:
    """A value that was live, and that a caller holds."""
    value = cache.get_or_load("a", Ring)
    cache.resize(SMALL)
    return value


def loaded(cache: DagCache[Any, Any]) -> Any:
    """A loaded value that was not kept live."""
    cache.resize(SMALL)
    return cache.get_or_load("a", Ring)


def thawed(cache: DagCache[Any, Any]) -> Any:
    """A thawed value that was not kept live."""
    cache.resize(SMALL)
    cache.get_or_load("a", Ring)
    cache.expire()
    return cache.get_or_load("a", never)


ways = pytest.mark.parametrize("way", [demoted, loaded, thawed])


@ways
def test_a_value_that_a_caller_holds_is_shared_and_no_second_graph_is_made(
    way: Callable[[DagCache[Any, Any]], Any],
) -> None:
    """By all lookups that share; the ledger has it once."""
    cache, _ = make_cache(max_bytes=MIB)
    value = way(cache)
    before = cache.stats()
    assert before.live_entries == 0
    assert cache.get("a") is value
    assert cache.get_or_load("a", never) is value
    assert cache.fetch("a").value is value
    assert cache["a"] is value
    after = cache.stats()
    assert (after.hits_live - before.hits_live, after.hits_frozen - before.hits_frozen) == (4, 0)
    assert after.waiting_bytes == before.waiting_bytes == value.nbytes
    assert rings() == 1
    cache.check_invariants()


@ways
def test_a_value_that_its_caller_has_dropped_is_thawed(way: Callable[[DagCache[Any, Any]], Any]) -> None:
    """After it was taken apart."""
    cache, _ = make_cache(max_bytes=MIB)
    way(cache)
    cache.expire()
    assert rings() == 0
    before = cache.stats().hits_frozen
    assert cache.get("a") == Ring("a")
    assert cache.stats().hits_frozen == before + 1


@ways
def test_a_private_lookup_gets_an_object_of_its_own(way: Callable[[DagCache[Any, Any]], Any]) -> None:
    """And no later lookup gets that one."""
    cache, _ = make_cache(max_bytes=MIB)
    value = way(cache)
    private = [cache.fetch("a", never, private=True).value for _ in range(2)]
    assert private[0] is not private[1]
    assert cache.get("a") is value
    assert all(each is not value for each in private)


def test_the_object_of_a_private_load_is_not_shared() -> None:
    """It belongs to its caller, who may change it."""
    cache, _ = make_cache(max_bytes=SMALL)
    private = cache.fetch("a", Ring, private=True).value
    assert cache.get("a") is not private
    assert cache.get("a") is not private


@ways
def test_a_renewal_ends_the_sharing_of_a_value_that_waits(way: Callable[[DagCache[Any, Any]], Any]) -> None:
    """A caller may have changed it."""
    cache, _ = make_cache(max_bytes=MIB)
    value = way(cache)
    value.label = "changed"
    cache.fetch("a", never, private=True, renew=True)
    found = cache.get("a")
    assert found == Ring("a")
    assert cache.get("a") is found
    cache.check_invariants()


def test_a_renewal_ends_the_sharing_of_a_live_value_for_good() -> None:
    """It waits because its caller holds it; no lookup finds it there."""
    cache, _ = make_cache(max_bytes=MIB)
    value = cache.get_or_load("a", Ring)
    value.label = "changed"
    cache.fetch("a", never, private=True, renew=True)
    assert cache.stats().waiting_bytes >= value.nbytes
    assert cache.get("a") == Ring("a")


@pytest.mark.parametrize("change", ["assign", "invalidate", "delete", "expire", "age", "clear"])
@ways
def test_a_new_entry_does_not_serve_the_value_of_an_earlier_one(
    way: Callable[[DagCache[Any, Any]], Any], change: str
) -> None:
    """The content may be another one."""
    cache, clock = make_cache(max_bytes=MIB, ttl=100, max_age=1000)
    value = way(cache)
    if change == "assign":
        cache["a"] = Ring("new")
    elif change == "invalidate":
        cache.invalidate("a")
    elif change == "delete":
        del cache["a"]
    elif change == "expire":
        clock.advance(101)
    elif change == "age":
        for _ in range(20):
            clock.advance(51)
            cache.get("a")
    else:
        cache.clear()
    assert cache.get("a", None) != value
    assert cache.get_or_load("a", lambda _: Ring("new")).label == "new"
    assert value.label == "a"


def test_a_lookup_of_a_waiting_value_is_a_use() -> None:
    """The entry does not expire meanwhile."""
    cache, clock = make_cache(max_bytes=MIB, ttl=100)
    value = demoted(cache)
    for _ in range(5):
        clock.advance(60)
        assert cache.get("a") is value


def test_without_a_breaker_no_value_waits_and_each_lookup_thaws() -> None:
    cache, _ = make_cache(max_bytes=SMALL, breaker=None)
    value = cache.get_or_load("a", Ring)
    assert cache.get("a") is not value


def test_a_sweep_that_looks_each_value_up_again_while_it_holds_it_thaws_once() -> None:
    """As a scheduler does in each of its loops: the second lookup is for callbacks."""
    cache, clock = make_cache(max_bytes=400 * KIB)
    for _ in range(4):
        before = cache.stats()
        for start in range(0, 100, 20):
            held = [cache.get_or_load(key, Ring) for key in range(start, start + 20)]
            clock.advance(1.0)
            assert all(cache.get_or_load(value.label, never) is value for value in held)
            clock.advance(1.0)
            cache.check_invariants()
            del held
    after = cache.stats()
    assert after.hits_frozen - before.hits_frozen <= 100
    assert after.hits_live - before.hits_live >= 100


def test_values_that_callers_have_dropped_are_freed_on_request() -> None:
    """And those that are held are not."""
    cache, _ = make_cache(max_bytes=SMALL)
    held = [cache.get_or_load(key, Ring) for key in range(3)]
    held.pop()
    cache.free_dropped()
    assert rings() == len(held) == 2
    held.clear()
    cache.free_dropped()
    assert rings() == 0
    cache.check_invariants()


def test_a_request_to_free_values_within_a_change_does_nothing() -> None:
    """A session may start in code that runs under the lock."""
    cache, _ = make_cache(max_bytes=SMALL)
    cache.get_or_load("a", Ring)

    def keep() -> bool:
        cache.free_dropped()
        return True

    assert rings() == 1
    cache.get_or_load("b", lambda _: Loaded(Ring("b"), keep_if=keep))
    assert cache.stats().internal_errors == 0
    cache.check_invariants()


def test_a_request_to_free_values_during_a_load_does_nothing() -> None:
    """A load may start a session, and its time is the cost of the value."""
    cache, _ = make_cache(max_bytes=SMALL)
    held = [cache.get_or_load("a", Ring)]

    def load(key: str) -> Ring:
        held.clear()
        cache.free_dropped()
        assert rings() == 1
        return Ring(key)

    cache.get_or_load("b", load)
    cache.free_dropped()
    assert rings() == 0
