"""Caches for tests: values of a stated weight, a clock that tests move, a listener that remembers."""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dagcache import DagCache, EntryInfo, RemovalCause
from dagcache.core.entry import ENTRY_OVERHEAD
from tests.support import probe
from tests.support.clock import ManualClock

KIB = 1024
MIB = 1024 * KIB


@functools.total_ordering
class Weighted:
    """A value that states its live weight; its frozen form is small. Equal if label and weight are."""

    def __init__(self, label: object, nbytes: int = 100 * KIB) -> None:
        self.label = label
        self.nbytes = nbytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weighted) and (self.label, self.nbytes) == (other.label, other.nbytes)

    def __lt__(self, other: Weighted) -> bool:
        return str(self.label) < str(other.label)

    def __hash__(self) -> int:
        return hash((self.label, self.nbytes))

    def __repr__(self) -> str:
        return f"Weighted({self.label!r}, {self.nbytes})"


class Unfreezable(Weighted):
    """As `Weighted`, without a frozen form."""

    def __reduce__(self) -> str:
        raise TypeError("not to be pickled")


def stated_weight(value: Any) -> int:
    """A sizer that uses the weight that the value states."""
    return int(value.nbytes)


class Removals:
    """A listener that keeps its calls."""

    def __init__(self) -> None:
        self.told: list[tuple[EntryInfo[Any], RemovalCause]] = []

    def __call__(self, info: EntryInfo[Any], cause: RemovalCause) -> None:
        """Remember."""
        self.told.append((info, cause))

    def causes(self) -> dict[Any, RemovalCause]:
        """The latest cause of each key."""
        return {info.key: cause for info, cause in self.told}


def make_cache(**settings: Any) -> tuple[DagCache[Any, Any], ManualClock]:
    """A cache of `Weighted` values with its own clock; settings as for `DagCache`.

    Every load and thaw counts as a millisecond: costs decide which entries stay, and a busy machine must not change
    that. For the same reason expiry and disposal take no time.
    """
    clock = ManualClock()
    settings.setdefault("max_bytes", 0)
    settings.setdefault("sizer", stated_weight)
    cache: DagCache[Any, Any] = DagCache(clock=clock, **settings)
    milliseconds = itertools.count()
    probe.time_lookups(cache, lambda: next(milliseconds) / 1000)
    probe.time_upkeep(cache, lambda: 0.0)
    return cache, clock


def fill(cache: DagCache[Any, Any], keys: Any, nbytes: int = 100 * KIB) -> None:
    """Look up each key; missing ones are loaded."""
    for key in keys:
        cache.get_or_load(key, lambda key: Weighted(key, nbytes))


def demote_all(cache: DagCache[Any, Any]) -> None:
    """Have all live copies of a cache without a limit give way. Entries need a frozen form."""
    stats = cache.stats()
    cache.resize(stats.frozen_bytes + ENTRY_OVERHEAD * stats.entries)
    assert cache.stats().live_entries == 0
    cache.resize(0)


@contextmanager
def automatic_gc_off() -> Iterator[None]:
    """The collector runs only when asked."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def never(_key: object) -> Any:
    """A loader that must not be called."""
    raise AssertionError("loaded what should have been there")


Loader = Callable[[Any], Any]


def check_settled(cache: DagCache[Any, Any]) -> None:
    """No flight is left, all totals are right, and each miss counts as one of four."""
    cache.check_invariants()
    assert probe.flight_count(cache) == 0
    stats = cache.stats()
    assert stats.loads + stats.load_failures + stats.joins + stats.absent == stats.misses
