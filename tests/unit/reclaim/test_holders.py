"""A DAG of which any part is held, in any way, stays whole, however it leaves the cache.

And once it is dropped, the DAG goes, without the collector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.freezing.pickle_freezer import PickleFreezer
from tests.support.caches import KIB, make_cache
from tests.support.clock import ManualClock
from tests.support.graphs import SHARED
from tests.support.holders import HOLDERS, mapped_dag
from tests.support.lockstep import assert_same_graph

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")


_TASKS = 6
_BYTES = 100 * KIB
_LOOKS = 130
"""Looks after which a free value is gone, however long it was held."""

Leave = Callable[[DagCache[Any, Any], ManualClock], object]


def _size(cache: DagCache[Any, Any], clock: ManualClock) -> None:
    for number in range(100):
        clock.advance(1)
        cache.get_or_load(number % 4, lambda _: object())
        if "a" not in cache:
            return
    raise AssertionError("it does not leave")


def _expire(cache: DagCache[Any, Any], clock: ManualClock) -> None:
    clock.advance(1000)
    assert cache.expire() == 1


def _replace(cache: DagCache[Any, Any], _: ManualClock) -> None:
    cache["a"] = object()


def _pass(cache: DagCache[Any, Any], _: ManualClock) -> None:
    assert cache.stats().live_entries == 0


WAYS: dict[str, tuple[dict[str, Any], Leave]] = {
    "SIZE": ({"max_bytes": 250 * KIB, "freezer": None}, _size),
    "EXPIRED": ({}, _expire),
    "demoted by a resize": ({}, lambda cache, _: cache.resize(50 * KIB)),
    "removed by a resize": ({"freezer": None}, lambda cache, _: cache.resize(50 * KIB)),
    "STALE": ({}, lambda cache, _: cache.invalidate("a")),
    "REPLACED": ({}, _replace),
    "deleted": ({}, lambda cache, _: cache.__delitem__("a")),
    "popped": ({}, lambda cache, _: cache.pop("a") and None),
    "cleared": ({}, lambda cache, _: cache.clear()),
    "served and kept frozen only": ({"max_bytes": 50 * KIB}, _pass),
    "served and not kept": ({"max_bytes": 50 * KIB, "freezer": None}, _pass),
}


def _cache(settings: dict[str, Any]) -> tuple[DagCache[Any, Any], ManualClock]:
    settings = {"max_bytes": 1000 * KIB, "freezer": PickleFreezer(SHARED), **settings}
    return make_cache(ttl=100, shared=SHARED, sizer=lambda _: _BYTES, **settings)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HOLDERS)
def test_a_loaded_dag_of_which_a_part_is_held_stays_whole(name: str, way: str) -> None:
    """Until the part is dropped; then nothing is left of it."""
    settings, leave = WAYS[way]
    cache, clock = _cache(settings)
    hold_and_drop(cache, name, lambda: leave(cache, clock))


@pytest.mark.parametrize("way", [way for way, (settings, _) in WAYS.items() if "freezer" not in settings])
@pytest.mark.parametrize("name", HOLDERS)
def test_a_thawed_dag_of_which_a_part_is_held_stays_whole(name: str, way: str) -> None:
    """As a loaded one."""
    settings, leave = WAYS[way]
    cache, clock = _cache(settings)
    cache.resize(50 * KIB)
    cache.get_or_load("a", lambda _: mapped_dag(_TASKS))
    cache.resize(cache.config.budget())
    hold_and_drop(cache, name, lambda: leave(cache, clock))
    assert cache.stats().hits_frozen == 1


def hold_and_drop(cache: DagCache[Any, Any], name: str, leave: Callable[[], object]) -> None:
    """Look a DAG up, hold a part of it, have it leave, and look at it; then let go."""
    held, dag_of = HOLDERS[name](cache.get_or_load("a", lambda _: mapped_dag(_TASKS)))
    leave()
    for _ in range(_LOOKS):
        assert cache.stats().waiting_bytes == _BYTES
    assert_same_graph(dag_of(held), mapped_dag(_TASKS), SHARED)
    del held
    for _ in range(_LOOKS):
        if not cache.stats().waiting_bytes:
            break
    assert cache.stats().waiting_bytes == 0
    assert cache.stats().unbroken_cycles == 0
    cache.check_invariants()
