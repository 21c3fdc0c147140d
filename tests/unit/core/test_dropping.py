"""A cache that is dropped: its values, and its own records, are freed by reference counting."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dagcache import DagCache, Loaded
from dagcache.core.parts import ORPHANS
from dagcache.forks import run_steps
from dagcache.metrics.collector import CacheCollector
from dagcache.traces.recording import record
from tests.support import probe
from tests.support.caches import KIB, MIB, Removals, Unfreezable, Weighted, demote_all, fill, make_cache, never
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")


class Node:
    """A part of a cyclic value."""

    def __init__(self, root: Node | None = None) -> None:
        self.root = root or self
        self.parts = [Node(self) for _ in range(3)] if root is None else []


def nodes() -> int:
    """The number of parts that exist."""
    return sum(type(found) is Node for found in gc.get_objects())


def ours(found: object) -> bool:
    """Whether an object is of a class, or a function, of the package."""
    return (found.__module__ if isinstance(found, FunctionType) else type(found).__module__).startswith("dagcache.")


@contextmanager
def no_garbage() -> Iterator[None]:
    """Nothing of the package is left to the collector by the block."""
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        left = [found for found in gc.garbage if ours(found)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []


def use(cache: DagCache[Any, Any]) -> None:
    """Each kind of lookup and change."""
    cache.get_or_load("a", Weighted)
    cache.get_or_load("a", never)
    cache.get("a")
    cache.get("missing")
    cache["b"] = Unfreezable("b")
    cache.get_or_load_many(["a", "c"], lambda keys: {key: Weighted(key) for key in keys})
    cache.fetch("a", private=True, renew=True)
    cache.get("a")
    cache.pop("c")
    cache.invalidate("d")
    cache.get_or_load("e", lambda key: Loaded(Weighted(key), version=("e", 1)))
    asyncio.run(cache.aget_or_load("f", load_async))
    list(cache.items())
    cache.stats()
    cache.expire()
    cache.resize(MIB)
    cache.check_invariants()


async def load_async(key: Any) -> Weighted:
    """A loader of a task."""
    return Weighted(key)


@pytest.mark.parametrize("settings", [{}, {"frozen": False}, {"negative_ttl": 5, "max_age": 60}, {"on_removal": print}])
def test_a_dropped_cache_leaves_nothing_to_the_collector(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the cache, nor its parts, nor the functions that it made."""
    with no_garbage():
        cache, _ = make_cache(max_bytes=MIB, **settings)
        use(cache)
        parts = [weakref.ref(cache), *map(weakref.ref, probe.parts(cache))]
        capsys.readouterr()
        del cache
    assert [part() for part in parts] == [None] * len(parts)
    assert capsys.readouterr().out == "", "the listener is for removals from a cache that is there"


@pytest.mark.parametrize("settings", [{}, {"frozen": False}, {"breaker": None}])
def test_the_values_of_a_dropped_cache_are_freed_at_once(settings: dict[str, Any]) -> None:
    cache, _ = make_cache(max_bytes=MIB, **settings)
    fill(cache, "abc", KIB)
    cache["d"] = Unfreezable("d", KIB)
    values = [weakref.ref(value) for value in probe.live_values(cache).values()]
    assert len(values) == 4
    del cache
    assert [value() for value in values] == [None] * 4


def test_cyclic_values_of_a_dropped_cache_are_taken_apart() -> None:
    """The census sees a weak reference as a holder, so the test counts objects."""
    cache: DagCache[str, Node] = DagCache(max_bytes=0)
    for key in "abc":
        cache.get_or_load(key, lambda _: Node())
    assert nodes() == 12
    del cache
    assert nodes() == 0


def test_a_value_that_a_caller_holds_stays_whole() -> None:
    cache: DagCache[str, Node] = DagCache(max_bytes=0)
    held = cache.get_or_load("a", lambda _: Node())
    part = cache.get_or_load("b", lambda _: Node()).parts[1]
    del cache
    assert [each.root is held for each in held.parts] == [True] * 3
    assert part.root.parts[1] is part


