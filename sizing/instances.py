"""Where CPython keeps the attributes of instances, as far as neither ``__sizeof__`` nor the collector shows it.

An instance has a dict of its own, or an array of values, or both. Up to 3.10 there are only dicts. 3.11 and 3.12 keep
the values in a block of their own until the dict is asked for, which then takes that block over. From 3.13 on the
values are part of the instance, and a dict may lie over them, which 3.13 hides from the collector
(Objects/dictobject.c: new_values, init_inline_values, PyObject_VisitManagedDict; internal/pycore_dict.h: _dictvalues).

No Python call answers these questions without creating the dict, so `ctypes` reads the fields of the instance. The
offsets are tried on a probe first. Without ctypes, or with another layout, the referents give a guess.
"""

from __future__ import annotations

import gc
import sys
import types
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

from dagcache.sizing.blocks import COLLECTORS_LINKS, header, rounded

MANAGED_DICT = 1 << 4 if sys.version_info >= (3, 11) else 0
"""The flag of classes with instances that have a dict or values at a place that the interpreter manages."""

_IN_THE_OBJECT = sys.version_info >= (3, 13)
_IN_A_BLOCK = sys.version_info >= (3, 11) and not _IN_THE_OBJECT
_INLINE_VALUES = 1 << 2 if _IN_THE_OBJECT else MANAGED_DICT
_MOST_VALUES = 30  # SHARED_KEYS_MAX_SIZE
_WORD = 8
_HEAP_TYPE = 1 << 9
_MANAGED_OFFSET = -3 * _WORD if COLLECTORS_LINKS else -_WORD  # MANAGED_DICT_OFFSET
_VALUES_OFFSET = object.__basicsize__ + 3 * _WORD  # of PyDictObject.ma_values

Read = Callable[[int], int]
"""The word at an address."""


