"""The hit path: a look into a dictionary, at the clock, and a count. No lock, no method lookup, no attribute of self.

A pair of closures is the fastest form; `docs/benchmarks.md` has the figures. They shadow two methods of the cache, on
the instance, which saves another call. `Shadowed` has them step back while a class has other methods in their place, as
with ``mock.patch.object(DagCache, "get")``.

The count is exact because CPython never switches threads, nor runs a signal handler, between reading and writing back
in ``hits += 1``. A free-threaded interpreter does, so the cache does not use this path there.
"""

from __future__ import annotations

import functools
from abc import ABCMeta
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from dagcache.core.entry import LiveCopy

Get = Callable[..., Any]

NAMES = ("get", "get_or_load")
"""The methods that a hit path shadows."""


class Shadowed(ABCMeta):
    """A class that reports, to ``_method_replaced``, when one of its shadowed methods is replaced or put back."""

    def __setattr__(cls, name: str, value: object) -> None:
        super().__setattr__(name, value)
        cls._report(name)

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        cls._report(name)

    def _report(cls, name: str) -> None:
        if name in NAMES:
            cls._method_replaced()

    def _method_replaced(cls) -> None:
        """Let the class's instances look which methods they shadow."""


@dataclass(frozen=True, slots=True)
class HitPath:
    """Lookups that are served without a lock as long as the entry is live."""

    get: Get
    """``get(key, default=None)``"""
    get_or_load: Get
    """``get_or_load(key, loader, *, timeout=None)``"""
    hits: Callable[[], int]
    """How many lookups were served here."""

    def present_as(self, get: Get, get_or_load: Get) -> None:
        """Give the functions the names, documentation and signatures of the methods that they shadow."""
        functools.update_wrapper(self.get, get)
        functools.update_wrapper(self.get_or_load, get_or_load)


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
        return load_slowly(key, loader, timeout=timeout)

    return HitPath(get, get_or_load, lambda: hits)
