"""Freeze a value into bytes and thaw it into an equal graph.

Frozen form: a CRC-32, the pickle's length, whether it was deflated with the freezer's dictionary, the raw-deflated
pickle. The bytes are valid for the freezer that made them and for nothing else: its checksum starts from a random
number, so that damaged bytes, and another freezer's, are refused before anything is unpickled.
"""

from __future__ import annotations

import copyreg
import gc
import io
import os
import pickle
import struct
import types
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from dagcache.dictionary import Dictionary
from dagcache.errors import ConfigError, FreezeError, ThawError
from dagcache.gcpause import gc_paused, gc_relaxed
from dagcache.reducers import dict_setter
from dagcache.templates import COPY, Changed, Templates

__all__ = ["LEVEL", "Freezer", "Frozen", "PickleFreezer", "gc_paused"]

LEVEL = 3
"""Of zlib: on DAGs it takes no longer than 1, gives 7 % fewer bytes, and these are inflated in less time. 6 takes 2.5
times as long for another 10 %."""
_PROTOCOL = 5  # not HIGHEST_PROTOCOL: the opcodes written and counted below are this protocol's
_MEMOIZE = b"\x94"
_NEXT_BUFFER = b"\x97"
_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<I?")
_RAW_DEFLATE = -zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Frozen:
    """A value as bytes, and what its pickle tells about the size of the live value.

    ``features`` are the pickle's length in bytes and its count of MEMOIZE bytes, about its number of objects.
    """

    data: bytes
    features: tuple[float, ...]


class Freezer(Protocol):
    """Turns values into bytes and back; both methods may be called by several threads at once."""

    def freeze(self, value: object) -> Frozen:
        """The value's frozen form; FreezeError when it has none."""
        ...

    def thaw(self, data: bytes) -> object:
        """A new value from frozen bytes; ThawError when they do not give one."""
        ...


