"""The census of a value: which of its parts nothing outside of the value can reach.

A census walks from the value to all its parts, then compares their reference counts with the references that come from
the parts themselves (`reference_counts`). A part that nothing outside holds at the moment of counting cannot be reached
by anything later. That makes the result sound although other threads run.
"""

from __future__ import annotations

import gc
import itertools
import operator
import sys
from collections.abc import Iterable

from dagcache.reclaim.attribute_dicts import DICTS_BORROW, lent
from dagcache.reclaim.entered_types import is_entered
from dagcache.reclaim.reference_counts import REFERENCED_ONCE, held_parts
from dagcache.reclaim.weak_references import Parts, weak_references_to

_SMALL = 16
"""Fewer objects than this are distinguished one by one."""


class Census:
    """Takes the census of one value at a time.

    ``shared``: objects that many values refer to; they are not entered. ``node_limit``: the walk ends soon after it has
    met more parts than this. Thread-safe.
    """

    def __init__(self, shared: Iterable[object], node_limit: int) -> None:
        self._shared = {id(item): item for item in shared}
        self._node_limit = node_limit

    def free_parts(self, value_cell: list[object], closed: frozenset[type]) -> Parts | None:
        """The value, first, and its parts that nothing outside can reach; the cell is emptied.

        The attributes of ``closed`` types are omitted. The result is empty, and the value stays in the cell,
        if something holds the value or if that cannot be determined now. It is None if there are too many parts.
        """
        parts = self.parts(value_cell, closed)
        if len(parts) > self._node_limit:
            return None
        held = held_parts(parts)
        if held == []:
            return parts
        value_cell.append(parts[0])
        if held is None or closed:  # the holder may be a part that was left out
            return ()
        parts = _unreachable(parts, held)
        held.clear()
        if not parts or parts[0] is not value_cell[0]:
            return ()
        value_cell.clear()
        if held_parts(parts) == []:
            return parts
        value_cell.append(parts[0])
        return ()

    def parts(self, value_cell: list[object], closed: frozenset[type] = frozenset()) -> Parts:
        """All objects that the collector tracks and the value reaches, the value first; the cell is emptied.

        Objects that only instances of ``closed`` types refer to are left out, except their ``__dict__``. The walk does
        not meet weak references: those to parts come last.
        """
        frontier = [value_cell.pop()]
        seen = {**self._shared, id(frontier[0]): frontier[0]}
        parts = frontier.copy()
        attributes: dict[int, object] = {}
        while frontier and len(parts) <= self._node_limit:
            if DICTS_BORROW:
                borrowing = {id(item): item for item in lent(frontier)[1] if id(item) not in seen}
                seen.update(borrowing)
                parts += borrowing.values()
            if closed and not closed.isdisjoint(map(type, frontier)):
                is_closed = list(map(closed.__contains__, map(type, frontier)))
                dicts = _tracked_dicts(gc.get_referents(*itertools.compress(frontier, is_closed)))
                attributes.update(zip(map(id, dicts), dicts, strict=True))
                frontier = list(itertools.compress(frontier, map(operator.not_, is_closed)))
            frontier = _unseen(filter(gc.is_tracked, gc.get_referents(*frontier)), seen)
            parts += frontier
        # A part that came in twice would seem to be held.
        parts += map(attributes.__getitem__, attributes.keys() - seen.keys())
        parts += weak_references_to(parts)
        return tuple(parts)


def _unseen(tracked: Iterable[object], seen: dict[int, object]) -> list[object]:
    """The objects that are entered and were not met before, each once; those that may be met again are noted."""
    tracked = list(tracked)
    if len(tracked) < _SMALL:
        return [item for item in tracked if seen.setdefault(id(item), tracked) is tracked and _note(seen, item)]
    # An object with one holder is met once: only the others are distinguished by id.
    once = list(map(REFERENCED_ONCE.__eq__, map(sys.getrefcount, tracked)))
    several = list(itertools.compress(tracked, map(operator.not_, once)))
    found = dict(zip(map(id, several), several, strict=True))
    for key in found.keys() & seen.keys():
        del found[key]
    seen.update(found)
    return _entered([*itertools.compress(tracked, once), *found.values()])


def _note(seen: dict[int, object], item: object) -> bool:
    seen[id(item)] = item
    return is_entered[type(item)]


def _tracked_dicts(items: list[object]) -> list[object]:
    """The dicts among the items, without those that cannot lead to a cycle."""
    dicts = itertools.compress(items, map(operator.is_, map(type, items), itertools.repeat(dict)))
    return list(filter(gc.is_tracked, dicts))


def _entered(parts: list[object]) -> list[object]:
    if all(map(is_entered.__getitem__, set(map(type, parts)))):
        return parts
    return list(itertools.compress(parts, map(is_entered.__getitem__, map(type, parts))))


def _unreachable(parts: Parts, held: list[object]) -> Parts:
    """The parts that cannot be reached from the held ones, in the same order."""
    left = dict(zip(map(id, parts), parts, strict=True))
    frontier = held
    while frontier:
        entered = [left.pop(key) for key in left.keys() & set(map(id, frontier))]
        frontier = gc.get_referents(*entered) + lent(entered)[1]
    return tuple(left.values())
