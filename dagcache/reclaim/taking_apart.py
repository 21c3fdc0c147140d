"""Breaking the cycles of parts that a census found free, without running code of their classes."""

from __future__ import annotations

import collections
import functools
import gc
import itertools
import operator
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from dagcache.reclaim.entered_types import has_class_statement, slot_names
from dagcache.reclaim.finalised_types import is_finalised
from dagcache.reclaim.part_graph import edges_between, leading_to_cycles
from dagcache.reclaim.per_type import PerType
from dagcache.reclaim.reference_counts import UNREFERENCED
from dagcache.reclaim.weak_references import WEAK_TYPES, Parts, weak_parts

Emptier = Callable[[list[object]], object]


def runs_code(parts: Parts) -> bool:
    """Whether the death of a part runs code that could see it emptied: a finaliser, or a weak reference's callback."""
    kinds = set(map(type, parts))
    if any(map(is_finalised.__getitem__, kinds)):
        return True
    return not kinds.isdisjoint(WEAK_TYPES) and bool(gc.get_referents(*weak_parts(parts).values()))


def take_apart(parts: Parts) -> bool:
    """Break every cycle. Returns whether all are certainly broken. No part dies before this function returns."""
    dicts = itertools.compress(parts, map(operator.is_, map(type, parts), itertools.repeat(dict)))
    _exhaust(map(_clear_dict, dicts))
    # A remaining cycle runs through parts that are still referred to.
    is_referred = map(UNREFERENCED.__lt__, map(sys.getrefcount, parts))
    left = [part for part in itertools.compress(parts, is_referred) if type(part) is not dict]
    alike: dict[type, list[object]] = {}
    for part in left:
        alike.setdefault(type(part), []).append(part)
    for kind, same in alike.items():
        for emptier in emptiers[kind]:
            emptier(same)
    # An emptied part refers to no other part, so a remaining cycle consists of parts that were not emptied.
    kept = [part for kind, same in alike.items() if not _is_emptied[kind] for part in same]
    return not kept or not leading_to_cycles(edges_between(tuple(kept)))


_exhaust: Callable[[Iterable[object]], object] = functools.partial(collections.deque, maxlen=0)
_clear_dict: Callable[[Any], None] = dict.clear


def _find_emptiers(kind: type) -> tuple[Emptier, ...]:
    """Functions that empty parts of this type: its container, attributes and slots."""
    containers: tuple[Any, ...] = (collections.OrderedDict, dict, list, set, collections.deque)
    clear = next((base.clear for base in containers if issubclass(kind, base)), None)
    found: list[Emptier] = [] if clear is None else [functools.partial(_clear_all, clear)]
    for base in kind.__mro__:
        own = vars(base)
        attributes = own.get("__dict__")
        if isinstance(attributes, types.GetSetDescriptorType):
            found.append(functools.partial(_replace_attributes, attributes.__set__))
        found += (functools.partial(_clear_slot, own[name].__set__) for name in slot_names(base))
    return tuple(found)


def _clear_all(clear: Callable[[Any], object], parts: list[object]) -> None:
    _exhaust(map(clear, parts))


def _replace_attributes(replace: Callable[[Any, dict[str, Any]], object], parts: list[object]) -> None:
    # Replaced and not emptied: a caller may hold the dict alone.
    _exhaust(map(replace, parts, iter(dict, None)))


def _clear_slot(fill: Callable[[Any, Any], object], parts: list[object]) -> None:
    _exhaust(map(fill, parts, itertools.repeat(None)))


_EMPTIABLE = frozenset({object, dict, list, set, collections.OrderedDict, collections.deque})


def _find_whether_emptied(kind: type) -> bool:
    """Whether an emptied part of this type refers to nothing but its class and an empty dict."""
    return all(base in _EMPTIABLE or has_class_statement(base) for base in kind.__mro__)


_is_emptied = PerType(_find_whether_emptied)
emptiers = PerType(_find_emptiers)
