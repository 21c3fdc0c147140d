"""Lookups of asyncio tasks: one load for tasks and threads, and no wait stops the event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

from dagcache import Loaded, RecursiveLoadError
from dagcache.core import async_wait
from dagcache.core.single_flight import Flight, FlightResult
from tests.support import probe
from tests.support.caches import KIB, MIB, Unfreezable, Weighted, check_settled, make_cache
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("quiet")


class Loader:
    """A coroutine function that waits for a permission, and counts its calls."""

    def __init__(self, *, kind: type[Weighted] = Weighted) -> None:
        self.calls = 0
        self.started = asyncio.Event()
        self.permission = asyncio.Event()
        self._kind = kind

    async def __call__(self, key: Any) -> Weighted:
        self.calls += 1
        self.started.set()
        await self.permission.wait()
        return self._kind(key)


async def at_once(key: Any) -> Weighted:
    """A loader that does not wait."""
    return Weighted(key)


async def turns(number: int = 20) -> None:
    """Let all other tasks go as far as they can."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_value_is_loaded_once_and_then_found() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        first = await cache.aget_or_load("a", at_once)
        assert await cache.aget_or_load("a", at_once) is first
        assert cache.get("a") is first

    asyncio.run(work())
    assert (cache.stats().loads, cache.stats().hits_live) == (1, 2)
    check_settled(cache)


def test_a_frozen_value_is_thawed() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    asyncio.run(cache.aget_or_load("a", at_once))
    cache.fetch("a", private=True, renew=True)  # gives up the live copy
    assert asyncio.run(cache.aget_or_load("a", at_once)).label == "a"
    assert (cache.stats().loads, cache.stats().hits_frozen) == (1, 2)
    check_settled(cache)


def test_tasks_share_one_load() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        loader = Loader()
        tasks = [asyncio.create_task(cache.aget_or_load("a", loader)) for _ in range(50)]
        await turns()
        loader.permission.set()
        values = await asyncio.gather(*tasks)
        assert loader.calls == 1
        assert len(set(map(id, values))) == 1

    asyncio.run(work())
    assert (cache.stats().loads, cache.stats().joins) == (1, 49)
    check_settled(cache)


def test_the_event_loop_goes_on_while_a_task_loads_and_others_wait() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        loader = Loader()
        tasks = [asyncio.create_task(cache.aget_or_load("a", loader)) for _ in range(3)]
        await loader.started.wait()
        assert (await cache.aget_or_load("b", at_once)).label == "b"
        loader.permission.set()
        await asyncio.gather(*tasks)

    asyncio.run(work())
    check_settled(cache)


def test_each_task_gets_an_error_of_its_own() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def fail(key: Any) -> Weighted:
        await asyncio.sleep(0)
        raise LookupError(key)

    async def work() -> list[Any]:
        return await asyncio.gather(*(cache.aget_or_load("a", fail) for _ in range(5)), return_exceptions=True)

    errors = asyncio.run(work())
    assert [type(error) for error in errors] == [LookupError] * 5
    assert len(set(map(id, errors))) == 5
    assert cache.stats().load_failures == 5
    check_settled(cache)


def test_a_loader_that_finds_nothing_is_an_absence() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def nothing(_: Any) -> None:
        return None

    assert asyncio.run(cache.aget_or_load("a", nothing)) is None
    assert cache.stats().absent == 1
    check_settled(cache)


def test_a_loader_may_return_loaded() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def load(key: Any) -> Loaded[Weighted]:
        return Loaded(Weighted(key), content="hash")

    assert asyncio.run(cache.aget_or_load("a", load)).label == "a"
    assert cache.fetch("a").content == "hash"
    check_settled(cache)


def test_a_cancelled_leader_passes_the_load_on() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        loader = Loader()
        leader = asyncio.create_task(cache.aget_or_load("a", loader))
        await loader.started.wait()
        follower = asyncio.create_task(cache.aget_or_load("a", loader))
        await turns()
        leader.cancel()
        await turns()
        assert loader.calls == 2
        loader.permission.set()
        assert (await follower).label == "a"
        with pytest.raises(asyncio.CancelledError):
            await leader

    asyncio.run(work())
    check_settled(cache)