def test_values_that_wait_are_freed_too() -> None:
    """They left while a caller held them."""
    cache: DagCache[str, Node] = DagCache(max_bytes=0)
    value = cache.get_or_load("a", lambda _: Node())
    cache.clear()
    del value
    assert nodes() == 4
    del cache
    assert nodes() == 0


def watched(cache: DagCache[Any, Any], _path: Path) -> None:
    """Watched, and no longer."""
    for _ in range(3):
        cache.watch(lambda _: None)
        cache.get("a")
        cache.watch(None)


def recorded(cache: DagCache[Any, Any], path: Path) -> None:
    """Recorded, and no longer."""
    with record(cache, path / "trace"):
        cache.get("a")


def collected(cache: DagCache[Any, Any], _path: Path) -> None:
    """In a registry of metrics, and no longer."""
    registry = CollectorRegistry()
    collector = CacheCollector([cache])
    registry.register(collector)
    list(registry.collect())
    registry.unregister(collector)


def demoted(cache: DagCache[Any, Any], _path: Path) -> None:
    """Without live copies."""
    cache.pop("unfrozen")
    demote_all(cache)


def torn(cache: DagCache[Any, Any], _path: Path) -> None:
    """With a change that an interrupt has torn."""
    probe.tear(cache)


def forked(_cache: DagCache[Any, Any], _path: Path) -> None:
    """As in a forked child."""
    run_steps()


def waited_for(cache: DagCache[Any, Any], _path: Path) -> None:
    """With a load that another thread has joined."""
    inside = threading.Event()

    def load(key: Any) -> Weighted:
        inside.set()
        while not probe.waiting_threads(cache):
            threading.Event().wait(0.001)
        return Weighted(key, KIB)

    threads = [threading.Thread(target=cache.get_or_load, args=("joined", load)) for _ in range(2)]
    threads[0].start()
    assert inside.wait(PATIENCE)
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE)


@pytest.mark.parametrize("before", [watched, recorded, collected, demoted, torn, forked, waited_for])
@pytest.mark.usefixtures("quiet")
def test_a_cache_is_freed_whatever_happened_before(
    before: Callable[[DagCache[Any, Any], Path], None], tmp_path: Path
) -> None:
    with no_garbage():
        cache, _ = make_cache(max_bytes=MIB)
        fill(cache, ["a", "b"], KIB)
        cache["unfrozen"] = Unfreezable("c", KIB)
        before(cache, tmp_path)
        fill(cache, ["d"], KIB)
        parts = [weakref.ref(part) for part in (cache, *probe.parts(cache), *probe.live_values(cache).values())]
        del cache
        assert [part() for part in parts] == [None] * len(parts)
    ORPHANS.clear()


def test_a_bound_lookup_keeps_the_values_and_frees_them_at_its_end() -> None:
    cache, _ = make_cache(max_bytes=MIB)
    get = cache.get
    cache["a"] = Weighted("a")
    reference = weakref.ref(cache["a"])
    del cache
    assert get("a") is reference()
    del get
    assert reference() is None


def test_a_failure_at_the_end_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The values are left to the collector."""
    cache, _ = make_cache(max_bytes=MIB)

    def fail() -> None:
        raise LookupError

    cache["a"] = Weighted("a")
    probe.parts(cache)[0].clear = fail
    del cache
    assert "the values of the dropped cache 'default' are left to the collector" in caplog.text


def test_a_cache_that_was_refused_leaves_nothing() -> None:
    with no_garbage(), pytest.raises(ValueError, match="max_bytes"):
        DagCache(max_bytes="garbage")


def test_a_listener_is_not_called_when_the_cache_is_dropped() -> None:
    removals = Removals()
    cache, _ = make_cache(max_bytes=MIB, on_removal=removals)
    cache["a"] = Weighted("a")
    del cache
    assert removals.told == []