class PickleFreezer:
    """Freezes by pickle and zlib; weak proxies stay weak, ``shared`` objects are referred to, not copied.

    ``shared``: objects of which the process has one each (singletons, time zones, common empty lists). A
    thawed value refers to the same objects again. Each costs some 25 nanoseconds per thaw (so hundreds
    of them, not tens of thousands), and is held for as long as the freezer is.
    ``reducers``: how to pickle instances of exactly these types, as in ``copyreg``.
    ``alike``: classes of whose instances a value has many, with mostly the same attributes: `dagcache.templates`. Those
    that are more than their ``__dict__`` are left to pickle.
    ``level``: of zlib, 1 to 9 (smallest); ConfigError for anything else.

    Thread-safe: calls share nothing that changes. Never thaw bytes that come from outside of this object.
    """

    def __init__(
        self,
        shared: Iterable[object] = (),
        reducers: Mapping[type, Callable[[Any], Any]] = types.MappingProxyType({}),
        level: int = LEVEL,
        alike: Iterable[type] = (),
    ) -> None:
        if level not in range(1, 10):
            raise ConfigError("level", level, "a whole number from 1 to 9")
        self._alike = {kind: set_dict for kind in alike if (set_dict := dict_setter(kind)) is not None}
        by_reference = [*shared, *self._alike.values(), *([COPY] if self._alike else ())]
        distinct = {id(item): item for item in by_reference}
        self._shared = tuple(distinct.values())
        self._shared_ids = distinct.keys()
        self._reducers = dict(reducers)
        self._level = level
        self._dictionary = Dictionary()
        self._salt = int.from_bytes(os.urandom(4), "little")
        self._seeded = pickle.Pickler(io.BytesIO(), _PROTOCOL)
        self._seeded.memo = {key: (index, item) for index, (key, item) in enumerate(distinct.items())}
        self._prologue = (_NEXT_BUFFER + _MEMOIZE + pickle.POP) * len(self._shared)

    def freeze(self, value: object) -> Frozen:
        """Pickle and compress; raises FreezeError from whatever error the value's own parts raised.

        Nobody may change the value meanwhile. MemoryError and whatever is no Exception pass through.
        """
        try:
            pickled = self._dump(value)
            checked = self._deflate(pickled)
            data = _CHECKSUM.pack(zlib.crc32(checked, self._salt)) + checked
        except (MemoryError, FreezeError):
            raise
        except Exception as error:
            raise FreezeError(f"a {type(value).__qualname__} cannot be frozen: {error}") from error
        return Frozen(data, (float(len(pickled)), float(pickled.count(_MEMOIZE))))

    def thaw(self, data: bytes) -> object:
        """The value again, with the collector running seldom; raises ThawError from the original error.

        MemoryError and whatever is no Exception pass through.
        """
        with gc_relaxed():  # not paused: foreign code runs, which may take its time
            try:
                return self._load(data)
            except (MemoryError, ThawError):
                raise
            except Exception as error:
                raise ThawError(f"{len(data)} frozen bytes cannot be thawed: {error}") from error

    def _dump(self, value: object) -> bytes:
        proxied: dict[int, object] = {}

        def reduce_proxy(proxy: Any) -> tuple[Callable[[Any], object], tuple[object]]:
            referent = _referent(proxy)
            proxied[id(referent)] = referent
            return weakref.proxy, (referent,)

        templates = Templates(value, self._shared_ids)
        out = io.BytesIO()
        pickler = pickle.Pickler(out, _PROTOCOL)
        pickler.dispatch_table = {
            **copyreg.dispatch_table,
            weakref.ProxyType: reduce_proxy,
            weakref.CallableProxyType: reduce_proxy,
            **self._reducers,
            **{kind: templates.reducer(kind, set_dict) for kind, set_dict in self._alike.items()},
            Changed: Changed.reduce,
        }
        pickler.memo = self._seeded.memo
        pickler.dump(value)
        self._refuse_dangling(value, proxied)
        return out.getvalue()

    def _load(self, data: bytes) -> object:
        checked = memoryview(data)[_CHECKSUM.size :]
        if _CHECKSUM.unpack_from(data) != (zlib.crc32(checked, self._salt),):
            raise ThawError(f"{len(data)} frozen bytes are damaged, or another freezer's: the checksum differs")
        length, with_words = _HEAD.unpack_from(checked)
        inflater = zlib.decompressobj(_RAW_DEFLATE, self._dictionary.words if with_words else b"")
        pickled = inflater.decompress(checked[_HEAD.size :], length)
        # What a pickle takes for buffers may be any objects: the prologue puts the shared ones in the memo, at the
        # places where the pickler's has them. (Its own cannot be set: CPython's setter loses a dict's items.)
        return pickle.loads(self._prologue + pickled, buffers=self._shared)

    def _deflate(self, pickled: bytes) -> bytes:
        words = self._dictionary.words_for(pickled)
        deflater = zlib.compressobj(self._level, zlib.DEFLATED, _RAW_DEFLATE, zdict=words)
        head = _HEAD.pack(len(pickled), bool(words))
        return b"".join((head, deflater.compress(pickled), deflater.flush()))

    def _refuse_dangling(self, value: object, proxied: dict[int, object]) -> None:
        """A referent that the value itself does not hold would die as soon as the value is thawed."""
        missing = {key: item for key, item in proxied.items() if key not in self._shared_ids}
        if missing and not _holds(value, missing):
            raise FreezeError(
                f"a {type(value).__qualname__} cannot be frozen: it has a weak proxy to what it does not hold"
            )


def _referent(proxy: Any) -> object:
    """What a weak proxy stands for; TypeError for a proxy that a new one would not be equal to."""
    # A proxy forwards every attribute: this method is bound to the referent.
    referent = proxy.__sizeof__.__self__
    if gc.get_referents(proxy):
        raise TypeError("a weak proxy with a callback has no frozen form")
    if not any(reference is proxy for reference in weakref.getweakrefs(referent)):
        raise TypeError(f"the referent of a weak proxy to a {type(referent).__qualname__} cannot be found")
    return referent


_LEAVES = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_NEVER_ENTERED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)


def _holds(value: object, wanted: dict[int, object]) -> bool:
    """Whether all of these objects, by id, are strongly reachable from the value."""
    # A proxy is a shortcut up a tree, whose nodes the root mostly reaches without other types.
    short_cut = {*_CONTAINERS, type(value), *map(type, wanted.values())}
    return _reaches(value, wanted.keys(), short_cut.__contains__) or _reaches(
        value, wanted.keys(), lambda kind: kind not in _LEAVES and not issubclass(kind, _NEVER_ENTERED)
    )


def _reaches(value: object, wanted: AbstractSet[int], entered: Callable[[type], bool]) -> bool:
    seen: dict[int, object] = {}
    frontier = [value]
    while frontier:
        level = {id(item): item for item in frontier}
        seen.update(level)
        if wanted <= seen.keys():
            return True
        referents = gc.get_referents(*level.values())
        frontier = [item for item in referents if entered(type(item)) and id(item) not in seen]
    return False
