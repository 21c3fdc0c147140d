"""The hit path: a look into a dictionary, at the clock, and a count. No lock, no method lookup, no attribute of self.

It is a pair of closures because that is what makes it cost less than twice a bare ``dict.get``; `docs/benchmarks.md`
has the figures. The count is exact because CPython never switches threads, nor runs a signal handler, between reading
and writing back in ``hits += 1``; a free-threaded interpreter does, so there the cache does not use this path.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from dagcache.core.entry import LiveCopy

Get = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class HitPath:
    """Lookups that are served without a lock as long as the entry is live."""

    get: Get
    """``get(key, default=None)``"""
    get_or_load: Get
    """``get_or_load(key, loader, *, timeout=None)``"""
    hits: Callable[[], int]
    """How many lookups were served here."""


def build(
    live: dict[Hashable, LiveCopy],
    clock: Callable[[], float],
    *,
    use: Callable[[LiveCopy], bool],
    get_slowly: Get,
    load_slowly: Get,
) -> HitPath:
    """Make the path over a table of live copies.

    `use` notes a use that is not fresh any more and says whether the copy may still be served.
    """
    hits = 0

    def get(key: Hashable, default: Any = None) -> Any:
        nonlocal hits
        try:
            copy = live[key]
        except KeyError:
            pass  # looking further in here would chain a loader's error to this one
        else:
            if clock() < copy.fresh or use(copy):
                hits += 1
                return copy.value
        return get_slowly(key, default)

    def get_or_load(key: Hashable, loader: Any, *, timeout: float | None = None) -> Any:
        nonlocal hits
        try:
            copy = live[key]
        except KeyError:
            pass  # looking further in here would chain a loader's error to this one
        else:
            if clock() < copy.fresh or use(copy):
                hits += 1
                return copy.value
        return load_slowly(key, loader, timeout)

    return HitPath(get, get_or_load, lambda: hits)
