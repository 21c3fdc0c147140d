"""Proven classes: instances of them have been thawed successfully.

Some classes can be pickled but raise an error when they are unpickled. If its ``__getattr__`` reads an attribute, for
example, a class recurses without end while it has no attributes yet. So the first value with an instance of a class is
thawed once before its frozen form is used. A process meets a few dozen classes, so this costs a few thaws in all.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

__all__ = ["Proven"]

_TRIES = 2
_MOST_DOUBTS = 64  # remembered combinations of classes that failed; they hold the classes


class Proven:
    """The proven classes, and failures. Thread-safe: simultaneous failures of two threads may count as one."""

    def __init__(self) -> None:
        self._proven: set[type] = set()
        self._failures: dict[frozenset[type], int] = {}

    def missing(self, kinds: AbstractSet[type]) -> frozenset[type]:
        """The classes among these that were not part of a thawed value yet."""
        return frozenset(kinds - self._proven)

    def add(self, kinds: Iterable[type]) -> None:
        """Note that a value with instances of these classes was thawed."""
        self._proven.update(kinds)

    def failed(self, kinds: frozenset[type]) -> None:
        """Note that a value could not be thawed, and that these classes of it are unproven."""
        if len(self._failures) < _MOST_DOUBTS or kinds in self._failures:
            self._failures[kinds] = self._failures.get(kinds, 0) + 1

    def hopeless(self, kinds: frozenset[type]) -> bool:
        """Whether thawing these classes has failed too often to try again."""
        return self._failures.get(kinds, 0) >= _TRIES
