"""Lookups: results, counts, and the loading thread."""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dagcache import DagCache, Loaded, RecursiveLoadError, Rejection, RemovalCause
from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD
from dagcache.errors import ThawError
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim import gc_lap
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from dagcache.reclaim.gc_pause import SELDOM
from tests.support import probe
from tests.support.caches import KIB, MIB, Unfreezable, Weighted, fill, make_cache, never, stated_weight


def test_a_missing_key_gives_the_default() -> None:
    """`get` never loads."""
    cache, _ = make_cache()
    assert cache.get("a") is None
    assert cache.get("a", 7) == 7
    assert cache.stats().absent == 2
    cache.check_invariants()


def test_a_loaded_value_is_returned_and_kept() -> None:
    """The second lookup finds the very object that the first one loaded."""
    cache, _ = make_cache()
    value = cache.get_or_load("a", lambda key: Weighted(key))
    assert cache.get_or_load("a", never) is value
    assert cache.get("a") is value
    assert cache["a"] is value
    cache.check_invariants()


def test_the_collector_runs_seldom_while_a_value_is_loaded() -> None:
    cache, _ = make_cache()
    usual = gc.get_threshold()
    during = cache.get_or_load("a", lambda _: gc.get_threshold())
    assert during is not None
    assert during[0] > usual[0]
    assert gc.isenabled()
    gc_lap._lap.end()
    assert gc.get_threshold() == usual
    cache.check_invariants()


def test_a_failing_load_leaves_the_collector_as_it_was() -> None:
    """However a load ends."""
    cache, _ = make_cache()
    usual = gc.get_threshold()
    with pytest.raises(ZeroDivisionError):
        cache.get_or_load("a", lambda _: 1 / 0)
    assert gc.get_threshold() == usual


def test_a_loader_that_returns_none_says_there_is_none() -> None:
    """None is returned, nothing is kept, and the next lookup asks again."""
    cache, _ = make_cache()
    assert cache.get_or_load("a", lambda _: None) is None
    assert "a" not in cache
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")
    assert cache.stats().absent == 1
    assert cache.stats().loads == 1


def test_none_can_be_cached_on_purpose() -> None:
    """`Loaded(None)` and an assignment of None are values."""
    cache: DagCache[str, Any] = DagCache(max_bytes=0)
    assert cache.get_or_load("a", lambda _: Loaded(None)) is None
    cache["b"] = None
    assert cache.get_or_load("a", never) is None
    assert cache.get_or_load("b", never) is None
    assert cache.get("b", 7) is None


def test_an_error_of_the_loader_passes_unwrapped() -> None:
    """The same exception object reaches the caller, nothing is cached, and the next lookup loads."""
    cache, _ = make_cache()
    error = LookupError("database is down")

    def failing(_key: object) -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        cache.get_or_load("a", failing)
    assert caught.value is error
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")
    stats = cache.stats()
    assert (stats.misses, stats.load_failures, stats.loads) == (2, 1, 1)
    cache.check_invariants()


