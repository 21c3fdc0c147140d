"""Negative caching: a key without a value is not loaded again for a short time, and no longer."""

from __future__ import annotations

import asyncio
import tracemalloc
import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache import ConfigError, DagCache, Loaded
from dagcache.core.absences import ABSENCE_BYTES, BUDGET_PART, MOST_ABSENCES, Absences
from dagcache.core.ledger import Ledger
from tests.support import probe
from tests.support.caches import KIB, MIB, Weighted, check_settled, fill, make_cache, never

TTL = 10.0


class Source:
    """A loader that finds the keys that it has, and counts its calls."""

    def __init__(self) -> None:
        self.keys: set[Any] = set()
        self.calls = 0

    def __call__(self, key: Any) -> Weighted | None:
        self.calls += 1
        return Weighted(key, KIB) if key in self.keys else None


def known(cache: DagCache[Any, Any], key: Any) -> bool:
    """Whether a lookup of the key is answered without a load, as absent."""
    called: list[Any] = []
    found = cache.get_or_load(key, called.append)
    cache.check_invariants()
    return found is None and not called


@pytest.fixture
def cache() -> DagCache[Any, Any]:
    """A cache in which the key "a" is known to have no value."""
    made, _ = make_cache(max_bytes=MIB, negative_ttl=TTL)
    assert made.get_or_load("a", Source()) is None
    assert known(made, "a")
    return made


def test_fifty_lookups_of_a_missing_key_are_fifty_loads_unless_it_is_switched_on() -> None:
    source = Source()
    for settings, loads in (({}, 50), ({"negative_ttl": TTL}, 1)):
        cache, _ = make_cache(max_bytes=MIB, **settings)
        source.calls = 0
        assert [cache.get_or_load("a", source) for _ in range(50)] == [None] * 50
        assert source.calls == loads
        stats = cache.stats()
        assert (stats.absent, stats.absent_known, stats.lookups) == (50, 50 - loads, 50)
        check_settled(cache)


def test_an_absence_ends_at_its_own_time_however_often_it_is_looked_up() -> None:
    cache, clock = make_cache(max_bytes=MIB, negative_ttl=TTL, ttl=1000)
    source = Source()
    for _ in range(11):
        assert cache.get_or_load("a", source) is None
        clock.advance(1)
    assert source.calls == 1
    source.keys.add("a")
    assert cache.get_or_load("a", source) == Weighted("a", KIB)
    assert source.calls == 2
    check_settled(cache)


@pytest.mark.parametrize(
    "end",
    [
        lambda cache: cache.invalidate("a"),
        lambda cache: cache.clear(),
        lambda cache: cache.close(),
        lambda cache: cache.pop("a", None),
    ],
    ids=["invalidate", "clear", "close", "pop"],
)
def test_a_removal_ends_an_absence(cache: DagCache[Any, Any], end: Any) -> None:
    end(cache)
    cache.check_invariants()
    assert cache.stats().absences == 0
    assert not known(cache, "a")


@pytest.mark.parametrize(
    "put",
    [
        lambda cache, value: cache.__setitem__("a", value),
        lambda cache, value: cache.setdefault("a", value),
        lambda cache, value: cache.fetch("a", lambda _: value, renew=True),
    ],
    ids=["assign", "setdefault", "renew"],
)
def test_a_value_ends_an_absence(cache: DagCache[Any, Any], put: Any) -> None:
    put(cache, Weighted("value", KIB))
    cache.check_invariants()
    assert cache.stats().absences == 0
    assert cache.get_or_load("a", never) == Weighted("value", KIB)
    del cache["a"]
    assert not known(cache, "a")


@pytest.mark.parametrize("nbytes", [10 * MIB, -1])
def test_a_value_that_is_not_kept_ends_an_absence_too(cache: DagCache[Any, Any], nbytes: int) -> None:
    """Too large, or without a weight: there is a value, so the next lookup loads."""
    cache["a"] = Weighted("x" * 2 * MIB, nbytes)
    cache.check_invariants()
    assert not known(cache, "a")


def test_an_invalidation_with_a_condition_that_fails_ends_nothing(cache: DagCache[Any, Any]) -> None:
    cache.invalidate("a", only_if=lambda: False)
    assert known(cache, "a")


