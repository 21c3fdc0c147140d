"""Warm stores with generated records."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from dagcache.stats import WarmStats
from dagcache.warm_start.disk import DiskStore
from dagcache.warm_start.store import WarmKey, WarmRecord, WarmStore
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE

SECRET = b"a secret of tests alone"
CHANGED = "2026-01-02T03:04:05.000006+00:00"
LATER = "2026-01-02T03:04:05.000007+00:00"


def key_of(number: int, dag_hash: str = "hash", last_updated: str = CHANGED) -> WarmKey:
    """The key of a generated version."""
    return WarmKey(UUID(int=number), dag_hash, last_updated)


def record_of(number: int, nbytes: int = 40) -> WarmRecord:
    """A record whose facts and data follow from its number."""
    data = (str(number).encode() * nbytes)[:nbytes]
    return WarmRecord(data, 1000 + number, 500 + number, number / 8, f"dag \u00e9 {number}", number)


class NanosecondClock:
    """Nanoseconds since 1970 that begin with the present, as the times of files do, and grow by one with each call."""

    def __init__(self, now: int = 0) -> None:
        self.now = now or time.time_ns()

    def __call__(self) -> int:
        """The time."""
        self.now += 1
        return self.now


def make_store(path: Path, **changed: Any) -> DiskStore:
    """A store that is open, unless it cannot be opened; its clock stands still."""
    settings: dict[str, Any] = {
        "digest": "0123abcd",
        "parts": {"format": "1", "python": "3.11"},
        "secret": SECRET,
        "max_bytes": 2**20,
        "clock": ManualClock(),
        "now": NanosecondClock(),
    }
    chosen = settings | changed
    secret = chosen.pop("secret")
    store = DiskStore(path, secret=lambda: secret, **chosen)
    store.get_many([])  # opens it
    settled()
    return store


def settled() -> None:
    """Wait until opening, and the work that follows it, have ended."""
    while at_work := [each for each in threading.enumerate() if _is_at_work(each.name)]:
        at_work[0].join(PATIENCE)


def _is_at_work(thread: str) -> bool:
    return thread.startswith("dagcache-warm") and thread != "dagcache-warm-write"


def filled(path: Path, count: int, key: Callable[[int], WarmKey] = key_of, **changed: Any) -> DiskStore:
    """A store with the records 0, 1, ..."""
    store = make_store(path, **changed)
    for number in range(count):
        store.put(key(number), record_of(number))
    assert store.stats().stored == count
    return store


def found_in(store: WarmStore, count: int, key: Callable[[int], WarmKey] = key_of) -> list[int]:
    """The numbers below ``count`` that a store has, each with the right record."""
    records = store.get_many([key(number) for number in range(count)])
    numbers = [number for number in range(count) if key(number) in records]
    assert all(records[key(number)] == record_of(number) for number in numbers)
    return numbers


def packs_of(path: Path) -> list[Path]:
    """The packs of all generations."""
    return sorted(path.glob("*/*.pack"))


def errors_of(stats: WarmStats) -> dict[str, int]:
    """The kinds of errors that occurred."""
    return {kind: count for kind, count in stats.errors.items() if count}
