"""Bounded tables of facts about types."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_MOST_TYPES = 1_000


class PerType(dict[type, _T]):
    """The results of a function of types, each computed once."""

    def __init__(self, compute: Callable[[type], _T]) -> None:
        self._compute = compute

    def __missing__(self, kind: type) -> _T:
        if len(self) >= _MOST_TYPES:
            self.clear()  # a program that creates classes at run time must be able to lose them again
        result = self[kind] = self._compute(kind)
        return result