def test_a_load_that_an_invalidation_overtakes_leaves_no_absence() -> None:
    """It may have looked before the value was written."""
    cache, _ = make_cache(max_bytes=MIB, negative_ttl=TTL)

    def load(key: Any) -> None:
        cache.invalidate(key)

    assert cache.get_or_load("a", load) is None
    assert not known(cache, "a")
    check_settled(cache)


def test_an_error_is_not_remembered() -> None:
    cache, _ = make_cache(max_bytes=MIB, negative_ttl=TTL)

    def fail(key: Any) -> None:
        raise LookupError(key)

    for _ in range(2):
        with pytest.raises(LookupError):
            cache.get_or_load("a", fail)
    assert cache.stats().load_failures == 2
    assert not known(cache, "a")


def test_the_value_none_is_a_value() -> None:
    cache, _ = make_cache(max_bytes=MIB, negative_ttl=TTL, sizer=lambda _: 100)
    assert cache.get_or_load("a", lambda _: Loaded(None)) is None
    assert "a" in cache
    assert cache.stats().absences == 0


def test_lookups_without_a_loader_remember_nothing() -> None:
    cache, _ = make_cache(max_bytes=MIB, negative_ttl=TTL)
    assert cache.get("a") is None
    assert cache.fetch("a").value is None
    assert cache.stats().absences == 0


def test_an_absence_is_no_entry(cache: DagCache[Any, Any]) -> None:
    assert "a" not in cache
    assert len(cache) == 0
    assert list(cache.items()) == []
    assert cache.get("a", 7) == 7
    with pytest.raises(KeyError):
        del cache["a"]


def test_bulk_lookups_load_no_key_that_is_known_to_have_no_value() -> None:
    cache, _ = make_cache(max_bytes=MIB, negative_ttl=TTL)
    asked: list[list[Any]] = []

    def load(keys: list[Any]) -> dict[Any, Weighted]:
        asked.append(keys)
        return {key: Weighted(key, KIB) for key in keys if key > 1}

    for _ in range(2):
        assert list(cache.get_or_load_many(range(4), load)) == [2, 3]
    assert asked == [[0, 1, 2, 3]]
    assert cache.stats().absent_known == 2
    check_settled(cache)


def test_tasks_load_no_key_that_is_known_to_have_no_value(cache: DagCache[Any, Any]) -> None:
    async def find_nothing(key: Any) -> None:
        calls.append(key)

    calls: list[Any] = []
    assert asyncio.run(cache.aget_or_load("a", find_nothing)) is None
    assert asyncio.run(cache.aget_or_load("b", find_nothing)) is None
    assert asyncio.run(cache.aget_or_load("b", find_nothing)) is None
    assert calls == ["b"]
    check_settled(cache)


def test_the_bytes_of_absences_are_in_the_overhead_and_within_the_budget() -> None:
    """They take at most a sixty-fourth, and residents make room for them."""
    cache, clock = make_cache(max_bytes=MIB, negative_ttl=TTL)
    fill(cache, range(50), 20 * KIB)
    for key in range(1000, 1200):
        before = cache.stats()
        cache.get_or_load(key, Source())
        cache.check_invariants()
        stats = cache.stats()
        assert stats.total_bytes <= MIB
        assert stats.absences * ABSENCE_BYTES <= MIB // BUDGET_PART
        if stats.absences > before.absences and stats.entries == before.entries:
            assert stats.overhead_bytes - before.overhead_bytes <= ABSENCE_BYTES
    assert cache.stats().absences == MIB // BUDGET_PART // ABSENCE_BYTES
    assert known(cache, 1199)
    cache.resize("128KiB")
    cache.check_invariants()
    assert cache.stats().absences == MIB // 8 // BUDGET_PART // ABSENCE_BYTES
    clock.advance(TTL + 1)
    cache.expire()
    cache.check_invariants()
    assert cache.stats().absences == 0