def test_an_interrupted_load_is_not_counted_and_does_not_block_the_key() -> None:
    """KeyboardInterrupt passes through a load, and the key can be loaded at once."""
    cache, _ = make_cache()

    def interrupted(_key: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_load("a", interrupted)
    assert cache.stats().lookups == 0
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")
    cache.check_invariants()


def test_every_lookup_counts_as_exactly_one_thing() -> None:
    """Live hits, frozen hits and misses add up to the lookups; the outcomes of misses add up to the misses."""
    cache, clock = make_cache(max_bytes=MIB)
    lookups = 0
    for lap in range(5):
        for key in range(20):
            clock.advance(1)
            if lap % 2:
                cache.get(key)
            else:
                cache.get_or_load(key, lambda key: Weighted(key) if key % 5 else None)
            lookups += 1
            cache.check_invariants()
    stats = cache.stats()
    assert stats.lookups == lookups
    assert stats.loads + stats.load_failures + stats.joins + stats.absent == stats.misses
    assert min(stats.hits_live, stats.hits_frozen, stats.misses) > 0


def test_a_frozen_entry_is_thawed_into_an_equal_value() -> None:
    cache, clock = make_cache(max_bytes=MIB)
    fill(cache, range(40))
    clock.advance(10)
    stats = cache.stats()
    assert stats.live_entries < stats.entries == 40
    for key in range(40):
        assert cache.get_or_load(key, never) == Weighted(key)
        cache.check_invariants()
    assert cache.stats().hits_frozen > 0


def test_a_value_without_a_frozen_form_is_kept_live_only() -> None:
    """It is cached, counted, and gone when it is evicted."""
    cache, _ = make_cache(max_bytes=MIB)
    cache["a"] = Unfreezable("a")
    assert cache.stats().unfrozen == 1
    assert cache.entries()[0].frozen_bytes == 0
    assert cache.get("a") == Unfreezable("a")
    cache.resize(50 * KIB)
    assert "a" not in cache
    assert cache.stats().evictions[RemovalCause.SIZE] == 1
    cache.check_invariants()


def test_without_a_freezer_it_is_a_plain_byte_budgeted_cache() -> None:
    cache, clock = make_cache(max_bytes=MIB, freezer=None)
    for key in range(40):
        clock.advance(5)
        fill(cache, [key])
        cache.check_invariants()
    stats = cache.stats()
    assert stats.frozen_entries == stats.frozen_bytes == 0
    assert 5 <= stats.entries <= 10
    assert stats.demotions == 0


def test_a_load_of_the_key_that_is_being_loaded_is_an_error() -> None:
    """A loader that asks for its own key gets an error instead of a deadlock."""
    cache, _ = make_cache()

    def recursive(key: object) -> Any:
        return cache.get_or_load(key, recursive)

    with pytest.raises(RecursiveLoadError, match="'a'"):
        cache.get_or_load("a", recursive)
    assert isinstance(RecursiveLoadError(), RuntimeError)
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")


def test_a_loader_may_load_other_keys() -> None:
    """Loads nest as long as they do not come back."""
    cache, _ = make_cache()
    value = cache.get_or_load("a", lambda _: cache.get_or_load("b", lambda key: Weighted(key)))
    assert value == Weighted("b")
    assert len(cache) == 2


def test_a_value_assigned_during_its_load_stays() -> None:
    """The load serves the older value to its callers and does not put it back."""
    cache, _ = make_cache()

    def slow(key: object) -> Weighted:
        cache[key] = Weighted("newer")
        return Weighted("older")

    assert cache.get_or_load("a", slow) == Weighted("older")
    assert cache["a"] == Weighted("newer")
    assert cache.stats().rejections[Rejection.OVERTAKEN] == 1
    cache.check_invariants()


@pytest.mark.parametrize("how", ["delete", "invalidate", "clear", "pop"])
def test_a_key_removed_during_its_load_is_not_resurrected(how: str) -> None:
    cache, _ = make_cache()

    def slow(key: object) -> Weighted:
        cache[key] = Weighted("in between")
        remove: dict[str, Callable[[], object]] = {
            "delete": lambda: cache.__delitem__(key),
            "invalidate": lambda: cache.invalidate(key),
            "clear": cache.clear,
            "pop": lambda: cache.pop(key),
        }
        remove[how]()
        return Weighted("older")

    cache.get_or_load("a", slow)
    assert "a" not in cache
    cache.check_invariants()


@pytest.mark.parametrize("inside", [False, True], ids=["outside of a change", "in the middle of a change"])
def test_popping_a_key_that_is_only_being_loaded_diverts_the_load(inside: bool) -> None:
    cache, _ = make_cache()

    def pop() -> None:
        assert cache.pop("a", None) is None

    def slow(key: object) -> Weighted:
        if inside:
            probe.run_locked(cache, pop)
        else:
            pop()
        return Weighted("older")

    cache.get_or_load("a", slow)
    assert "a" not in cache
    cache.check_invariants()


def test_deleting_a_key_that_is_only_being_loaded_diverts_the_load() -> None:
    cache, _ = make_cache()

    def slow(key: object) -> Weighted:
        with pytest.raises(KeyError):
            del cache[key]
        return Weighted("older")

    cache.get_or_load("a", slow)
    assert "a" not in cache


def test_a_thaw_that_fails_becomes_a_load() -> None:
    cache, _ = make_cache(max_bytes=300 * KIB)
    fill(cache, ["a", "b", "c", "d"])
    frozen_only = next(info.key for info in cache.entries() if info.tier == "frozen")
    probe.damage(cache, frozen_only, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    assert cache.get_or_load(frozen_only, lambda _: Weighted("anew")) == Weighted("anew")
    stats = cache.stats()
    assert (stats.thaw_failures, stats.evictions[RemovalCause.STALE]) == (1, 1)
    cache.check_invariants()


def test_a_damaged_copy_is_thawed_once() -> None:
    """A second try would fail as well, without end."""
    thaws: list[bytes] = []

    class Damaged(PickleFreezer):
        def thaw(self, data: bytes) -> object:
            thaws.append(data)
            if len(thaws) > 1:
                pytest.fail("a second thaw")
            raise ThawError("damaged")

    cache, _ = make_cache(max_bytes=300 * KIB, freezer=Damaged())
    fill(cache, ["a", "b", "c", "d"])
    frozen_only = next(info.key for info in cache.entries() if info.tier == "frozen")
    assert cache.get(frozen_only) is None
    assert cache.get(frozen_only) is None
    assert len(thaws) == 1
    cache.check_invariants()


def test_a_failed_thaw_without_a_loader_is_an_absent_miss() -> None:
    """`get` of a damaged entry gives the default."""
    cache, _ = make_cache(max_bytes=300 * KIB)
    fill(cache, ["a", "b", "c", "d"])
    frozen_only = next(info.key for info in cache.entries() if info.tier == "frozen")
    probe.damage(cache, frozen_only, lambda data: bytes(len(data)))
    before = cache.stats()
    assert cache.get(frozen_only, "gone") == "gone"
    after = cache.stats()
    assert (after.absent - before.absent, after.lookups - before.lookups) == (1, 1)
    cache.check_invariants()


def test_contains_is_no_lookup_and_no_use() -> None:
    """`in` neither counts nor keeps an entry from expiring."""
    cache, clock = make_cache(ttl=10)
    fill(cache, ["a"])
    clock.advance(9)
    assert "a" in cache
    clock.advance(2)
    assert "a" not in cache
    assert cache.stats().lookups == 1


def test_a_sizer_replaces_the_built_in_weighing() -> None:
    cache: DagCache[str, Weighted] = DagCache(max_bytes=0, sizer=stated_weight)
    cache["a"] = Weighted("a", 12_345)
    assert cache.stats().live_bytes == 12_345


def test_the_built_in_weighing_is_near_the_truth_for_a_plain_value() -> None:
    """Without a sizer a list of a thousand floats weighs what its blocks weigh, which are multiples of 16 bytes."""
    cache: DagCache[str, list[float]] = DagCache(max_bytes=0)
    cache["a"] = [i + 0.5 for i in range(1000)]
    block = (sys.getsizeof(0.5) + 15) // 16 * 16
    assert cache.stats().live_bytes == pytest.approx(1000 * 8 + 56 + 1000 * block, rel=0.1)


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), None, "heavy", True])
def test_a_value_that_cannot_be_weighed_is_served_and_not_kept(weight: Any) -> None:
    """A sizer's nonsense is counted, and an older value does not stay behind as if current."""
    weights: list[Any] = [100]
    cache, _ = make_cache(sizer=lambda _: weights[0])
    cache["a"] = 1
    weights[0] = weight
    cache["a"] = 2
    assert "a" not in cache
    assert cache.get_or_load("b", lambda _: 3) == 3
    assert "b" not in cache
    assert cache.stats().rejections[Rejection.SIZER] == 2
    cache.check_invariants()


