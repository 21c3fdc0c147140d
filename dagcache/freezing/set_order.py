"""Recipes for building a set that iterates in the same order as another.

Adding the elements of a set to a new one, in iteration order, changes the order in one of a hundred cases.
`dagcache.freezing.set_layouts` computes an order of adding that leads to the slots of the old table. Slots that only a
removed element explains are kept occupied while the others are added. Each recipe is then tried, and used only if the
set that it builds has the order of the original.

Orders are valid within one process: strings hash differently in another. `recipe_elsewhere` finds recipes for another
process, where the set has another order.
"""

from __future__ import annotations

import itertools
import random
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import chain, starmap
from operator import is_
from typing import Any

from dagcache.freezing.set_layouts import layouts

__all__ = [
    "Recipe",
    "changing",
    "comes_back",
    "has_one_order",
    "of_strings",
    "recipe_elsewhere",
    "recipe_for",
    "recipes_elsewhere",
]

_REPAIRS = 12
_FEW = 6  # elements: with so many or fewer, all orders of adding are tried
_TRIES = 300
_LEAST_SLOTS = 8
_HASHED_ALIKE = frozenset({int, float, complex, bool})
_STRINGS = {str}
_LEAST_GROWTH = 5  # elements for which the smallest table is too small
_SET_BYTES = sys.getsizeof(frozenset())
_SLOT_BYTES = struct.calcsize("nP")

