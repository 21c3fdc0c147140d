"""The hit path against its peers: one lookup that finds its value, keys as a scheduler has them (UUIDs).

``python -m benchmarks.hits [--json FILE]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cachebox
import cachetools
import moka_py

from dagcache import DagCache

KEYS = 1000
ROUNDS = 20
LAPS = 40

Lookup = Callable[[Any], Any]


def locked(cache: Any) -> Lookup:
    """A lock around a cache that is not thread-safe, as in schedulers."""
    lock = threading.RLock()

    def get(key: Any) -> Any:
        with lock:
            return cache.get(key)

    return get


def hurried() -> Callable[[], float]:
    """A clock that runs so fast that every hit is the first in a long time and has to be noted."""
    now = iter(range(1_000_000_000))
    return lambda: float(next(now))


def contestants(keys: list[uuid.UUID]) -> dict[str, Lookup]:
    """One lookup function each, over caches that hold every key."""
    values = {key: object() for key in keys}
    room = 2 * len(keys)
    lru: Any = cachetools.LRUCache(room)
    ttl: Any = cachetools.TTLCache(room, 3600)
    box: Any = cachebox.LRUCache(room)
    box_ttl: Any = cachebox.TTLCache(room, 3600)
    moka: Any = moka_py.Moka(room)
    ours: DagCache[Any, Any] = DagCache(max_bytes=0, sizer=lambda _: 1000, freezer=None)
    noted: DagCache[Any, Any] = DagCache(max_bytes=0, ttl=0, sizer=lambda _: 1000, freezer=None, clock=hurried())
    for key, value in values.items():
        for cache in (lru, ttl, box, box_ttl, ours, noted):
            cache[key] = value
        moka.set(key, value)
    return {
        "bare dict.get": values.get,
        "dagcache": ours.get,
        "dagcache, every use noted": noted.get,
        "cachetools LRU, locked": locked(lru),
        "cachetools TTL, locked": locked(ttl),
        "cachebox LRU (Rust)": box.get,
        "cachebox TTL (Rust)": box_ttl.get,
        "moka-py (Rust)": moka.get,
    }


def laps(lookup: Lookup | None, keys: list[uuid.UUID]) -> float:
    """CPU nanoseconds per lookup, the loop included; of an empty loop without a lookup. The first lap is not timed."""
    for key in keys:
        if lookup is not None:
            lookup(key)
    started = time.thread_time_ns()
    if lookup is None:
        for _ in range(LAPS):
            for _key in keys:
                pass
    else:
        for _ in range(LAPS):
            for key in keys:
                lookup(key)
    return (time.thread_time_ns() - started) / (LAPS * len(keys))


def measure() -> dict[str, dict[str, float]]:
    """Median nanoseconds of each, and the ratio to the bare dict with its quartiles, round by round."""
    keys = [uuid.uuid4() for _ in range(KEYS)]
    lookups = contestants(keys)
    times: dict[str, list[float]] = {name: [] for name in lookups}
    for _ in range(ROUNDS):
        empty = laps(None, keys)
        for name, lookup in lookups.items():
            times[name].append(laps(lookup, keys) - empty)
    bare = times["bare dict.get"]
    results = {}
    for name, samples in times.items():
        ratios = [sample / base for sample, base in zip(samples, bare, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        results[name] = {"ns": statistics.median(samples), "ratio": middle, "low": low, "high": high}
    return results


def report(results: dict[str, dict[str, float]]) -> None:
    """Print the table and the two goals."""
    print(f"{'hit path':<26}{'ns':>8}{'x dict.get':>12}{'quartiles':>16}")
    for name, row in results.items():
        print(f"{name:<26}{row['ns']:>8.0f}{row['ratio']:>12.2f}{row['low']:>9.2f} - {row['high']:.2f}")
    ours, lru = results["dagcache"], results["cachetools LRU, locked"]
    print(
        f"{ours['ratio']:.2f} x the bare dict (goal 2),"
        f" {lru['ratio'] / ours['ratio']:.1f} x faster than the locked LRU (goal 4)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    results = measure()
    report(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