@pytest.mark.parametrize("error", [ValueError, MemoryError, RecursionError])
def test_a_sizer_that_raises_costs_the_caller_nothing(error: type[Exception]) -> None:
    """The value is served, not kept, and counted."""

    def failing(_value: object) -> int:
        raise error

    cache, _ = make_cache(sizer=failing)
    assert cache.get_or_load("a", lambda _: 1) == 1
    assert cache.stats().rejections[Rejection.SIZER] == 1
    assert len(cache) == 0


def test_a_loader_can_say_what_the_value_weighs_at_its_source() -> None:
    """`Loaded.serialized_bytes` is added up for the residents."""
    cache, _ = make_cache()
    cache.get_or_load("a", lambda key: Loaded(Weighted(key), serialized_bytes=700))
    cache.get_or_load("b", lambda key: Loaded(Weighted(key), serialized_bytes=50))
    assert cache.stats().serialized_bytes == 750
    del cache["a"]
    assert cache.stats().serialized_bytes == 50
    assert cache.entries()[0].serialized_bytes == 50


@pytest.mark.parametrize("frozen", [True, False])
def test_records_of_the_loader_are_part_of_the_overhead(frozen: bool) -> None:
    """`Loaded.record_bytes`, until the entry leaves; the budget bounds them as well."""
    cache, _ = make_cache(max_bytes="1MiB", frozen=frozen, sizer=lambda _: 100)
    cache.get_or_load("a", lambda key: Loaded(Weighted(key), record_bytes=5000))
    assert cache.stats().overhead_bytes == ENTRY_OVERHEAD + LIVE_OVERHEAD + 5000
    cache.check_invariants()
    for number in range(400):
        cache.get_or_load(number, lambda key: Loaded(Weighted(key), record_bytes=5000))
        cache.check_invariants()
    assert len(cache) < 200
    cache.clear()
    assert cache.stats().overhead_bytes == 0