Recipe = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments, in the form of ``copyreg``."""


def comes_back(items: AbstractSet[Any]) -> bool:
    """Whether adding the elements of a set or frozenset one by one, in iteration order, builds the same order.

    The table must have the same size, too, because the order of sets that are made from it depends on that. The size
    is not compared for subclasses.
    """
    order = list(items)
    if len(order) < 2:
        return True
    built = frozenset(order) if isinstance(items, frozenset) else set(order)
    return _is_it(built, order, sys.getsizeof(items if type(items) is type(built) else built))


def recipe_for(items: AbstractSet[Any]) -> Recipe | None:
    """A recipe for a set or frozenset in the order of this one; None if none is found, as for all subclasses."""
    if type(items) not in (set, frozenset):
        return None
    order, nbytes = list(items), sys.getsizeof(items)
    second_best = None
    for build, arguments in _recipes(type(items), order, _slots_of(items)):
        built = build(*arguments)
        if _is_it(built, order, nbytes):
            return build, arguments
        if second_best is None and _is_it(built, order, sys.getsizeof(built)):
            second_best = build, arguments
    return second_best


def has_one_order(items: AbstractSet[Any]) -> bool:
    """Whether the elements hash alike in every process, as numbers do and strings do not."""
    return len(items) < 2 or _HASHED_ALIKE.issuperset(map(type, items))


def recipe_elsewhere(
    items: AbstractSet[Any], bases: Iterable[frozenset[Any]] = (), adding: list[Any] | None = None
) -> Recipe | None:
    """A recipe that gives the order of another process when it is called there; None if none is found.

    The order of another process follows from the order in which the elements are added: that of ``adding``, else the
    sorted one for strings. A frozenset may be the union of a process-wide one, one of ``bases``, and one more element.
    The recipe is taken if it gives the present order here.
    """
    kind: Any = type(items)
    order, nbytes = list(items), sys.getsizeof(items)
    if kind not in (set, frozenset):
        return None
    if adding is None and all(issubclass(each, str) for each in {*map(type, order)}):
        adding = sorted(order)
    if adding is not None:
        return (kind, (adding,)) if _is_it(kind(adding), order, nbytes) else None
    for base in bases if kind is frozenset else ():
        ids = set(map(id, base))
        others = [item for item in order if id(item) not in ids]
        if len(others) == 1 and len(order) == len(base) + 1 and _is_it(joined(base, *others), order, nbytes):
            return joined, (base, *others)
    return None


def of_strings(sets: Iterable[AbstractSet[Any]]) -> tuple[list[set[str]], list[AbstractSet[Any]]]:
    """The sets of several strings, and the other ones. Nearly all sets of a graph are of strings."""
    strings: list[set[str]] = []
    others: list[AbstractSet[Any]] = []
    for items in sets:
        is_plain = type(items) is set and len(items) > 1 and {*map(type, items)} == _STRINGS
        (strings if is_plain else others).append(items)  # type: ignore[arg-type]
    return strings, others


def recipes_elsewhere(sets: list[set[str]], adding: Mapping[int, list[Any]]) -> list[Recipe] | None:
    """The result of `recipe_elsewhere` for each of many sets of strings; None if one of them has no recipe.

    ``adding``: by id. All at once takes less than half the time: the steps are loops in C.
    """
    orders = [*map(list, sets)]
    given = map(adding.get, map(id, sets))
    arguments = [(sorted(order) if way is None else way,) for way, order in zip(given, orders, strict=True)]
    built: list[set[str]] = [*starmap(set, arguments)]
    is_same = [*map(len, built)] == [*map(len, sets)] and _sizes(built) == _sizes(sets)
    # By identity: the elements of an order that was given may be equal to those of the set, and other objects.
    if is_same and all(map(is_, chain.from_iterable(built), chain.from_iterable(orders))):
        return [(set, each) for each in arguments]
    return None


def changing(sets: list[set[str]]) -> list[set[str]]:
    """Those of many sets of strings that do not come back: `comes_back`."""
    orders = [*map(list, sets)]
    built = [*map(set, orders)]
    # The same objects, so equal lists are in the same order.
    facts = zip(sets, orders, map(list, built), _sizes(sets), _sizes(built), strict=True)
    return [items for items, order, other, nbytes, other_nbytes in facts if order != other or nbytes != other_nbytes]


def _sizes(sets: list[set[str]]) -> list[int]:
    return [*map(sys.getsizeof, sets)]


def joined(base: frozenset[Any], other: Any) -> frozenset[Any]:
    """A frozenset with one more element."""
    return base | {other}


def _is_it(built: AbstractSet[Any], order: list[Any], nbytes: int) -> bool:
    return len(built) == len(order) and all(map(is_, built, order)) and sys.getsizeof(built) == nbytes


def _slots_of(items: AbstractSet[Any]) -> int:
    """The number of slots of the table. A small table is part of the set itself."""
    return max(_LEAST_SLOTS, (sys.getsizeof(items) - _SET_BYTES) // _SLOT_BYTES)


def _recipes(kind: Any, order: list[Any], slots: int) -> Iterator[Recipe]:
    """Candidates for a recipe, the cheapest to find first."""
    seeds = _seeds(len(order), slots)
    yield from _likely(lambda adding: (kind, (adding,)), order, slots)
    yield from _likely(lambda adding: _seeded(kind, adding, seeds), order, slots)
    for places, sequence, obstacles in layouts([hash(item) for item in order], slots):
        adding = [order[index] for index in sequence]
        yield kind, (adding,)
        if kind is set:
            fillers = _fillers(obstacles, places, slots, len(order))
            yield seeded_set, (adding, _seeds(len(order) + len(fillers), slots), fillers)
        elif not obstacles:
            yield _seeded(kind, adding, seeds)
    yield from _guesses(kind, order)


def _likely(way: Callable[[list[Any]], Recipe], order: list[Any], slots: int) -> Iterator[Recipe]:
    """Orders that mostly work: sorted, as a loader adds them; iteration order, with displaced elements moved ahead."""
    with suppress(TypeError):
        yield way(sorted(order))
    adding = list(order)
    for _ in range(_REPAIRS):
        build, arguments = way(list(adding))
        yield build, arguments
        built = build(*arguments)
        if _slots_of(built) != slots:
            return
        for wanted, found in zip(order, built, strict=True):
            if wanted is not found:  # the wanted element has taken its slot
                adding.remove(found)
                adding.insert(adding.index(wanted), found)
                break


def _seeded(kind: Any, adding: list[Any], seeds: int) -> Recipe:
    return seeded_set if kind is set else seeded_frozenset, (adding, seeds)


def seeded_frozenset(adding: list[Any], seeds: int) -> frozenset[Any]:
    """A frozenset. Its table has the final size from the first element on; the first ``seeds`` of them determine it."""
    first = frozenset(dict.fromkeys(adding[:seeds]))
    return first.union(adding[seeds:]) if seeds < len(adding) else first


def seeded_set(adding: list[Any], seeds: int, occupied: Iterable[int] = ()) -> set[Any]:
    """A set. Its table has the final size from the first element on, and some slots are occupied meanwhile."""
    obstacles = [_Obstacle(slot) for slot in occupied]
    coming = [*obstacles, *adding]
    built: set[Any] = set(dict.fromkeys(coming[:seeds]))
    built.update(coming[seeds:])
    for obstacle in obstacles:  # one by one: removing all at once would rebuild the table
        built.discard(obstacle)
    return built


class _Obstacle:
    """Occupies one slot of a table, and is equal to no other object."""

    __slots__ = ("_slot",)

    def __init__(self, slot: int) -> None:
        self._slot = slot

    def __hash__(self) -> int:
        return self._slot

    def __eq__(self, other: object) -> bool:
        return self is other


def _seeds(count: int, slots: int) -> int:
    """The number of elements for which CPython allocates a table of this size if it knows their number in advance."""
    return min(count, slots // 2 - 1)


def _fillers(obstacles: list[int], places: list[int], slots: int, count: int) -> list[int]:
    """The slots to occupy: the obstacles, and as many others as the table needs to reach its size."""
    missing = max(slots // 4, _LEAST_GROWTH) - count - len(obstacles) if slots > _LEAST_SLOTS else 0
    others = itertools.filterfalse({*obstacles, *places}.__contains__, range(slots))
    return obstacles + list(itertools.islice(others, max(0, missing)))


def _guesses(kind: Any, order: list[Any]) -> Iterator[Recipe]:
    """Recipes that add the elements in some order, for frozensets without another recipe."""
    if len(order) <= _FEW:
        yield from ((kind, (list(adding),)) for adding in itertools.permutations(order))
        return
    draw = random.Random(0)
    for _ in range(_TRIES):
        yield kind, (draw.sample(order, len(order)),)
