"""Views of a mapping whose entries may leave at any time: iteration looks them up, and skips those that have left."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any, TypeVar

from dagcache.core.unset import UNSET

K = TypeVar("K")
V = TypeVar("V")


class PresentItems(ItemsView[K, V]):
    """The keys of the beginning of an iteration, with their values."""

    _mapping: Mapping[K, Any]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        for key in self._mapping:
            value = self._mapping.get(key, UNSET)
            if value is not UNSET:
                yield key, value


class PresentValues(ValuesView[V]):
    """The values of `PresentItems`."""

    _mapping: Mapping[Any, V]

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping.items())
