"""Lookups of many keys: one call of the loader, one load for each key."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache import Loaded, OversizeError, RecursiveLoadError
from tests.stress.test_threads import in_threads
from tests.support.caches import KIB, MIB, Unfreezable, Weighted, check_settled, make_cache
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("quiet")


class Loader:
    """Loads all keys but those below zero, and notes its calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, keys: list[int]) -> dict[int, Weighted]:
        self.calls.append(keys)
        return {key: Weighted(key, KIB) for key in keys if key >= 0}


def test_all_missing_keys_are_loaded_by_one_call() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    loader = Loader()
    found = cache.get_or_load_many([3, 1, 2, 1], loader)
    assert [(key, value.label) for key, value in found.items()] == [(3, 3), (1, 1), (2, 2)]
    assert loader.calls == [[3, 1, 2]]
    assert cache.stats().loads == cache.stats().lookups == 3
    check_settled(cache)


def test_resident_keys_are_not_loaded() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    live = cache.get_or_load(1, lambda key: Weighted(key, KIB))
    cache.get_or_load(2, lambda key: Weighted(key, KIB))
    cache.fetch(2, private=True, renew=True)  # gives up the live copy
    loader = Loader()
    found = cache.get_or_load_many([1, 2, 3], loader)
    assert found[1] is live
    assert found[2].label == 2
    assert loader.calls == [[3]]
    check_settled(cache)


def test_a_key_that_the_loader_leaves_out_is_absent() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    assert list(cache.get_or_load_many([1, -1, -2], Loader())) == [1]
    assert (cache.stats().loads, cache.stats().absent) == (1, 2)
    check_settled(cache)


def test_no_keys_are_no_call() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    loader = Loader()
    assert cache.get_or_load_many([], loader) == {}
    assert loader.calls == []


def test_a_loader_may_return_loaded() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    cache.get_or_load_many([1], lambda keys: {key: Loaded(Weighted(key), content="hash") for key in keys})
    assert cache.fetch(1).content == "hash"


def test_a_failing_loader_counts_one_failure_for_each_key_and_leaves_no_flight() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    def fail(_: list[int]) -> Mapping[int, Weighted]:
        raise LookupError

    with pytest.raises(LookupError):
        cache.get_or_load_many([1, 2, 3], fail)
    assert cache.stats().load_failures == 3
    check_settled(cache)
    assert len(cache.get_or_load_many([1, 2, 3], Loader())) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_loader_leaves_no_flight(error: type[BaseException]) -> None:
    cache, _ = make_cache(max_bytes=MIB)

    def interrupted(_: list[int]) -> Mapping[int, Weighted]:
        raise error

    with pytest.raises(error):
        cache.get_or_load_many([1, 2, 3], interrupted)
    check_settled(cache)


def test_a_value_that_can_be_used_once_only_is_refused() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    with pytest.raises(TypeError, match="used once only"):
        cache.get_or_load_many([1, 2], lambda keys: {1: Weighted(1), 2: iter(keys)})
    check_settled(cache)


def test_a_value_beyond_the_budget_raises_after_the_others_are_kept() -> None:
    cache, _ = make_cache(max_bytes=100 * KIB, oversize="raise")

    def load(_: list[int]) -> dict[int, Weighted]:
        return {1: Weighted(1, KIB), 2: Unfreezable(2, 200 * KIB), 3: Weighted(3, KIB)}

    with pytest.raises(OversizeError):
        cache.get_or_load_many([1, 2, 3], load)
    assert set(cache) == {1, 3}
    check_settled(cache)


def test_a_loader_that_asks_for_one_of_its_keys_is_refused() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    with pytest.raises(RecursiveLoadError):
        cache.get_or_load_many([1, 2], lambda _: {1: cache.get_or_load(2, Weighted)})
    check_settled(cache)


def test_more_values_than_the_budget_holds_are_all_returned() -> None:
    cache, _ = make_cache(max_bytes=20 * KIB)
    assert len(cache.get_or_load_many(range(100), Loader())) == 100
    assert len(cache) < 100
    check_settled(cache)


def test_no_caller_holds_what_a_call_returned_and_dropped() -> None:
    """The mapping of the loader does not count as a holder of its values."""
    cache, _ = make_cache(max_bytes=MIB)
    cache.get_or_load_many(range(5), Loader())
    cache.clear()
    assert (cache.stats().waiting, cache.stats().unbroken_cycles) == (0, 0)


def test_a_key_that_another_thread_loads_is_waited_for() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    inside, permission = threading.Event(), threading.Event()
    results: dict[str, Any] = {}

    def slow(key: int) -> Weighted:
        inside.set()
        assert permission.wait(PATIENCE)
        return Weighted(key, KIB)

    loader = Loader()
    single = threading.Thread(target=lambda: results.update(single=cache.get_or_load(2, slow)))
    single.start()
    assert inside.wait(PATIENCE)
    many = threading.Thread(target=lambda: results.update(many=cache.get_or_load_many([1, 2, 3], loader)))
    many.start()
    assert cache.get_or_load(1, lambda key: Weighted(key, KIB)) is not None
    permission.set()
    single.join(PATIENCE)
    many.join(PATIENCE)
    assert results["many"][2] is results["single"]
    assert 2 not in [key for call in loader.calls for key in call]
    check_settled(cache)


def test_threads_with_overlapping_keys_never_wait_in_a_ring_and_load_each_key_once() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    loader = Loader()

    def work(number: int) -> None:
        keys = [(number * 3 + step) % 20 for step in range(15)]
        found = cache.get_or_load_many(keys if number % 2 else keys[::-1], loader)
        assert all(found[key].label == key for key in keys)

    assert in_threads(16, work) == [None] * 16
    assert cache.stats().loads == 20
    assert sorted(key for call in loader.calls for key in call) == list(range(20))
    check_settled(cache)


@given(
    st.lists(st.tuples(st.sampled_from(["many", "one", "pop", "invalidate", "clear"]), st.lists(st.integers(-3, 12))))
)
def test_any_sequence_of_calls_gives_what_a_dictionary_gives(steps: list[tuple[str, list[int]]]) -> None:
    cache, _ = make_cache(max_bytes=8 * KIB)
    for action, keys in steps:
        if action == "many":
            found = cache.get_or_load_many(keys, Loader())
            assert [(key, value.label) for key, value in found.items()] == [
                (key, key) for key in dict.fromkeys(keys) if key >= 0
            ]
        elif action == "clear":
            cache.clear()
        for key in keys:
            if action == "one" and key >= 0:
                assert cache.get_or_load(key, lambda key: Weighted(key, KIB)).label == key
            elif action == "pop":
                cache.pop(key, None)
            elif action == "invalidate":
                cache.invalidate(key)
        check_settled(cache)
