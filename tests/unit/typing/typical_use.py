"""Typical code of users: it passes the type checkers, strictly, and runs. `test_typing` has both done."""

# pyright: strict

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from dagcache import CacheConfig, CacheStats, DagCache, EntryInfo, Loaded, RemovalCause

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: object, _: object) -> object:
        """Check nothing: the checkers do."""
        return value


Graph = dict[str, list[str]]


def load(key: str) -> Graph:
    """Stand for a loader that always finds something."""
    return {key: []}


def find(key: str) -> Graph | None:
    """Stand for a loader that may find nothing."""
    return {key: []} if key else None


def load_with_facts(key: str) -> Loaded[Graph]:
    """Stand for a loader that gives more than the value."""
    return Loaded({key: []}, serialized_bytes=2, features=(1.0,), content="hash", version=("dag", 1))


def find_with_facts(key: str) -> Loaded[Graph] | None:
    """Stand for one that may find nothing."""
    return load_with_facts(key) if key else None


def lookups(cache: DagCache[str, Graph]) -> None:
    """Each way to look up, and its result."""
    assert_type(cache.get_or_load("a", load), Graph)
    assert_type(cache.get_or_load("a", load, timeout=1.5), Graph)
    assert_type(cache.get_or_load("a", load_with_facts), Graph)
    assert_type(cache.get_or_load("a", find), "Graph | None")
    assert_type(cache.get_or_load("a", find_with_facts), "Graph | None")
    assert_type(cache.get("a"), "Graph | None")
    assert_type(cache.get("a", 7), "Graph | int")
    assert_type(cache["a"], Graph)
    assert_type(cache.fetch("a", load, private=True).value, Graph)
    assert_type(cache.fetch("a", find).value, "Graph | None")
    assert_type(cache.fetch("a").value, "Graph | None")
    assert_type(cache.fetch("a").content, Hashable)


async def load_async(key: str) -> Graph:
    """Stand for a query."""
    return load(key)


async def find_async(key: str) -> Loaded[Graph] | None:
    """Stand for a query that may find nothing."""
    return find_with_facts(key)


def load_many(keys: list[str]) -> dict[str, Graph]:
    """Stand for one query for all."""
    return {key: load(key) for key in keys}


async def other_lookups(cache: DagCache[str, Graph]) -> None:
    """Of tasks, and of many keys."""
    assert_type(await cache.aget_or_load("a", load_async), Graph)
    assert_type(await cache.aget_or_load("a", find_async, timeout=1.5), "Graph | None")
    assert_type(cache.get_or_load_many(["a", "b"], load_many), "dict[str, Graph]")


def mapping(cache: DagCache[str, Graph]) -> None:
    """The methods of a mapping."""
    cache["b"] = {"b": ["a"]}
    assert_type(cache.setdefault("c", {}), Graph)
    assert_type(cache.pop("b", None), "Graph | None")
    assert_type(cache.popitem(), tuple[str, Graph])
    for key, value in cache.items():
        assert_type(key, str)
        assert_type(value, Graph)
    cache.clear()


def look_at(cache: DagCache[str, Graph]) -> None:
    """The views of an observer."""
    for entry in cache.entries():
        assert_type(entry, EntryInfo[str])
        assert_type(entry.key.upper(), str)
    assert_type(cache.stats(), CacheStats)
    assert_type(cache.stats().evictions[RemovalCause.SIZE], int)


def log_removal(info: EntryInfo[str], cause: RemovalCause) -> None:
    """Stand for a listener."""
    assert info.key.upper()
    assert cause.value


def weigh(value: Graph) -> int:
    """Stand for a sizer."""
    return 100 * len(value)


def version_of(key: str) -> tuple[str, int] | None:
    """Stand for keys that hold their version."""
    return key[:1], 1


def make_caches() -> list[DagCache[str, Graph]]:
    """Each way to configure one."""
    by_config: DagCache[str, Graph] = DagCache(CacheConfig(max_bytes="64MiB", ttl=3600), sizer=weigh)
    return [
        by_config,
        DagCache(max_bytes=2**20, ttl="1h", name="mine", mode="observe", frozen=False, oversize="raise"),
        DagCache(memory_limit="1GiB", workers=2, unproven_share=0.5, version_of=version_of, on_removal=log_removal),
        DagCache(max_bytes="1MiB", freezer=None, breaker=None, shared=[None]),
    ]


def cache_of_none() -> None:
    """None may be a value."""
    cache: DagCache[str, int | None] = DagCache(max_bytes=0)
    assert_type(cache.get_or_load("a", lambda _: Loaded(None)), "int | None")
    assert_type(cache.setdefault("b"), "int | None")


def main() -> None:
    """Run all of it."""
    for cache in make_caches():
        lookups(cache)
        look_at(cache)
        mapping(cache)
    cache_of_none()