def test_a_heavy_key_counts_with_its_bytes() -> None:
    cache, _ = make_cache(max_bytes="16MiB", negative_ttl=TTL)
    cache.get_or_load("x" * 100_000, Source())
    cache.check_invariants()
    assert cache.stats().overhead_bytes > 100_000
    cache.get_or_load("y" * MIB, Source())
    assert not known(cache, "y" * MIB), "heavier than all records together may be"


def test_the_number_of_absences_is_bounded_without_a_budget() -> None:
    """The oldest leave."""
    absences = Absences(TTL, Ledger(0, enforce=True))
    for key in range(MOST_ABSENCES + 5):
        absences.note(key, 0, 1.0)
    absences.check_invariants()
    assert len(absences) == MOST_ABSENCES
    assert not absences.has(4, 1.0)
    assert absences.has(5, 1.0)


def test_expired_absences_leave_with_those_that_come_in() -> None:
    absences = Absences(TTL, Ledger(0, enforce=True))
    for key in range(100):
        absences.note(key, 0, 1.0)
    for key in range(100, 160):
        absences.note(key, 0, 100.0)
        absences.check_invariants()
    assert len(absences) == 60


def test_a_record_takes_the_bytes_that_are_accounted() -> None:
    """With a key that nothing else holds: within a third, and not less."""
    number = 2000
    absences = Absences(TTL, Ledger(0, enforce=True))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(number):
        absences.note(uuid.uuid4(), 0, 1.0 + number)
    used = (tracemalloc.get_traced_memory()[0] - before) / number
    tracemalloc.stop()
    assert 0.66 * ABSENCE_BYTES < used <= ABSENCE_BYTES


def test_a_torn_change_forgets_all_absences(cache: DagCache[Any, Any]) -> None:
    probe.tear(cache)
    cache.check_invariants()
    assert cache.stats().absences == 0


def test_its_check_notices_bytes_that_changed_elsewhere() -> None:
    ledger = Ledger(0, enforce=True)
    absences = Absences(TTL, ledger)
    absences.note("a", 0, 1.0)
    ledger.absence_bytes += 1
    with pytest.raises(AssertionError):
        absences.check_invariants()


@pytest.mark.parametrize(("given", "seconds"), [("30s", 30.0), (timedelta(minutes=1), 60.0), (0, 0.0)])
def test_the_setting_is_a_duration(given: Any, seconds: float) -> None:
    assert make_cache(negative_ttl=given)[0].config.negative_ttl == seconds


def test_what_is_no_duration_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ConfigError, match="negative_ttl = 'soon'"):
        make_cache(negative_ttl="soon")


class Model:
    """A cache, its source, and the time of the last load of each key that found nothing."""

    def __init__(self) -> None:
        self.cache, self.clock = make_cache(max_bytes=200 * KIB, negative_ttl=TTL, ttl=0)
        self.source = Source()
        self.since: dict[int, float] = {}

    def load(self, key: int) -> None:
        """A lookup without a load is a hit, or follows such a load within the time."""
        calls, there = self.source.calls, key in self.cache
        found = self.cache.get_or_load(key, self.source)
        if self.source.calls > calls:
            assert (found is not None) == (key in self.source.keys)
            if found is None:
                self.since[key] = self.clock.now
        elif not there:
            assert found is None
            assert self.clock.now - self.since[key] <= TTL

    def change(self, action: str, key: int) -> None:
        """A change of the cache: afterwards no earlier load counts."""
        if action == "put":
            self.cache[key] = Weighted(key, KIB)
        elif action == "pop":
            self.cache.pop(key, None)
        elif action == "invalidate":
            self.cache.invalidate(key)
        else:
            self.cache.clear()
            self.since.clear()
        self.since.pop(key, None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["load", "put", "pop", "invalidate", "clear", "appear", "vanish", "wait"]),
            st.integers(0, 5),
        ),
        max_size=60,
    )
)
def test_a_lookup_is_never_older_than_the_negative_ttl(steps: list[tuple[str, int]]) -> None:
    model = Model()
    for action, key in steps:
        if action == "load":
            model.load(key)
        elif action == "appear":
            model.source.keys.add(key)
        elif action == "vanish":
            model.source.keys.discard(key)
        elif action == "wait":
            model.clock.advance(4)
        else:
            model.change(action, key)
        check_settled(model.cache)
