"""The cache as an object: closing, `with`, identity, copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dagcache import CacheConfig, ConfigError, DagCache, Loaded, Rejection
from tests.stress.test_threads import in_threads
from tests.support.caches import KIB, MIB, Weighted, fill, make_cache


def test_a_closed_cache_holds_nothing() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    fill(cache, range(5))
    cache.close()
    assert cache.closed
    assert len(cache) == 0
    assert cache.stats().live_bytes == cache.stats().frozen_bytes == 0
    cache.check_invariants()


def test_a_lookup_of_a_closed_cache_loads_and_keeps_nothing() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    cache.close()
    for number in range(2):
        assert cache.get_or_load(1, lambda _, number=number: Weighted(number)).label == number  # type: ignore[misc]
        assert len(cache) == 0
        cache.check_invariants()
    assert cache.stats().rejections[Rejection.CLOSED] == 2


def test_an_assignment_to_a_closed_cache_is_not_kept() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    cache.close()
    cache[1] = Weighted(1)
    assert 1 not in cache
    cache.check_invariants()


def test_a_private_lookup_of_a_closed_cache_loads() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    cache.close()
    assert cache.fetch(1, lambda _: Loaded(Weighted(1)), private=True).value is not None
    cache.check_invariants()


def test_closing_twice_does_nothing_more() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    cache.close()
    cache.close()
    assert cache.closed


def test_closing_reports_each_removal_to_the_listener() -> None:
    removed: list[Any] = []
    cache, _ = make_cache(max_bytes=MIB, on_removal=lambda info, _: removed.append(info.key))
    fill(cache, range(3))
    cache.close()
    assert sorted(removed) == [0, 1, 2]


def test_a_load_that_ends_after_the_close_is_served_and_not_kept() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    def load(key: int) -> Weighted:
        cache.close()
        return Weighted(key)

    assert cache.get_or_load(1, load) is not None
    assert len(cache) == 0
    cache.check_invariants()


def test_with_closes_the_cache() -> None:
    with make_cache(max_bytes=MIB)[0] as cache:
        fill(cache, range(3))
        assert not cache.closed
    assert cache.closed


def test_with_closes_the_cache_after_an_error() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    with pytest.raises(KeyError), cache:
        raise KeyError
    assert cache.closed


def test_threads_that_look_up_while_the_cache_closes_all_get_their_values() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    def work(number: int) -> None:
        for turn in range(200):
            if number == 0 and turn == 50:
                cache.close()
            key = (number + turn) % 7
            assert cache.get_or_load(key, lambda key: Weighted(key, KIB)).label == key

    assert in_threads(4, work) == [None] * 4
    assert len(cache) == 0
    cache.check_invariants()


def test_a_cache_is_a_key_by_its_identity() -> None:
    one, other = make_cache(max_bytes=MIB)[0], make_cache(max_bytes=MIB)[0]
    assert one == one
    assert one == other, "a mapping's equality"
    assert {one: 1, other: 2} == {one: 1, other: 2}
    assert len({one, other}) == 2


@pytest.mark.parametrize("action", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_cache_refuses_to_be_copied(action: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match=r"the cache 'lookups' can be neither copied nor pickled; .*DagCache"):
        action(DagCache[str, str](name="lookups"))


def test_a_byte_limit_without_its_keyword_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(TypeError, match="max_bytes='512MiB'"):
        DagCache("512MiB")  # type: ignore[arg-type]


def test_a_ttl_may_be_a_timedelta() -> None:
    assert CacheConfig(ttl=timedelta(hours=1)) == CacheConfig(ttl="1h") == CacheConfig(ttl=3600)
    with pytest.raises(ConfigError, match="ttl"):
        CacheConfig(ttl=timedelta(days=40_000))


def test_a_name_that_utf8_cannot_encode_is_refused() -> None:
    with pytest.raises(ConfigError, match="name"):
        CacheConfig(name="a\udc80")


def test_a_budget_that_holds_nothing_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    DagCache[str, str](max_bytes=512, name="tiny")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("cache 'tiny': max_bytes = 512 is 512 bytes")
    assert "MiB" in line


@pytest.mark.parametrize("max_bytes", [0, "1MiB", "25%"])
def test_a_usual_budget_is_no_warning(max_bytes: str | int, caplog: pytest.LogCaptureFixture) -> None:
    DagCache[str, str](max_bytes=max_bytes)
    assert not caplog.records
