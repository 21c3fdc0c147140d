"""The exact weight of an object graph: what the allocators hand out for it, to within one or two per cent.

Each level of the graph is visited by one ``gc.get_referents(*frontier)``, and all that is done per object
is a C-level ``map``: no Python bytecode runs per node. Sizes follow CPython's allocators (Objects/obmalloc.c,
and glibc's malloc): requests of up to 512 bytes are rounded up to 16; larger ones get 8 bytes of bookkeeping
first. The collector's header comes on top of ``__sizeof__``; the bodies of dicts, lists and sets, and the
attribute values of instances, are blocks of their own.
"""

from __future__ import annotations

import enum
import gc
import logging
import sys
import threading
import types
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo
from itertools import chain, filterfalse, islice
from typing import Any

NODE_LIMIT = 2_000_000
"""Where a walk gives up unless told otherwise: about 250 MB of graph, and a second of walking."""

STOP_TYPES: tuple[type, ...] = (
    type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, types.FrameType,
    types.GeneratorType, types.CoroutineType, logging.Logger, logging.Handler, threading.Thread,
    type(threading.Lock()), type(threading.RLock()), threading.local, tzinfo, enum.Enum,
)  # fmt: skip
"""Never part of a graph's weight: these belong to the process, and behind them lies all of it."""

_CHUNK = 4096
_PROCESS_WIDE: dict[int, Any] = {
    id(each): each
    for each in (
        *(None, True, False, ..., NotImplemented, (), "", b""),
        *range(-5, 257),
        *map(chr, range(256)),
    )
}

# Include/object.h; the layout of instances changed with every minor version.
_HAVE_GC = 1 << 14
_MANAGED_DICT = 1 << 4 if sys.version_info >= (3, 11) else 0
_PREHEADER = _MANAGED_DICT | (1 << 3 if sys.version_info >= (3, 12) else 0)
_VALUES_ARE_IN_THE_OBJECT = sys.version_info >= (3, 13)
_INLINE_VALUES = 1 << 2 if _VALUES_ARE_IN_THE_OBJECT else _MANAGED_DICT
_MOST_INLINE_VALUES = 29
_COLLECTORS_LINKS = 0 if "t" in getattr(sys, "abiflags", "") else 16  # free-threaded builds have none
_OWN_DICT = -1
_BODIED = (dict, list, set, frozenset)


@dataclass(frozen=True)
class Weight:
    """What a walk found: bytes, the number of objects, and whether it reached the end.

    Of an incomplete walk, ``nbytes`` is what was found so far: a lower bound.
    """

    nbytes: int
    nodes: int
    complete: bool


def weigh(
    value: object,
    *,
    shared: Collection[int] = frozenset(),
    stop_types: tuple[type, ...] = (),
    node_limit: int = NODE_LIMIT,
) -> Weight:
    """Weigh everything that is reachable from ``value``, each object once.

    ``shared`` holds the ids of objects that other graphs use too: they and what only they reach weigh
    nothing, and so do instances of ``stop_types`` and `STOP_TYPES`. Never touches ``__dict__`` and never
    calls into the objects, except for their ``__sizeof__``. Thread-safe; a thread that mutates the graph
    meanwhile makes the result approximate.
    """
    graph = _Graph(STOP_TYPES + stop_types, shared)
    complete = graph.explore(value, node_limit)
    values_bytes, own_dicts = graph.instances()
    keys = graph.keys_of_dicts(own_dicts)
    nbytes = graph.blocks() + values_bytes + _blocks_of(str, keys)
    return Weight(nbytes, graph.count + len(keys), complete)


