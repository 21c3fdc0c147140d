"""`DagCache.fetch(private=True)`: an object that no other caller and no later lookup gets."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from dagcache import DagCache, Loaded, Rejection
from dagcache.core.loaded import Fetched
from tests.stress.test_threads import in_threads, until
from tests.support import probe
from tests.support.caches import KIB, Unfreezable, Weighted, fill, make_cache, never, stated_weight
from tests.support.patience import PATIENCE


def load(key: object) -> Weighted:
    """A loader."""
    return Weighted(key)


def private(cache: Any, key: object, loader: Any = load) -> Any:
    """The value of a private lookup."""
    return cache.fetch(key, loader, private=True).value


def distinct(values: list[Any]) -> int:
    """How many objects there are."""
    return len({id(value) for value in values})


def test_each_caller_gets_an_object_of_its_own() -> None:
    """Whether the entry is live or frozen; one load serves all of them."""
    cache, _ = make_cache()
    copies = [private(cache, "a") for _ in range(3)]
    shared = cache.get_or_load("a", never)
    copies += [private(cache, "a", never) for _ in range(3)]
    assert copies == [Weighted("a")] * 6
    assert distinct([*copies, shared]) == 7
    assert cache.get_or_load("a", never) is shared
    stats = cache.stats()
    assert (stats.loads, stats.hits_live, stats.hits_frozen) == (1, 1, 6)
    cache.check_invariants()


@pytest.mark.parametrize("loader", [load, Unfreezable])
def test_a_private_lookup_can_renew_what_the_others_share(loader: Any) -> None:
    """The next lookup does not see the change of an earlier caller."""
    cache, _ = make_cache()
    shared: Any = cache.get_or_load("a", loader)
    shared.label = "changed"
    assert cache.fetch("a", loader, private=True, renew=True).value == loader("a")
    cache.check_invariants()
    assert cache.get_or_load("a", loader) == loader("a")
    assert cache.stats().loads == (1 if loader is load else 3)
    cache.check_invariants()


def test_the_object_that_was_loaded_belongs_to_the_caller_that_loaded_it() -> None:
    """Later lookups thaw, so none of them sees that caller's changes."""
    cache, _ = make_cache()
    mine = private(cache, "a")
    mine.label = "changed"
    assert cache.entries()[0].tier == "frozen"
    assert cache.get_or_load("a", never) == Weighted("a")


def test_a_value_without_a_frozen_form_is_loaded_for_each_caller() -> None:
    """The live copy stays with the lookups that share it."""
    cache, _ = make_cache()
    shared = cache.get_or_load("a", Unfreezable)
    copies = [private(cache, "a", Unfreezable) for _ in range(3)]
    assert distinct([shared, *copies]) == 4
    assert cache.get_or_load("a", never) is shared
    assert cache.stats().loads == 4
    cache.check_invariants()


def test_without_a_loader_there_is_no_private_copy_of_a_value_without_a_frozen_form() -> None:
    """The live copy belongs to the other callers."""
    cache, _ = make_cache()
    cache.get_or_load("a", Unfreezable)
    assert cache.fetch("a", private=True) == Fetched(None)
    assert cache.stats().absent == 1


def test_a_private_value_without_a_frozen_form_is_not_kept() -> None:
    """There is nothing but the object, which is the caller's."""
    cache, _ = make_cache()
    assert private(cache, "a", Unfreezable) == Unfreezable("a")
    assert "a" not in cache
    assert sum(cache.stats().rejections.values()) == 0
    cache.check_invariants()


def test_without_a_frozen_tier_private_loads_do_not_wait_for_each_other() -> None:
    """They could not share anything."""
    cache: DagCache[str, Weighted] = DagCache(max_bytes=0, freezer=None, sizer=stated_weight)
    together = threading.Barrier(4)

    def meeting(key: object) -> Weighted:
        together.wait(PATIENCE)
        return Weighted(key)

    copies = in_threads(4, lambda _: private(cache, "a", meeting))
    assert copies == [Weighted("a")] * 4
    assert distinct(copies) == 4
    assert "a" not in cache


