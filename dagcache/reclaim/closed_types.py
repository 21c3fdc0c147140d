"""Closed types: a census may omit their attributes. They are learned from values that were free.

A census may leave out any part. An omitted part counts as a holder of the parts that it refers to, so the result is
still sound. The census has to include everything that leads to a cycle. Most attributes of a task, such as lists of
strings, lead to none.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

from dagcache.reclaim.part_graph import edges_between, leading_to_cycles, reached
from dagcache.reclaim.weak_references import Parts

_MOST_TO_LEARN_FROM = 20_000  # parts
_MOST_KINDS = 100
_MOST_CANDIDATES = 20
_LONGEST_INTERVAL = 512  # releases


class ClosedTypes:
    """The closed types, by the type of the value."""

    def __init__(self) -> None:
        self._known: dict[type, frozenset[type]] = {}
        self._left: dict[type, tuple[int, int]] = {}

    def of(self, kind: type) -> frozenset[type]:
        """The closed types for a value of this type.

        It is empty at growing intervals, so that they are learned again. Omitted parts that have become cyclic would
        otherwise always be left to the collector.
        """
        left, interval = self._left.get(kind, (0, 1))
        if not left:
            self._left[kind] = (interval, min(2 * interval, _LONGEST_INTERVAL))
            return frozenset()
        self._left[kind] = (left - 1, interval)
        return self._known.get(kind, frozenset())

    def learn(self, kind: type, parts: Parts) -> None:
        """Learn from a value that was found free by a census of all its parts."""
        known = self._known.get(kind)
        if known == frozenset() or len(parts) > _MOST_TO_LEARN_FROM:
            return
        found = frozenset(_find_closed(parts))
        if len(self._known) >= _MOST_KINDS:
            self._known.clear()
            self._left.clear()
        self._known[kind] = found if known is None else found & known


def _find_closed(parts: Parts) -> Iterator[type]:
    """The closed types: a walk without their attributes still meets all parts that lead to a cycle."""
    kinds = [type(part) for part in parts]
    edges = edges_between(parts)
    needed = leading_to_cycles(edges)
    closed: set[type] = set()
    for kind, _ in collections.Counter(kinds).most_common(_MOST_CANDIDATES):
        if kind is kinds[0] or kind.__module__ == "builtins":
            continue
        closed.add(kind)
        if needed <= reached(edges, lambda place: kinds[place] in closed, lambda place: kinds[place] is dict):
            yield kind
        else:
            closed.remove(kind)