def test_the_age_of_the_next_victim_is_told() -> None:
    """The gauge says how long what leaves next has been idle."""
    cache, clock = make_cache()
    assert cache.stats().next_victim_idle_seconds == 0
    fill(cache, ["old"])
    clock.advance(50)
    fill(cache, ["new"])
    clock.advance(5)
    assert cache.stats().next_victim_idle_seconds == 55


def test_a_snapshot_can_be_turned_into_plain_data() -> None:
    """For logs and for JSON."""
    cache, _ = make_cache()
    fill(cache, ["a"])
    plain = dataclasses.asdict(cache.stats())
    assert plain["misses"] == 1
    assert plain["rejections"][Rejection.SIZER] == 0


def test_entries_tell_what_is_resident() -> None:
    """One line per entry: tier, bytes, idle time, hits, load time."""
    cache, clock = make_cache()
    fill(cache, ["a"])
    clock.advance(3)
    cache.get("a")
    clock.advance(4)
    (info,) = cache.entries()
    assert (info.key, info.tier, info.live_bytes, info.idle_seconds) == ("a", "live", 100 * KIB, 4)
    assert info.hits == 1
    assert 0 < info.frozen_bytes < KIB
    assert info.load_seconds > 0


def test_observing_evicts_nothing_and_accounts_everything() -> None:
    """`mode=observe` shows what would be held."""
    cache, clock = make_cache(max_bytes=MIB, ttl=10, mode="observe")
    fill(cache, range(40))
    clock.advance(100)
    stats = cache.stats()
    assert stats.entries == stats.live_entries == 40
    assert stats.live_bytes == 40 * 100 * KIB
    assert stats.max_bytes == MIB
    cache.check_invariants()


class _Watching(GenericBreaker):
    """Notes how seldom the automatic collector ran while something was taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.thresholds: list[int] = []

    def release(self, value_cell: list[object]) -> Outcome:
        """As the generic one."""
        self.thresholds.append(gc.get_threshold()[0])
        return super().release(value_cell)


def test_the_collector_rests_until_what_a_thaw_displaced_is_gone() -> None:
    """As many objects die as were born: counted before, they would make a collection due after every thaw."""
    breaker = _Watching()
    cache, clock = make_cache(max_bytes=MIB, breaker=breaker)
    fill(cache, range(20))
    gc_lap._lap.end()
    breaker.thresholds.clear()
    for _ in range(3):
        clock.advance(10)
        fill(cache, range(20))
    assert set(breaker.thresholds) == {SELDOM}
    assert cache.stats().demotions > 0
    assert gc.get_threshold()[0] != SELDOM


def test_the_bytes_of_a_frozen_copy_are_known_without_a_lookup() -> None:
    """0 without one: not resident, expired, or a value that does not freeze."""
    cache, clock = make_cache(ttl=60)
    cache.get_or_load("a", Weighted)
    cache["live only"] = Unfreezable("b")
    before = cache.stats().lookups
    (info,) = (entry for entry in cache.entries() if entry.key == "a")
    assert cache.frozen_bytes("a") == info.frozen_bytes > 0
    assert cache.frozen_bytes("live only") == cache.frozen_bytes("missing") == 0
    clock.advance(61)
    assert cache.frozen_bytes("a") == 0
    assert cache.stats().lookups == before
