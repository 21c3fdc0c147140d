"""Greenlets of one thread: each is a caller of its own, and none blocks the thread for another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.util import await_only, greenlet_spawn

from dagcache import RecursiveLoadError
from tests.support import probe
from tests.support.caches import MIB, Weighted, make_cache

pytestmark = pytest.mark.usefixtures("quiet")


def test_four_greenlets_that_load_one_key_all_get_it() -> None:
    """As `AsyncSession.run_sync` in four tasks: the first load is suspended while the others ask."""
    cache, _ = make_cache(max_bytes=MIB)

    def load(key: Any) -> Weighted:
        await_only(asyncio.sleep(0.01))
        return Weighted(key)

    async def work() -> list[Any]:
        return await asyncio.gather(*(greenlet_spawn(cache.get_or_load, "a", load) for _ in range(4)))

    assert [value.label for value in asyncio.run(asyncio.wait_for(work(), 60))] == ["a"] * 4
    assert probe.flight_count(cache) == 0
    cache.check_invariants()
    assert cache.get("a") is not None


def test_a_greenlet_whose_load_asks_for_its_own_key_is_refused() -> None:
    cache, _ = make_cache(max_bytes=MIB)

    def load(key: Any) -> Any:
        await_only(asyncio.sleep(0))
        return cache.get_or_load(key, Weighted)

    async def work() -> None:
        await greenlet_spawn(cache.get_or_load, "a", load)

    with pytest.raises(RecursiveLoadError):
        asyncio.run(asyncio.wait_for(work(), 60))
    cache.check_invariants()
