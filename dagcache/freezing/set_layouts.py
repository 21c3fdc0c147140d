"""Layouts of the tables of sets: which element is in which slot, and why.

A set iterates over its table. The slot of an element follows from its hash, the size of the table, and the elements
that were there before it: an element takes the first slot of its way that is free. The order of iteration is the order
of the slots. This module finds slots that explain it, as CPython probes its tables. If another version probed them in
another way, the layouts would be wrong: try what is built from them.
"""

from __future__ import annotations

import itertools
import struct
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

__all__ = ["Layout", "layouts"]

_LINEAR_PROBES = 9
_PERTURB_SHIFT = 5
_REACHES = (12, 40, 120)  # slots of an element to consider: in a table two thirds full, few elements are farther away
_DETOURS = 50  # layouts to reject because no order of adding leads to them

Layout = tuple[list[int], list[int], list[int]]
"""The slots of the elements, ascending; an order of adding, as indices; the slots to occupy meanwhile."""


def layouts(hashes: list[int], slots: int) -> Iterator[Layout]:
    """Slots for the elements, an order of adding that leads there, and the slots that must be occupied meanwhile."""
    # The second search takes longer. A table that is as full as possible needs it: it has no room for obstacles.
    for search, reach in itertools.product((_layouts_with_obstacles, _layouts_without_removals), _REACHES):
        for layout in search(hashes, slots, [_way(hashed, slots, reach) for hashed in hashes]):
            yield layout
            if not layout[2]:
                return


def _probes(hashed: int, slots: int) -> Iterator[int]:
    """The slots that CPython probes for an element, in order; some repeat."""
    mask = slots - 1
    perturb = hashed & (2 ** (8 * struct.calcsize("P")) - 1)
    start = hashed & mask
    while True:
        yield from range(start, start + _LINEAR_PROBES + 1 if start + _LINEAR_PROBES <= mask else start + 1)
        perturb >>= _PERTURB_SHIFT
        start = (start * 5 + 1 + perturb) & mask


def _way(hashed: int, slots: int, reach: int) -> list[int]:
    """The first slots that an element may occupy, each once."""
    looked_at = itertools.islice(_probes(hashed, slots), 4 * reach)
    return list(dict.fromkeys(looked_at))[:reach]


def _layouts_with_obstacles(hashes: list[int], slots: int, ways: list[list[int]]) -> Iterator[Layout]:
    """Layouts with few probes. Some elements pass slots that no other element occupies."""
    for _ in range(_DETOURS):
        places = _places(ways)
        if places is None:
            return
        try:
            sequence, needs = _sequence(hashes, places, slots)
            yield places, sequence, sorted(needs)
            if not needs:
                return
            barred = next(iter(needs.values()))
        except CycleError as error:  # each of two elements would have to come before the other
            barred = error.args[1][0]
        ways = _barred(ways, places, barred)


def _layouts_without_removals(hashes: list[int], slots: int, probed: list[list[int]]) -> Iterator[Layout]:
    """Layouts of a set from which no element was ever removed: other elements occupy all slots that one passes."""
    branches = [probed]
    for _ in range(_DETOURS):
        if not branches:
            return
        ways = _passing_occupied_slots(_ascending(branches.pop()), probed)
        places = _places(ways)
        if places is None:
            continue
        try:
            sequence, needs = _sequence(hashes, places, slots)
        except CycleError as error:
            branches += [_barred(ways, places, index) for index in error.args[1][1:]]  # the first one is also the last
        else:
            if not needs:
                yield places, sequence, []
                return
            branches += _branches(ways, places, *next(iter(needs.items())))


def _branches(ways: list[list[int]], places: list[int], passed: int, index: int) -> list[list[list[int]]]:
    """Ways that do without an obstacle in the slot that this element passes; the most likely ones are last."""
    takers = [other for other, way in enumerate(ways) if passed in way and other != index]
    takers.sort(key=lambda other: abs(places[other] - passed), reverse=True)
    placed = [_placed(ways, {index: places[index], taker: passed}) for taker in takers]
    return [_barred(ways, places, index), *placed]


def _barred(ways: list[list[int]], places: list[int], index: int) -> list[list[int]]:
    """The ways of all elements; this one's without its slot."""
    left = [slot for slot in ways[index] if slot != places[index]]
    return [*ways[:index], left, *ways[index + 1 :]]


def _placed(ways: list[list[int]], slots: dict[int, int]) -> list[list[int]]:
    """The ways of all elements; those of some, by index, are these slots only."""
    return [[slots[index]] if index in slots else way for index, way in enumerate(ways)]


def _ascending(ways: list[list[int]]) -> list[list[int]]:
    """The slots for each element above one for each element before it, and below one for each after it."""
    lows = itertools.accumulate(
        ways, lambda low, way: min((slot for slot in way if slot > low), default=sys.maxsize), initial=-1
    )
    highs = itertools.accumulate(
        reversed(ways), lambda high, way: max((slot for slot in way if slot < high), default=-1), initial=sys.maxsize
    )
    bounds = zip(ways, lows, reversed([*highs][:-1]), strict=False)  # one bound more than elements
    return [[slot for slot in way if low < slot < high] for way, low, high in bounds]


def _passing_occupied_slots(ways: list[list[int]], probed: list[list[int]]) -> list[list[int]]:
    """The slots for each element that it probes before the first one that no other element may occupy, and that one."""
    takers = Counter(itertools.chain.from_iterable(ways))
    left = []
    for way, slots in zip(ways, probed, strict=True):
        own = {*way}
        free = (index for index, slot in enumerate(slots) if takers[slot] == (slot in own))
        left.append([slot for slot in slots[: next(free, len(slots)) + 1] if slot in own])
    return left


def _places(ways: list[list[int]]) -> list[int] | None:
    """A slot for each element, ascending, with as few probes beyond their first slots as possible."""
    # The best solutions so far by last slot, ascending: a higher slot is worth keeping if it costs less.
    frontier: list[tuple[int, int, Any]] = [(-1, 0, None)]
    for way in ways:
        after = []
        for steps, slot in enumerate(way):
            below = bisect_left(frontier, (slot,)) - 1
            if below >= 0:
                after.append((slot, frontier[below][1] + steps, frontier[below]))
        after.sort(key=lambda found: found[:2])
        frontier = []
        for found in after:
            if not frontier or found[1] < frontier[-1][1]:
                frontier.append(found)
        if not frontier:
            return None
    places = []
    last: Any = min(frontier, key=lambda found: found[1])
    while last[2] is not None:
        places.append(last[0])
        last = last[2]
    return places[::-1]


def _sequence(hashes: list[int], places: list[int], slots: int) -> tuple[list[int], dict[int, int]]:
    """An order of adding that puts the elements there, and the slots to occupy, each with the element that needs it.

    Raises CycleError if such an order does not exist. Elements on which no other depends come first: while the table
    grows, it is rebuilt in another order.
    """
    standing = {place: index for index, place in enumerate(places)}
    before: dict[int, set[int]] = {}
    obstacles: dict[int, int] = {}
    for index, place in enumerate(places):
        for slot in itertools.takewhile(place.__ne__, _probes(hashes[index], slots)):
            if slot in standing:
                before.setdefault(index, set()).add(standing[slot])
            else:
                obstacles[slot] = index
    involved = list(TopologicalSorter(before).static_order())
    free = sorted(set(range(len(places))).difference(involved))
    return free + involved, obstacles
