"""Which classes are known to come back: some are pickled without an error and raise one when they are unpickled.

A class whose ``__getattr__`` asks one of its attributes, for instance, recurses for ever while it has none yet. So the
first value with an instance of a class is thawed once before its frozen form is relied on. A process meets a few dozen
classes, so that this costs a few thaws in all, and the others nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

__all__ = ["Proven"]

_TRIES = 2
_MOST_DOUBTS = 64  # combinations of classes of which failures are remembered; they hold the classes


class Proven:
    """Remembers. Thread-safe: what two threads find out at once may count as one."""

    def __init__(self) -> None:
        self._proven: set[type] = set()
        self._failures: dict[frozenset[type], int] = {}

    def missing(self, kinds: AbstractSet[type]) -> frozenset[type]:
        """Those of these classes that were in no value that has come back."""
        return frozenset(kinds - self._proven)

    def add(self, kinds: Iterable[type]) -> None:
        """A value with instances of these classes has come back."""
        self._proven.update(kinds)

    def failed(self, kinds: frozenset[type]) -> None:
        """A value did not come back, and of its classes these never have."""
        if len(self._failures) < _MOST_DOUBTS or kinds in self._failures:
            self._failures[kinds] = self._failures.get(kinds, 0) + 1

    def hopeless(self, kinds: frozenset[type]) -> bool:
        """Whether it was tried often enough."""
        return self._failures.get(kinds, 0) >= _TRIES