@dataclass
class Attributes:
    """The blocks with the attributes of the instances of a graph."""

    nbytes: int = 0
    """Blocks that are not among the graph's objects, and the bytes that their own sizes omit."""
    own_dicts: set[int] = field(default_factory=set)
    """The ids of the instances' dicts; their keys are attribute names."""

    def add(self, of: type, nodes: list[Any], found: Mapping[int, Any]) -> None:
        """Take in the instances of one class; ``found`` has the graph's objects by id."""
        read = reader()
        if read is None:
            self._guess(of, nodes)
        elif of.__flags__ & MANAGED_DICT and _IN_THE_OBJECT:
            self._read_values_in_objects(of, nodes, found, read)
        elif of.__flags__ & MANAGED_DICT:
            self._read_values_in_blocks(of, nodes, found, read)
        elif of.__dictoffset__ > 0:
            self._read_dicts([id(node) + of.__dictoffset__ for node in nodes], read)
        else:
            self._guess(of, nodes)

    def _read_dicts(self, addresses: list[int], read: Read) -> None:
        self.own_dicts.update(filter(None, map(read, addresses)))

    def _read_values_in_blocks(self, of: type, nodes: list[Any], found: Mapping[int, Any], read: Read) -> None:
        """CPython 3.11 and 3.12; in the latter an odd pointer is one to values."""
        pointers = [read(id(node) + _MANAGED_OFFSET) for node in nodes]
        self._take_dicts([pointer for pointer in pointers if pointer and not pointer & 1], found, read)
        without = [node for node, pointer in zip(nodes, pointers, strict=True) if not pointer or pointer & 1]
        if without:
            # All instances of a class get room for the attributes of the widest, and one more.
            widest = max(map(len, map(gc.get_referents, without))) - 1 - _slots(of)
            self.nbytes += len(without) * rounded(_values_bytes(min(max(0, widest) + 1, _MOST_VALUES)))

    def _read_values_in_objects(self, of: type, nodes: list[Any], found: Mapping[int, Any], read: Read) -> None:
        """From CPython 3.13 on."""
        inline = bool(of.__flags__ & _INLINE_VALUES)
        rooms: Counter[int] = Counter()
        apart: list[int] = []
        for node in nodes:
            head = read(id(node) + of.__basicsize__) if inline else 0
            rooms[head & 0xFF] += 1
            pointer = read(id(node) + _MANAGED_OFFSET)
            if not pointer:
                continue
            if not head >> 24 & 1:  # the values are not valid: the dict has its own
                apart.append(pointer)
            elif pointer not in found:  # the collector of 3.13 does not see it
                self.nbytes += rounded(dict.__basicsize__ + header(dict))
            else:
                self.own_dicts.add(pointer)
                self.nbytes -= rounded(_body_bytes(found[pointer]))
        self._take_dicts(apart, found, read)
        if inline:
            alone = of.__basicsize__ + header(of)
            for room, count in rooms.items():
                self.nbytes += count * (rounded(alone + _values_bytes(room)) - rounded(alone))

    def _take_dicts(self, addresses: list[int], found: Mapping[int, Any], read: Read) -> None:
        """A dict that shares its keys with others has its values in a block that is longer than it says."""
        self.own_dicts.update(addresses)
        # Only what the graph's objects hold is read: a dict that another thread has replaced may be gone.
        dicts = [each for each in map(found.get, addresses) if type(each) is dict]
        sharing = [each for each in dicts if read(id(each) + _VALUES_OFFSET)]
        for said, count in Counter(map(_body_bytes, sharing)).items():
            self.nbytes += count * (rounded(_values_bytes(said // _WORD)) - rounded(said))

    def _guess(self, of: type, nodes: list[Any]) -> None:
        """Guess by the referents: the dict of an instance comes last, except for its class."""
        widths = []
        managed = bool(of.__flags__ & MANAGED_DICT)
        for node in nodes:
            referents = gc.get_referents(node)
            if referents and referents[-1] is of:
                referents.pop()
            # Where values are kept inline an attribute may stand in that place, unless it is the only one.
            if referents and type(referents[-1]) is dict and (len(referents) == 1 or not managed):
                self.own_dicts.add(id(referents[-1]))
            else:
                widths.append(len(referents))
        if widths and of.__flags__ & _INLINE_VALUES:
            self.nbytes += len(widths) * rounded(_values_bytes(min(max(widths) + 1, _MOST_VALUES)))


def _body_bytes(weighed: object) -> int:
    """The walk's weight of the body of a dict; 0 if it has omitted the dict."""
    return dict.__sizeof__(weighed) - dict.__basicsize__ if type(weighed) is dict else 0


def _values_bytes(room: int) -> int:
    """Of an array with room for so many values: the order in which they were set, and the values."""
    if _IN_A_BLOCK:
        return _words(room + 2) + _WORD * room
    return _words(room) + _WORD * (room + 1)


def _slots(of: type) -> int:
    """The number of attributes that the instances of a class have in slots."""
    own = (vars(base).values() for base in of.__mro__ if base.__flags__ & _HEAP_TYPE)
    return sum(type(each) is types.MemberDescriptorType for each in chain.from_iterable(own))


def _words(size: int) -> int:
    return (size + _WORD - 1) & -_WORD


@cache
def reader() -> Read | None:
    """How to read a word of an object; None if this interpreter's objects have another layout than expected."""
    try:
        import ctypes  # slow to import, and missing from some builds

        word = ctypes.c_uint64.from_address

        def read(address: int) -> int:
            return word(address).value

        return read if _is_as_expected(read) else None
    except Exception:  # a guess is better than no weight
        return None


class _Probe:
    pass


def _is_as_expected(read: Read) -> bool:
    probe: Any = _Probe()
    probe.one, probe.two = 1, 2
    offset = _MANAGED_OFFSET if MANAGED_DICT else _Probe.__dictoffset__
    if MANAGED_DICT and not _Probe.__flags__ & MANAGED_DICT:
        return False
    before = read(id(probe) + offset)
    if _IN_THE_OBJECT:
        head = read(id(probe) + _Probe.__basicsize__)
        room, size, embedded, valid = head.to_bytes(_WORD, "little")[:4]
        if not (2 <= room <= _MOST_VALUES and size == 2 and embedded == valid == 1 and not before):
            return False
    elif MANAGED_DICT and before and not before & 1:
        return False
    own = probe.__dict__
    return read(id(probe) + offset) == id(own)