class _Graph:
    """The objects that one walk found, by type."""

    def __init__(self, stop_types: tuple[type, ...], shared: Collection[int]) -> None:
        self.count = 0
        self._nodes: dict[type, list[Any]] = {}
        self._stop_types = stop_types
        self._stopped: set[type] = set()
        self._found = {**_PROCESS_WIDE, **dict.fromkeys(shared)}

    def explore(self, root: object, node_limit: int) -> bool:
        """Breadth first; False if the limit ended it."""
        frontier = self._add([root])
        while frontier:
            deeper: list[Any] = []
            for start in range(0, len(frontier), _CHUNK):
                # A chunk bounds the list of referents: edges can outnumber nodes without limit.
                deeper += self._add(gc.get_referents(*frontier[start : start + _CHUNK]))
                if self.count > node_limit:
                    return False
            frontier = deeper
        return True

    def _add(self, objects: list[Any]) -> list[Any]:
        """Record what is new among the objects; give back what of it has to be followed."""
        found = self._found
        before = len(found)
        found.update(zip(map(id, objects), objects, strict=True))
        fresh = list(islice(reversed(found.values()), len(found) - before))
        new: dict[type, list[Any]] = {of: [] for of in set(map(type, fresh))}
        appenders = {of: nodes.append for of, nodes in new.items()}
        for of, node in zip(map(type, fresh), fresh, strict=True):
            appenders[of](node)
        to_follow: list[Any] = []
        for of, nodes in new.items():
            if self._is_stopped(of):
                continue
            self.count += len(nodes)
            self._nodes.setdefault(of, []).extend(nodes)
            if of.__flags__ & _HAVE_GC:
                to_follow += nodes
        return to_follow

    def _is_stopped(self, of: type) -> bool:
        if of in self._nodes:
            return False
        if of not in self._stopped and issubclass(of, self._stop_types):
            self._stopped.add(of)
        return of in self._stopped

    def instances(self) -> tuple[int, set[int]]:
        """Bytes of the attribute values that instances hold without a dict, and the ids of dicts they own."""
        nbytes = 0
        own_dicts: set[int] = set()
        for of, nodes in self._nodes.items():
            if not of.__dictoffset__ or issubclass(of, _BODIED):
                continue
            widths = []
            for node in nodes:
                referents = gc.get_referents(node)
                width = len(referents) - 1
                # An instance's referents end with its dict, if that exists, and its type. Where values are
                # kept inline an attribute may stand in that place, unless it is the only one.
                if type(referents[width - 1]) is dict and (width == 1 or not _MANAGED_DICT):
                    own_dicts.add(id(referents[width - 1]))
                    width = _OWN_DICT
                widths.append(width)
            nbytes += _values_bytes(of, widths)
        return nbytes, own_dicts

    def keys_of_dicts(self, own_dicts: set[int]) -> list[Any]:
        """The str keys, which the collector's view of a dict leaves out.

        Not those of instances' own dicts: attribute names are interned, so all graphs share them.
        """
        dicts = chain.from_iterable(nodes for of, nodes in self._nodes.items() if issubclass(of, dict))
        real_dicts = [each for each in dicts if id(each) not in own_dicts]
        # list() of a view is one step for other threads: nobody can change the dict in the middle of it.
        keys = list(chain.from_iterable(map(list, map(dict.keys, real_dicts))))
        unique = dict(zip(map(id, keys), keys, strict=True))
        return [unique[number] for number in filterfalse(self._found.__contains__, unique)]

    def blocks(self) -> int:
        """Bytes of the blocks of all objects; of the bodies, too, that are blocks of their own."""
        return sum(_blocks_of(of, nodes) for of, nodes in self._nodes.items())


def _blocks_of(of: type, nodes: list[Any]) -> int:
    header = _header(of)
    sizeof: Any = of.__sizeof__
    if sizeof is object.__sizeof__ and not of.__itemsize__:
        return len(nodes) * _rounded(of.__basicsize__ + header)
    head = of.__basicsize__ + header if issubclass(of, _BODIED) else 0
    return sum(
        count * (_rounded(head) + _rounded(size + header - head)) for size, count in Counter(_sizes(of, nodes)).items()
    )


def _sizes(of: type, nodes: list[Any]) -> list[int]:
    """As sys.getsizeof gives them, but without the header, and for built-in types in a sixth of its time."""
    sizeof: Any = of.__sizeof__
    if isinstance(sizeof, types.MethodDescriptorType):
        with suppress(TypeError):
            return list(map(sizeof, nodes))
    return list(map(_size_or_guess, nodes))


def _size_or_guess(node: object) -> int:
    try:
        return sys.getsizeof(node) - _header(type(node))
    except Exception:  # one object's own __sizeof__ must not spoil the others
        return type(node).__basicsize__


def _rounded(size: int) -> int:
    """The block that an allocator hands out for a request of so many bytes."""
    if size > 512:
        size += 8
    return (size + 15) & ~15


def _header(of: type) -> int:
    """Bytes in front of an object: the collector's links; pointers to a managed dict and weak references."""
    return (_COLLECTORS_LINKS if of.__flags__ & _HAVE_GC else 0) + (16 if of.__flags__ & _PREHEADER else 0)


def _values_bytes(of: type, widths: list[int]) -> int:
    """Bytes of the inline attribute values of instances of one class.

    All instances of a class get room for the attributes of the widest, and one more (Objects/dictobject.c).
    """
    if not of.__flags__ & _INLINE_VALUES:  # pragma: no cover - before CPython 3.11, and from 3.13 on
        return 0
    if not _VALUES_ARE_IN_THE_OBJECT:  # pragma: no cover - CPython 3.11 and 3.12
        room = min(max(widths) + 1, _MOST_INLINE_VALUES)
        return (len(widths) - widths.count(_OWN_DICT)) * _rounded(_words(room + 2) + 8 * room)
    # From CPython 3.13 on.
    room = _MOST_INLINE_VALUES if _OWN_DICT in widths else min(max(widths) + 1, _MOST_INLINE_VALUES)  # pragma: no cover
    return len(widths) * _rounded(_words(room) + 8 * (room + 1))  # pragma: no cover


def _words(size: int) -> int:  # pragma: no cover - from CPython 3.11 on
    return (size + 7) & ~7
