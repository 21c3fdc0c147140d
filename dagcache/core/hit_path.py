"""The hit path: a look into a dictionary, at the clock, and a count. No lock, no method lookup, no attribute of self.

A pair of closures is the fastest form; `docs/benchmarks.md` has the figures. They shadow two methods of the cache, on
the instance, which saves another call. `Shadowed` has them step back while a class has other methods in their place, as
with ``mock.patch.object(DagCache, "get")``. A cache has one pair for its whole life, because callers bind them
(``get = cache.get``). What a closure depends on is in its variables, and the switch of the path replaces these.

The count is exact because CPython never switches threads, nor runs a signal handler, between reading and writing back
in ``hits += 1``. A free-threaded interpreter does, so the cache does not use this path there.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABCMeta
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from dagcache.core.entry import LiveCopy

Get = Callable[..., Any]
Clock = Callable[[], float]
Use = Callable[[LiveCopy], bool]
Live = dict[Hashable, LiveCopy]

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


class Lookups(Protocol):
    """The lookups beyond the hit path."""

    def get(self, key: Any, default: Any) -> Any:
        """The value under a key, or the default."""
        ...

    def get_or_load(self, key: Any, loader: Any, timeout: float | None) -> Any:
        """The value under a key, or the value that ``loader(key)`` returns."""
        ...


class Owner(Protocol):
    """An owner of lookups, which may be replaced. The hit path holds it."""

    @property
    def lookups(self) -> Lookups:
        """The present ones."""
        ...


@dataclass(frozen=True, slots=True)
class HitPath:
    """Lookups that are served without a lock as long as the entry is live."""

    get: Get
    """``get(key, default=None)``"""
    get_or_load: Get
    """``get_or_load(key, loader, *, timeout=None)``"""

    def present_as(self, get: Get, get_or_load: Get) -> None:
        """Give the functions the names, documentation and signatures of the methods that they shadow."""
        for function, method in ((self.get, get), (self.get_or_load, get_or_load)):
            vars(functools.update_wrapper(function, method))["__signature__"] = _bound_signature(method)


@functools.cache
def _bound_signature(method: Get) -> inspect.Signature:
    signature = inspect.signature(method)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


@dataclass(frozen=True, slots=True)
class Switch:
    """Changes a hit path where it is, so that a lookup which a caller has bound follows. It does not hold the path."""

    hits: Callable[[], int]
    """How many lookups the path has served, never reset."""
    turn: Callable[[Live, Clock, Use], None]
    """Take another table of live copies, another clock, and another use: it notes a use that is not fresh any more, and
    says whether the copy may still be served. Another thread may look up between two of these changes."""


def build(owner: Owner, live: Live, clock: Clock, use: Use) -> tuple[HitPath, Switch]:
    """Make the path over a table of live copies, and its switch."""
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
        return owner.lookups.get(key, default)

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
        return owner.lookups.get_or_load(key, loader, timeout)

    def turn(other_live: Live, other_clock: Clock, other_use: Use) -> None:
        nonlocal live, clock, use
        live, clock, use = other_live, other_clock, other_use

    return HitPath(get, get_or_load), Switch(lambda: hits, turn)
