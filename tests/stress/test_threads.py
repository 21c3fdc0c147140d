"""Many threads: one load per key, exact counts, no stale value, never over the budget."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from dagcache import CacheStats, Loaded, RecursiveLoadError, Rejection
from tests.support import probe
from tests.support.caches import KIB, MIB, Unfreezable, Weighted, fill, make_cache, never
from tests.support.patience import PATIENCE


@pytest.fixture(autouse=True)
def _frequent_switches() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Do the work in so many threads that start together; their results or errors, in order."""
    results: list[Any] = [None] * number
    barrier = threading.Barrier(number)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    return results


def until(condition: Callable[[], bool]) -> None:
    """Spin until something has come true in another thread."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0)


def test_a_thousand_threads_on_one_key_load_once() -> None:
    cache, _ = make_cache()
    loads: list[Any] = []

    def loader(key: object) -> Weighted:
        loads.append(key)
        until(lambda: probe.waiting_threads(cache) == 999)
        return Weighted(key)

    results = in_threads(1000, lambda _: cache.get_or_load("a", loader))
    assert len(loads) == 1
    assert len({id(result) for result in results}) == 1
    stats = cache.stats()
    assert (stats.misses, stats.loads, stats.joins) == (1000, 1, 999)
    cache.check_invariants()


def test_a_hundred_keys_and_fifty_threads_make_a_hundred_loads() -> None:
    """Single flight is per key."""
    cache, _ = make_cache()
    loads: list[Any] = []

    def loader(key: int) -> Weighted:
        loads.append(key)
        return Weighted(key)

    def work(index: int) -> None:
        keys = list(range(100))
        random.Random(index).shuffle(keys)
        for key in keys:
            cache.get_or_load(key, loader)

    in_threads(50, work)
    assert sorted(loads) == list(range(100))
    assert cache.stats().lookups == 5000
    cache.check_invariants()


def test_a_failed_load_fails_for_its_own_caller_only() -> None:
    """The threads that waited call their own loaders; none of those fails."""
    cache, _ = make_cache()
    leading = threading.Event()

    def failing(_key: object) -> None:
        leading.set()
        until(lambda: probe.waiting_threads(cache) == 8)
        raise LookupError("a broken session")

    def work(index: int) -> object:
        if index == 0:
            return cache.get_or_load("a", failing)
        leading.wait(PATIENCE)
        return cache.get_or_load("a", lambda key: Weighted(key))

    results = in_threads(9, work)
    assert sum(isinstance(result, LookupError) for result in results) == 1
    assert results.count(Weighted("a")) == 8
    stats = cache.stats()
    assert (stats.load_failures, stats.loads, stats.misses + stats.hits) == (1, 1, 9)
    cache.check_invariants()


def test_each_failure_is_an_error_of_the_callers_own() -> None:
    """No exception object, and so no traceback, is seen by two callers; the loads run one at a time."""
    cache, _ = make_cache()
    running: list[int] = []
    together: list[int] = []

    def failing(_key: object) -> None:
        running.append(1)
        together.append(len(running))
        if len(together) == 1:
            until(lambda: probe.waiting_threads(cache) == 19)
        running.pop()
        raise LookupError("gone")

    results = in_threads(20, lambda _: cache.get_or_load("a", failing))
    assert all(type(result) is LookupError for result in results)
    assert len({id(result) for result in results}) == 20
    assert set(together) == {1}
    stats = cache.stats()
    assert (stats.misses, stats.load_failures, stats.joins) == (20, 20, 0)
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")
    cache.check_invariants()


def test_an_absence_is_not_shared() -> None:
    """A thread that waited asks its own loader, which may see what the first one did not."""
    cache, _ = make_cache()
    leading = threading.Event()

    def blind(_key: object) -> None:
        leading.set()
        until(lambda: probe.waiting_threads(cache) == 4)

    def work(index: int) -> object:
        if index == 0:
            return cache.get_or_load("a", blind)
        leading.wait(PATIENCE)
        return cache.get_or_load("a", lambda key: Weighted(key))

    results = in_threads(5, work)
    assert results == [None] + [Weighted("a")] * 4
    assert cache.stats().absent == 1
    cache.check_invariants()


def test_a_value_that_is_not_to_be_kept_is_not_shared() -> None:
    """``keep_if`` returns False: the other threads load, and that is kept."""
    cache, _ = make_cache()
    leading = threading.Event()

    def doubtful(_key: object) -> Loaded[Any]:
        leading.set()
        until(lambda: probe.waiting_threads(cache) == 4)
        return Loaded(Weighted("doubtful"), keep_if=lambda: False)

    def work(index: int) -> object:
        if index == 0:
            return cache.get_or_load("a", doubtful)
        leading.wait(PATIENCE)
        return cache.get_or_load("a", lambda key: Weighted(key))

    results = in_threads(5, work)
    assert results == [Weighted("doubtful")] + [Weighted("a")] * 4
    assert cache["a"] == Weighted("a")
    cache.check_invariants()


def a_load_that_hangs(cache: Any, value: Weighted) -> Callable[[], None]:
    """Have a thread load the key "a", which gives the value when what is returned is called."""
    leading, finish = threading.Event(), threading.Event()

    def hanging(_key: object) -> Weighted:
        leading.set()
        finish.wait(PATIENCE)
        return value

    leader = threading.Thread(target=cache.get_or_load, args=("a", hanging))
    leader.start()
    assert leading.wait(PATIENCE)

    def end() -> None:
        finish.set()
        leader.join(PATIENCE)

    return end


@pytest.mark.parametrize("how", ["invalidate", "assign", "delete", "clear", "pop"])
def test_a_change_frees_the_threads_that_wait_for_a_load(how: str) -> None:
    """They do not wait for a leader that hangs, and its late result is not kept."""
    cache, _ = make_cache()
    finish = a_load_that_hangs(cache, Weighted("old"))
    results: list[Any] = []
    followers = [
        threading.Thread(target=lambda: results.append(cache.get_or_load("a", lambda _: Weighted("new"))))
        for _ in range(5)
    ]
    for follower in followers:
        follower.start()
    until(lambda: probe.waiting_threads(cache) == 5)

    def delete() -> None:
        with pytest.raises(KeyError):
            del cache["a"]

    changes: dict[str, Callable[[], object]] = {
        "invalidate": lambda: cache.invalidate("a"),
        "assign": lambda: cache.__setitem__("a", Weighted("new")),
        "delete": delete,
        "clear": cache.clear,
        "pop": lambda: cache.pop("a", None),
    }
    changes[how]()
    for follower in followers:
        follower.join(PATIENCE)
    assert results == [Weighted("new")] * 5
    finish()
    assert cache["a"] == Weighted("new")
    cache.check_invariants()


def test_a_follower_that_has_waited_long_enough_loads() -> None:
    """The first one takes over and its value is kept; the leader that hangs keeps nothing."""
    cache, _ = make_cache()
    finish = a_load_that_hangs(cache, Weighted("old"))
    assert cache.get_or_load("a", lambda _: Weighted("new"), timeout=0.01) == Weighted("new")
    assert cache["a"] == Weighted("new")
    finish()
    assert cache["a"] == Weighted("new")
    assert cache.stats().rejections[Rejection.OVERTAKEN] == 1
    cache.check_invariants()


def test_a_lookup_that_does_not_wait_leaves_the_load_under_way_alone() -> None:
    """It loads separately; the other thread's value is kept."""
    cache, _ = make_cache()
    finish = a_load_that_hangs(cache, Weighted("kept"))
    assert cache.get_or_load("a", lambda _: Weighted("beside"), timeout=0) == Weighted("beside")
    finish()
    assert cache["a"] == Weighted("kept")
    cache.check_invariants()


