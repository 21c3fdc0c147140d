"""Weak references to the parts of a value: a way to a part that its reference count does not show.

A part counts as held if anything outside of the value has a weak reference to it. A weak reference that is a part
itself is harmless: nothing outside can use it. The cache's own `WaitingReference` is harmless as well.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from dagcache.reclaim.finalised_types import is_finalised

Parts = tuple[object, ...]

WEAK_TYPES = frozenset({weakref.ref, weakref.ProxyType, weakref.CallableProxyType})


class WaitingReference(weakref.ref[Any]):
    """A weak reference of the waiting room. Only the cache uses it, so it is not a holder of the value.

    Lookups follow it by `dagcache.reclaim.releases.follow` only.
    """

    __slots__ = ("is_revoked",)

    is_revoked: bool
    """Whether lookups may not follow it. From the start if the value has a finaliser: it runs while the reference still
    leads to the value, which a lookup would bring back to life."""

    @classmethod
    def to(cls, value: object, callback: Callable[[object], object]) -> WaitingReference:
        """A reference to a value.

        Raises:
            TypeError: it cannot have weak references.

        """
        made = cls(value, callback)
        made.is_revoked = is_finalised[type(value)]
        return made


def weak_references_to(parts: list[object]) -> list[object]:
    """The plain weak references and proxies of the parts."""
    referred = itertools.compress(parts, map(weakref.getweakrefcount, parts))
    return [item for part in referred for item in weakref.getweakrefs(part) if type(item) in WEAK_TYPES]


def weak_parts(parts: Parts) -> dict[int, object]:
    """The weak references among the parts, by id. They come last in the tuple of parts."""
    return {id(part): part for part in itertools.takewhile(lambda part: type(part) in WEAK_TYPES, reversed(parts))}


def weakly_held(parts: Parts, counts: list[int], held: set[int]) -> Iterator[object]:
    """The parts with a weak reference that is not a part, or that is itself held.

    ``counts``: the number of weak references to each part at the time of the census; ``held``: ids of held parts.
    """
    ids = weak_parts(parts).keys() - held
    for part, count in zip(itertools.compress(parts, counts), filter(None, counts), strict=True):
        references = weakref.getweakrefs(part)
        # Fewer than were counted: one was used and dropped since then, and its user may hold the part.
        if len(references) != count or not all(
            type(reference) is WaitingReference or id(reference) in ids for reference in references
        ):
            yield part