def test_a_cancelled_follower_disturbs_nobody_else() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        loader = Loader()
        leader = asyncio.create_task(cache.aget_or_load("a", loader))
        await loader.started.wait()
        followers = [asyncio.create_task(cache.aget_or_load("a", loader)) for _ in range(3)]
        await turns()
        followers[1].cancel()
        await turns()
        loader.permission.set()
        done = await asyncio.gather(leader, *followers, return_exceptions=True)
        assert loader.calls == 1
        assert [type(each) for each in done] == [Weighted, Weighted, asyncio.CancelledError, Weighted]

    asyncio.run(work())
    check_settled(cache)


def test_a_wait_ends_at_its_timeout_with_a_load_of_its_own() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        hanging = Loader()
        leader = asyncio.create_task(cache.aget_or_load("a", hanging))
        await hanging.started.wait()
        assert (await cache.aget_or_load("a", at_once, timeout=0.01)).label == "a"
        hanging.permission.set()
        await leader

    asyncio.run(work())
    check_settled(cache)


def test_an_invalidation_lets_the_followers_start_over() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        old = Loader()
        leader = asyncio.create_task(cache.aget_or_load("a", old))
        await old.started.wait()
        follower = asyncio.create_task(cache.aget_or_load("a", at_once))
        await turns()
        cache.invalidate("a")
        new = await follower
        old.permission.set()
        assert await leader is not new
        assert cache.get("a") is new

    asyncio.run(work())
    check_settled(cache)


def test_a_load_that_asks_for_its_own_key_is_refused() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def load(key: Any) -> Any:
        return await cache.aget_or_load(key, at_once)

    with pytest.raises(RecursiveLoadError):
        asyncio.run(cache.aget_or_load("a", load))
    check_settled(cache)


def test_a_task_that_a_load_starts_is_a_part_of_it() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def load(key: Any) -> Weighted | None:
        return await asyncio.create_task(cache.aget_or_load(key, at_once))

    with pytest.raises(RecursiveLoadError):
        asyncio.run(cache.aget_or_load("a", load))
    check_settled(cache)


def test_a_load_may_ask_for_other_keys() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def load(number: int) -> Weighted:
        if number:
            await cache.aget_or_load(number - 1, load)
        return Weighted(number)

    assert asyncio.run(cache.aget_or_load(9, load)).label == 9
    assert cache.stats().loads == 10
    check_settled(cache)


def test_a_ring_of_tasks_is_refused_and_not_waited_for() -> None:
    """Each waits for the key of the next; one of them gets the error, and all come to an end."""
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> list[Any]:
        ready = [asyncio.Event() for _ in range(3)]

        async def load(number: int) -> Weighted:
            ready[number].set()
            for event in ready:
                await event.wait()
            await cache.aget_or_load((number + 1) % 3, load)
            return Weighted(number)

        return await asyncio.gather(*(cache.aget_or_load(number, load) for number in range(3)), return_exceptions=True)

    results = asyncio.run(asyncio.wait_for(work(), 60))
    assert RecursiveLoadError in map(type, results)
    check_settled(cache)


def test_a_thread_and_a_task_share_one_load() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    inside, permission = threading.Event(), threading.Event()

    def load(key: Any) -> Weighted:
        inside.set()
        assert permission.wait(PATIENCE)
        return Weighted(key)

    async def work() -> None:
        thread = asyncio.create_task(asyncio.to_thread(cache.get_or_load, "a", load))
        while not inside.is_set():
            await asyncio.sleep(0.001)
        task = asyncio.create_task(cache.aget_or_load("a", at_once))
        await turns()
        permission.set()
        assert await task is await thread
        loader = Loader()
        task = asyncio.create_task(cache.aget_or_load("b", loader))
        await loader.started.wait()
        thread = asyncio.create_task(asyncio.to_thread(cache.get_or_load, "b", load))
        await asyncio.sleep(0.01)
        loader.permission.set()
        assert await task is await thread

    asyncio.run(work())
    assert cache.stats().loads == 2
    check_settled(cache)


def test_a_blocking_lookup_in_the_event_loop_loads_beside_a_suspended_task() -> None:
    """To wait would stop the very task that it waits for."""
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        loader = Loader()
        task = asyncio.create_task(cache.aget_or_load("a", loader))
        await loader.started.wait()
        own = cache.get_or_load("a", Weighted)
        loader.permission.set()
        assert await task is not own

    asyncio.run(work())
    assert cache.stats().loads == 2
    check_settled(cache)