def test_a_herd_of_private_callers_loads_once() -> None:
    """Each of them gets an object of its own."""
    cache, _ = make_cache()
    loads: list[object] = []

    def loader(key: object) -> Weighted:
        loads.append(key)
        until(lambda: probe.waiting_threads(cache) == 7)
        return Weighted(key)

    copies = in_threads(8, lambda _: private(cache, "a", loader))
    assert copies == [Weighted("a")] * 8
    assert distinct(copies) == 8
    assert loads == ["a"]
    cache.check_invariants()


@pytest.mark.parametrize("leads_privately", [False, True])
def test_callers_of_both_kinds_share_a_load_and_no_private_object(leads_privately: bool) -> None:
    cache, _ = make_cache()
    leading = threading.Event()

    def loader(key: object) -> Weighted:
        leading.set()
        until(lambda: probe.waiting_threads(cache) == 8)
        return Weighted(key)

    def work(index: int) -> object:
        if index:
            assert leading.wait(PATIENCE)
        if (index % 2 == 0) == leads_privately:
            return private(cache, "a", loader if not index else never)
        return cache.get_or_load("a", loader if not index else never)

    values = in_threads(9, work)
    assert values == [Weighted("a")] * 9
    shared = [value for index, value in enumerate(values) if (index % 2 == 0) != leads_privately]
    owned = [value for index, value in enumerate(values) if (index % 2 == 0) == leads_privately]
    assert distinct(owned) == len(owned)
    assert not {id(value) for value in owned} & {id(value) for value in [*shared, cache.get("a")]}
    assert cache.stats().loads == 1
    cache.check_invariants()


def test_a_herd_loads_once_although_the_budget_keeps_nothing() -> None:
    """Those that waited thaw what the one load was frozen to."""
    cache, _ = make_cache(max_bytes=1)

    def loader(key: object) -> Weighted:
        until(lambda: probe.waiting_threads(cache) == 7)
        return Weighted(key)

    copies = in_threads(8, lambda _: private(cache, "a", loader))
    assert distinct(copies) == 8
    stats = cache.stats()
    assert (stats.loads, stats.entries, stats.rejections[Rejection.OVERSIZE]) == (1, 0, 1)


def test_damaged_frozen_bytes_become_a_load() -> None:
    """As for any other lookup."""
    cache, _ = make_cache()
    fill(cache, ["a"])
    probe.damage(cache, "a", lambda data: bytes(len(data)))
    assert private(cache, "a") == Weighted("a")
    assert cache.stats().thaw_failures == 1
    assert private(cache, "a", never) == Weighted("a")
    cache.check_invariants()


@pytest.mark.parametrize("is_private", [False, True])
def test_a_lookup_tells_the_content_that_the_loader_told(is_private: bool) -> None:
    """When it loads, hits, thaws or waits for another thread's load."""
    cache, _ = make_cache()

    def loader(key: object) -> Loaded[Any]:
        until(lambda: probe.waiting_threads(cache) == 3)
        return Loaded(Weighted(key), content=("hash", 1))

    found = in_threads(4, lambda _: cache.fetch("a", loader, private=is_private))
    found += [cache.fetch("a", never, private=not is_private), cache.fetch("a", private=is_private)]
    assert [one.content for one in found] == [("hash", 1)] * 6
    assert cache.fetch("b") == Fetched(None)


def test_a_lookup_inside_of_a_change_gets_no_shared_object() -> None:
    """It loads instead."""
    cache, _ = make_cache()
    shared = cache.get_or_load("a", load)
    found = probe.run_locked(cache, lambda: cache.fetch("a", load, private=True))
    assert found.value == shared
    assert found.value is not shared


@pytest.mark.parametrize("budget", [0, 150 * KIB, 1 * KIB])
def test_no_change_of_a_private_copy_is_ever_seen_by_another_caller(budget: int) -> None:
    """Eight threads take private and shared copies, change the private ones, and remove entries beside it."""
    cache, _ = make_cache(max_bytes=budget)

    def work(seed: int) -> list[object]:
        choose, wrong = random.Random(seed), []
        for turn in range(300):
            key = choose.randrange(4)
            what = choose.random()
            if what < 0.05:
                cache.invalidate(key)
            elif what < 0.5:
                value = private(cache, key)
                wrong += [value] if value != Weighted(key) else []
                value.label = (seed, turn)
            else:
                value = cache.get_or_load(key, load)
                wrong += [value] if value != Weighted(key) else []
        return wrong

    assert in_threads(8, work) == [[]] * 8
    cache.check_invariants()