@pytest.mark.parametrize("timeout", [float("nan"), -1, 10**400, float("inf"), 1e-9])
def test_any_number_is_a_timeout(timeout: float) -> None:
    """Of more than a thread can wait, and of none."""
    cache, _ = make_cache()
    finish = a_load_that_hangs(cache, Weighted("a"))
    if timeout > 1:
        follower = threading.Thread(target=cache.get_or_load, args=("a", never), kwargs={"timeout": timeout})
        follower.start()
        until(lambda: probe.waiting_threads(cache) == 1)
        finish()
        follower.join(PATIENCE)
        assert not follower.is_alive()
    else:
        assert cache.get_or_load("a", lambda _: Weighted("beside"), timeout=timeout) == Weighted("beside")
        finish()
    cache.check_invariants()


def test_nobody_waits_twice_for_loaders_that_hang() -> None:
    """Each caller waits for its time-out once; then its own loader runs beside the others."""
    cache, _ = make_cache()
    running = threading.Semaphore(0)
    finish = threading.Event()

    def hanging(key: object) -> Weighted:
        running.release()
        finish.wait(PATIENCE)
        return Weighted(key)

    threads = [threading.Thread(target=lambda: cache.get_or_load("a", hanging, timeout=0.01)) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert all(running.acquire(timeout=PATIENCE) for _ in threads)
    finish.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert cache.stats().loads == 8
    assert probe.flight_count(cache) == 0
    cache.check_invariants()


def test_followers_try_again_when_their_leader_is_interrupted() -> None:
    """One of them loads; only the interrupted thread sees the interrupt."""
    cache, _ = make_cache()
    attempts: list[Any] = []

    def loader(key: object) -> Weighted:
        attempts.append(key)
        if len(attempts) == 1:
            until(lambda: probe.waiting_threads(cache) == 9)
            raise KeyboardInterrupt
        return Weighted(key)

    results = in_threads(10, lambda _: cache.get_or_load("a", loader))
    assert sum(isinstance(result, KeyboardInterrupt) for result in results) == 1
    assert sum(result == Weighted("a") for result in results) == 9
    assert len(attempts) == 2
    cache.check_invariants()


def test_a_thaw_is_shared_too() -> None:
    """Many threads on one frozen entry thaw it once."""
    cache, _ = make_cache(max_bytes=300 * KIB)
    fill(cache, range(4))
    key = next(info.key for info in cache.entries() if info.tier == "frozen")
    thaws: list[bytes] = []
    whole = probe.freezer(cache)

    class Counting:
        freeze = whole.freeze

        def thaw(self, data: bytes) -> object:
            thaws.append(data)
            until(lambda: probe.waiting_threads(cache) == 19)
            return whole.thaw(data)

    probe.replace_freezer(cache, Counting())
    before = cache.stats()
    results = in_threads(20, lambda _: cache.get_or_load(key, never))
    assert len(thaws) == 1
    assert len({id(result) for result in results}) == 1
    assert cache.stats().hits_frozen - before.hits_frozen == 20
    cache.check_invariants()


def test_a_hanging_load_blocks_only_its_own_key() -> None:
    """Others are served meanwhile, from the cache and from their loaders."""
    cache, _ = make_cache()
    fill(cache, ["there"])
    loading, finish = threading.Event(), threading.Event()

    def hanging(key: object) -> Weighted:
        loading.set()
        finish.wait(PATIENCE)
        return Weighted(key)

    thread = threading.Thread(target=cache.get_or_load, args=("slow", hanging))
    thread.start()
    assert loading.wait(PATIENCE)
    assert cache.get("there") == Weighted("there")
    assert cache.get_or_load("other", lambda key: Weighted(key)) == Weighted("other")
    assert cache.get("slow") is None
    assert cache.stats().loads == 2
    finish.set()
    thread.join(PATIENCE)
    assert cache.get("slow") == Weighted("slow")
    cache.check_invariants()


def test_two_loads_that_wait_for_each_other_are_an_error_and_no_deadlock() -> None:
    """A ring of threads is noticed by the one that would close it."""
    cache, _ = make_cache()
    both = threading.Barrier(2)

    def crosswise(key: str) -> Weighted:
        with suppress(threading.BrokenBarrierError):
            both.wait(PATIENCE)
        both.abort()
        other = "b" if key == "a" else "a"
        return Weighted((key, cache.get_or_load(other, crosswise)))

    results = in_threads(2, lambda index: cache.get_or_load("ab"[index], crosswise))
    assert all(isinstance(result, RecursiveLoadError) for result in results)
    assert len(cache) == 0
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")


def test_a_value_assigned_while_others_load_is_what_later_lookups_see() -> None:
    """So do those that waited; the cache keeps what was assigned."""
    cache, _ = make_cache()

    def slow(_key: object) -> Weighted:
        until(lambda: probe.waiting_threads(cache) == 4)
        cache["a"] = Weighted("assigned")
        assert cache.get_or_load("a", never) == Weighted("assigned")
        return Weighted("loaded")

    results = in_threads(5, lambda _: cache.get_or_load("a", slow))
    assert sorted(results) == [Weighted("assigned")] * 4 + [Weighted("loaded")]
    assert cache["a"] == Weighted("assigned")
    assert cache.stats().rejections[Rejection.OVERTAKEN] == 1
    cache.check_invariants()


def test_a_follower_notices_that_its_leader_died() -> None:
    """A thread that vanished without landing its flight does not hold up the key."""
    cache, _ = make_cache()
    flight = None

    def vanish() -> None:
        nonlocal flight
        from dagcache.core.single_flight import Flight

        flight = Flight()
        probe.register_flight(cache, "a", flight)

    thread = threading.Thread(target=vanish)
    thread.start()
    thread.join()
    assert cache.get_or_load("a", lambda key: Weighted(key)) == Weighted("a")


def is_over_budget(stats: CacheStats) -> bool:
    """Whether the residents are. While a call takes apart what it has displaced, both are there."""
    return stats.total_bytes - stats.waiting_bytes > stats.max_bytes


def churn(cache: Any, seed: int, turns: int, source: dict[int, int], told: dict[int, int]) -> tuple[int, list[str]]:
    """Look up, assign and delete at random; the number of lookups, and the faults.

    The source is written first, then the cache: from then on no lookup may return anything older.
    """
    rng = random.Random(seed)
    lookups, wrong = 0, []
    for turn in range(turns):
        key = rng.randrange(60)
        what = rng.random()
        if what < 0.05 and key % 8 == seed % 8:  # each key has one writer, so its version can be checked
            source[key] = turn
            cache[key] = Weighted((key, turn), 60 * KIB)
            told[key] = turn
        elif what < 0.07:
            cache.pop(key, None)
            lookups += 1
        else:
            least = told.get(key, -1)
            kind = Unfreezable if key % 9 == 0 else Weighted
            value = cache.get_or_load(key, lambda key, kind=kind: kind((key, source.get(key, -1)), 60 * KIB))
            lookups += 1
            if value.label[0] != key:
                wrong.append(f"{value} under {key}")
            if value.label[1] < least:
                wrong.append(f"{value} is older than {least}")
        if turn % 50 == 0 and is_over_budget(cache.stats()):
            wrong.append("over the budget")
    return lookups, wrong


def churn_in_threads(turns: int) -> tuple[Any, int, list[str]]:
    """Eight threads, sixty keys, a budget for sixteen."""
    cache, clock = make_cache(max_bytes=MIB, ttl=50)
    source: dict[int, int] = {}
    told: dict[int, int] = {}

    def work(seed: int) -> tuple[int, list[str]]:
        if seed == 8:
            for turn in range(turns // 20):
                clock.advance(0.1)
                cache.resize(MIB if turn % 2 else MIB // 2)
            return 0, []
        return churn(cache, seed, turns, source, told)

    results = in_threads(9, work)
    assert all(isinstance(result, tuple) for result in results), results
    return cache, sum(lookups for lookups, _ in results), [line for _, lines in results for line in lines]


def test_counts_are_exact_and_no_value_is_stale_under_eight_threads() -> None:
    """Hits and misses add up to the lookups, the budget holds, versions never go back."""
    cache, lookups, wrong = churn_in_threads(600)
    assert wrong == []
    stats = cache.stats()
    assert stats.lookups == lookups
    assert stats.internal_errors == 0
    cache.check_invariants()


@pytest.mark.soak
def test_eight_threads_for_a_minute() -> None:
    """The same, at least a minute long."""
    started = time.monotonic()
    while time.monotonic() - started < 60:
        cache, lookups, wrong = churn_in_threads(5000)
        assert wrong == []
        assert cache.stats().lookups == lookups
        assert cache.stats().internal_errors == 0
        cache.check_invariants()


def test_hits_without_a_lock_are_counted_exactly() -> None:
    """Eight threads that only hit: not one count is lost."""
    cache, _ = make_cache()
    fill(cache, range(10))

    def work(_: int) -> None:
        for turn in range(20_000):
            cache.get(turn % 10)

    in_threads(8, work)
    stats = cache.stats()
    assert stats.hits_live == 160_000
    assert stats.misses == 10