def test_a_task_without_a_frozen_form_is_shared_live() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> None:
        loader = Loader(kind=Unfreezable)
        loader.permission.set()
        values = await asyncio.gather(*(cache.aget_or_load("a", loader) for _ in range(4)))
        assert len(set(map(id, values))) == 1

    asyncio.run(work())
    check_settled(cache)


def test_an_event_loop_that_is_closed_in_the_middle_of_a_load_leaves_no_flight() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    loop = asyncio.new_event_loop()
    loader = Loader()
    task = loop.create_task(cache.aget_or_load("a", loader))
    loop.run_until_complete(loader.started.wait())
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    assert probe.flight_count(cache) == 0
    assert cache.get_or_load("a", Weighted).label == "a"
    check_settled(cache)


def test_a_coroutine_that_is_never_resumed_leaves_its_flight_to_others() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def load(key: Any) -> Weighted:
        await Never()
        return Weighted(key)

    suspended = cache.aget_or_load("a", load)
    suspended.send(None)
    suspended.close()
    assert cache.get_or_load("a", Weighted).label == "a"
    check_settled(cache)


def test_a_waker_of_a_closed_loop_is_ignored() -> None:
    flight = Flight()
    loop = asyncio.new_event_loop()
    with flight.pending:
        waiting = loop.create_task(async_wait.wait(flight))
        loop.run_until_complete(turns())
        assert len(flight.wakers) == 1
        waiting.cancel()
        loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        assert not flight.wakers
        flight.wakers.append(lambda: loop.call_soon_threadsafe(print))
        loop.close()
        flight.complete(FlightResult("value"))
    assert flight.result == FlightResult("value")


def test_no_value_is_held_by_the_machinery_of_a_load() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    async def work() -> weakref.ref[Weighted]:
        loader = Loader()
        tasks = [asyncio.create_task(cache.aget_or_load("a", loader)) for _ in range(3)]
        await turns()
        loader.permission.set()
        (reference, *_) = map(weakref.ref, await asyncio.gather(*tasks))
        return reference

    reference = asyncio.run(work())
    cache.close()
    gc.collect()
    assert reference() is None


async def _coroutine() -> int:
    return 1


async def _asynchronous() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    "make",
    [_coroutine, _asynchronous, lambda: iter([1]), lambda: (each for each in [1]), lambda: map(str, [1])],
    ids=["coroutine", "asynchronous generator", "iterator", "generator", "map"],
)
def test_a_value_that_can_be_used_once_only_is_refused(make: Any) -> None:
    """At the first load, not when the second caller finds it used up; and nothing warns of a lost coroutine."""
    cache, _ = make_cache(max_bytes=MIB)
    for action in (
        lambda: cache.get_or_load("a", lambda _: make()),
        lambda: cache.get_or_load("a", lambda _: Loaded(make())),
        lambda: cache.__setitem__("a", make()),
        lambda: cache.setdefault("a", make()),
    ):
        with pytest.raises(TypeError, match="can be used once only"):
            action()
        assert "a" not in cache
        check_settled(cache)


def test_many_tasks_and_threads_over_a_small_cache_agree() -> None:
    """A storm: evictions, cancellations, invalidations, threads beside the event loop."""
    cache, _ = make_cache(max_bytes=20 * KIB)
    over = threading.Event()

    async def load(key: int) -> Weighted:
        await asyncio.sleep(0)
        return Weighted(key, KIB)

    def beside() -> None:
        number = 0
        while not over.is_set():
            number += 1
            assert cache.get_or_load(number % 40, lambda key: Weighted(key, KIB)).label == number % 40
            if number % 17 == 0:
                cache.invalidate(number % 40)

    async def task(number: int) -> None:
        for turn in range(40):
            key = (number * 7 + turn) % 40
            lookup = asyncio.create_task(cache.aget_or_load(key, load))
            if (number + turn) % 11 == 0:
                await asyncio.sleep(0)
                lookup.cancel()
                await asyncio.gather(lookup, return_exceptions=True)
            else:
                assert (await lookup).label == key

    async def work() -> None:
        await asyncio.gather(*map(task, range(20)))

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        asyncio.run(work())
    finally:
        over.set()
        thread.join(PATIENCE)
    check_settled(cache)
