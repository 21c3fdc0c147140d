"""The graph of a value's parts: edges by position, and which positions lead to a cycle."""

from __future__ import annotations

import gc
from collections.abc import Callable

from dagcache.reclaim.attribute_dicts import lent
from dagcache.reclaim.weak_references import Parts

Edges = list[list[int]]
"""For each part the positions of the parts that it refers to."""


def edges_between(parts: Parts) -> Edges:
    """The references between the parts, those of borrowed attribute dicts included."""
    positions = {id(part): position for position, part in enumerate(parts)}
    edges = [[positions[id(item)] for item in gc.get_referents(part) if id(item) in positions] for part in parts]
    for lender, item in zip(*lent(parts), strict=True):
        edges[positions[id(lender)]].append(positions[id(item)])
    return edges


def leading_to_cycles(edges: Edges) -> set[int]:
    """The positions from which a cycle can be reached. All others would die one after the other."""
    back: list[list[int]] = [[] for _ in edges]
    for position, targets in enumerate(edges):
        for target in targets:
            back[target].append(position)
    left = list(map(len, edges))
    ends = [position for position, number in enumerate(left) if not number]
    for end in ends:  # the list grows during the loop
        for position in back[end]:
            left[position] -= 1
            if not left[position]:
                ends.append(position)
    return set(range(len(edges))).difference(ends)


def reached(edges: Edges, is_closed: Callable[[int], bool], is_attributes: Callable[[int], bool]) -> set[int]:
    """The positions that a walk from the first one meets if it does not pass closed ones, except to attribute dicts."""
    found, left = {0}, [0]
    while left:
        position = left.pop()
        targets = set(edges[position]) - found
        if is_closed(position):
            found |= {target for target in targets if is_attributes(target)}
        else:
            found |= targets
            left += targets
    return found
