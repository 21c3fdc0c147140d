"""The costs of each family of keys: loads, thaws, newer versions, and the bound of their number."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dagcache import DagCache, Loaded
from dagcache.core import family_costs
from dagcache.core.family_costs import FamilyCosts
from dagcache.core.loaded import Prepared
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.stats import FamilyCost
from tests.support import probe
from tests.support.caches import KIB, Weighted, make_cache

FAMILIES = st.sampled_from(["a", "b", None])
STEPS = st.tuples(st.sampled_from(["load", "thaw"]), FAMILIES, st.integers(0, 3), st.integers(0, 9))


@given(st.lists(STEPS))
def test_costs_add_up_by_family(steps: list[tuple[str, Hashable, int, int]]) -> None:
    """A thaw of a family that was never loaded does not count, and neither does an unknown family."""
    costs, expected, newest = FamilyCosts(), dict[Hashable, FamilyCost](), dict[Hashable, int]()
    for step, family, order, seconds in steps:
        if step == "load":
            costs.loaded(family, order, seconds)
        else:
            costs.thawed(family, seconds)
        if family is None or (step == "thaw" and family not in expected):
            continue
        was = expected.get(family, FamilyCost(0, 0, 0, 0, 0))
        is_newer = step == "load" and order > newest.get(family, order)
        expected[family] = FamilyCost(
            was.loads + (step == "load"),
            was.load_seconds + (seconds if step == "load" else 0),
            was.thaws + (step == "thaw"),
            was.thaw_seconds + (seconds if step == "thaw" else 0),
            was.newer_versions + is_newer,
        )
        if step == "load":
            newest[family] = max(order, newest.get(family, order))
    assert costs.snapshot() == expected


def test_a_prepared_value_costs_its_family_the_seconds_that_it_took() -> None:
    """And not those of the earlier load, which this process has not made."""
    cache, clock = make_cache(sizer=None)
    probe.time_lookups(cache, clock)
    prepared = Prepared(PickleFreezer().freeze({"a": 1}).data, 4 * KIB, 2.5)

    def load(_: Hashable) -> Loaded[Any]:
        clock.advance(0.25)
        return Loaded({"a": 1}, version=("dag", 1), prepared=prepared)

    cache.get_or_load("key", load)
    cache.check_invariants()
    assert cache.family_costs() == {"dag": FamilyCost(1, 0.25, 0, 0, 0)}


def test_the_most_expensive_families_are_kept() -> None:
    """A cheap one is dropped; it may come back and then starts from zero."""
    costs = FamilyCosts()
    for number in range(10 * family_costs.MOST):
        costs.loaded(number, 1, 100.0 if number < 10 else 0.001)
    found = costs.snapshot()
    assert len(found) <= 2 * family_costs.MOST
    assert all(found[number].load_seconds == 100.0 for number in range(10))


def test_a_name_that_takes_room_itself_is_not_counted() -> None:
    """The costs are outside of the budget."""
    costs = FamilyCosts()
    costs.loaded("x" * 10_000, 1, 1.0)
    assert costs.snapshot() == {}


def test_a_closed_cache_forgets_the_costs() -> None:
    """It gives the memory back."""
    cache, _ = make_cache()
    cache.get_or_load(1, lambda key: Loaded(Weighted(key), version=("dag", 1)))
    cache.close()
    assert cache.family_costs() == {}


def test_a_cache_counts_loads_and_thaws_of_all_lookups() -> None:
    """By the family that the loader states; the copies that private lookups get are thaws."""
    cache, _ = make_cache(max_bytes=150 * KIB)

    def load(key: int) -> Loaded[Any]:
        return Loaded(Weighted(key, 100 * KIB), version=("dag", key))

    for key in (1, 2):
        cache.get_or_load(key, load)
    frozen = next(info.key for info in cache.entries() if info.tier == "frozen")
    cache.get_or_load(frozen, load)
    stats, (cost,) = cache.stats(), cache.family_costs().values()
    assert (cost.loads, cost.thaws, cost.newer_versions) == (stats.loads, stats.thaw_seconds.count, 1) == (2, 1, 1)
    assert cost.load_seconds == stats.load_seconds.total
    assert cost.thaw_seconds == stats.thaw_seconds.total
    cache.fetch(2, load, private=True)
    assert cache.family_costs()["dag"].thaws == cache.stats().thaw_seconds.count == 2
    cache.check_invariants()


def test_a_value_that_is_not_kept_costs_as_well() -> None:
    """A DAG that never stays is the one to find."""
    cache, _ = make_cache(max_bytes=50 * KIB, freezer=None)
    for _ in range(3):
        cache.get_or_load(1, lambda key: Loaded(Weighted(key, 100 * KIB), version=("large", 1)))
    assert cache.family_costs()["large"].loads == 3


def test_costs_can_be_asked_for_within_a_callback() -> None:
    """A removal listener, a sizer: with the lock held or not."""
    found: list[dict[Hashable, FamilyCost]] = []
    cache: DagCache[Any, Any] = make_cache(on_removal=lambda *_: found.append(cache.family_costs()))[0]
    cache.get_or_load(1, lambda key: Loaded(Weighted(key), version=("dag", 1)))
    del cache[1]
    assert [costs["dag"].loads for costs in found] == [1]
