"""A burst of expiry: the cost of single calls while very many idle entries are removed.

``python -m benchmarks.expiry [--entries 20000] [--tasks 3]``. A cache of small graphs with cycles falls idle,
but for one entry, as in a quiet night. The first call after it is timed, and the calls after that until all idle
entries are gone: hits, misses, views, scrapes. Times are CPU milliseconds of this thread. ``expire()`` does all of the
work at once.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest

from dagcache import DagCache
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.metrics.collector import CacheCollector
from tests.support import probe
from tests.support.clock import ManualClock
from tests.support.graphs import SHARED, as_json, from_json, make_dag

_TTL = 3600.0
_BETWEEN_CALLS = 0.1  # seconds of the cache's clock
_KEPT = -1
_NEW = 10**9
"""The first key that is looked up for the first time."""
_ALIKE = 100
"""Different graphs among the entries."""

Cache = DagCache[int, Any]


class Burst(NamedTuple):
    """Calls of one kind, until nothing idle is left."""

    first: float
    """CPU milliseconds; so are the next three."""
    median: float
    worst: float
    total: float
    calls: int


def idle_cache(entries: int, texts: list[str]) -> tuple[Cache, ManualClock]:
    """A cache in which all entries but one have been idle for longer than the TTL."""
    clock = ManualClock()
    cache: Cache = DagCache(max_bytes=0, ttl=_TTL, clock=clock, freezer=PickleFreezer(SHARED), shared=tuple(SHARED))
    for key in range(entries):
        cache.get_or_load(key, lambda key: from_json(texts[key % len(texts)]))
    cache.get_or_load(_KEPT, lambda _: from_json(texts[0]))
    clock.advance(0.9 * _TTL)
    cache.get(_KEPT)
    clock.advance(0.2 * _TTL)
    gc.collect()
    return cache, clock


def calls(text: str) -> dict[str, Callable[[Cache], Callable[[], object]]]:
    """The calls, by their names, each made for a cache."""

    def misses(cache: Cache) -> Callable[[], object]:
        keys = itertools.count(_NEW)
        return lambda: cache.get_or_load(next(keys), lambda _: from_json(text))

    def scrapes(cache: Cache) -> Callable[[], object]:
        registry = CollectorRegistry()
        registry.register(CacheCollector([cache]))
        return lambda: generate_latest(registry)

    return {
        "a hit": lambda cache: lambda: cache.get(_KEPT),
        "a miss, with its load": misses,
        "stats()": lambda cache: cache.stats,
        "a scrape": scrapes,
        "expire(), which removes all": lambda cache: cache.expire,
    }


def measure(cache: Cache, idle: range, clock: ManualClock, call: Callable[[], object]) -> Burst:
    """Call until no idle entry and no graph of one is left."""
    spent: list[float] = []
    while is_any_left(cache, idle):
        clock.advance(_BETWEEN_CALLS)
        started = time.thread_time()
        call()
        spent.append(1000 * (time.thread_time() - started))
    return Burst(spent[0], statistics.median(spent), max(spent), sum(spent), len(spent))


def is_any_left(cache: Cache, idle: range) -> bool:
    """Whether an idle entry, or a graph that left and was not freed, is still there. Changes nothing."""
    return not probe.entries(cache).keys().isdisjoint(idle) or probe.waiting(cache)[0] > 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expiry", description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000, help="that are idle (default: 20000)")
    parser.add_argument("--tasks", type=int, default=3, help="of each graph (default: 3)")
    chosen = parser.parse_args()
    texts = [as_json(make_dag(chosen.tasks, seed)) for seed in range(_ALIKE)]
    print(f"Python {platform.python_version()}: {chosen.entries:,} idle entries, graphs of {chosen.tasks} tasks")
    print(f"{'calls':30} {'first':>8} {'median':>8} {'worst':>8} {'all':>8} ms   until all are gone")
    for name, make in calls(texts[0]).items():
        cache, clock = idle_cache(chosen.entries, texts)
        found = measure(cache, range(chosen.entries), clock, make(cache))
        times = " ".join(f"{each:8.1f}" for each in found[:4])
        print(f"{name:30} {times}      {found.calls:,} calls", flush=True)


if __name__ == "__main__":
    main()
