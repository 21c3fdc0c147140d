"""Freeze a value into bytes and thaw it into an equal graph. What would not come back equal is refused.

Frozen form: a CRC-32, the pickle's length, its count of MEMOIZE bytes, whether it was deflated with the freezer's
dictionary, the raw-deflated pickle. The bytes are valid for the freezer that made them and for nothing else: its
checksum starts from a random number, so that damaged bytes, and another freezer's, are refused before anything is
unpickled.
"""

from __future__ import annotations

import os
import pickle
import struct
import types
import zlib
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Protocol

from dagcache.errors import ConfigError, FreezeError, ThawError
from dagcache.freezing.pickling import MEMOIZE, NEXT_BUFFER, Pickled, Pickling, StandIn
from dagcache.freezing.proven_classes import Proven
from dagcache.freezing.reducers import ClassRule, dict_setter
from dagcache.freezing.templates import COPY
from dagcache.freezing.zdict import Dictionary
from dagcache.reclaim.breaker import GenericBreaker
from dagcache.reclaim.gc_pause import gc_paused, gc_relaxed

__all__ = ["LEVEL", "Freezer", "Frozen", "PickleFreezer", "gc_paused"]

LEVEL = 3
"""Of zlib: on DAGs it takes no longer than 1, gives 7 % fewer bytes, and these are inflated in less time. 6 takes 2.5
times as long for another 10 %."""
_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<II?")
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
    ``alike``: classes of whose instances a value has many, with mostly the same attributes: `templates`. Those
    that are more than their ``__dict__`` are left to pickle.
    ``level``: of zlib, 1 to 9 (smallest); ConfigError for anything else.
    ``rule``: asked about each class of which a value has an instance, but not about those named above, builtin
    containers and values, functions, and classes that are themselves values. It tells how to pickle instances, or
    raises FreezeError.
    ``rebuilt``: tells which parts of a value a thaw gets by calling a function, each with the call.
    ``sets``: tells where the sets of a value are. All are found; but where one has to be built in an order of its own,
    a value is pickled again unless it was told of.

    Thread-safe. Never thaw bytes that come from outside of this object.
    """

    def __init__(
        self,
        shared: Iterable[object] = (),
        reducers: Mapping[type, Callable[[Any], Any]] = types.MappingProxyType({}),
        level: int = LEVEL,
        alike: Iterable[type] = (),
        rule: ClassRule | None = None,
        rebuilt: Callable[[Any], Iterable[StandIn]] | None = None,
        sets: Callable[[Any], Iterable[AbstractSet[Any]]] | None = None,
    ) -> None:
        if level not in range(1, 10):
            raise ConfigError("level", level, "a whole number from 1 to 9")
        setters = {kind: set_dict for kind in alike if (set_dict := dict_setter(kind)) is not None}
        by_reference = [*shared, *setters.values(), *([COPY] if setters else ())]
        distinct = {id(item): item for item in by_reference}
        self._pickling = Pickling(distinct, dict(reducers), setters, rule, rebuilt, sets)
        self._shared = tuple(distinct.values())
        self._prologue = (NEXT_BUFFER + MEMOIZE + pickle.POP) * len(self._shared)
        self._proven = Proven()
        self._breaker = GenericBreaker(distinct.values())
        self._level = level
        self._dictionary = Dictionary()
        self._salt = int.from_bytes(os.urandom(4), "little")

    def freeze(self, value: object) -> Frozen:
        """Pickle and compress; raises FreezeError from whatever error the value's own parts raised.

        Nobody may change the value meanwhile. MemoryError and whatever is no Exception pass through. A value with
        instances of classes that were not frozen before is thawed once, and that copy is taken apart.
        """
        try:
            pickled = self._pickling.pickled(value)
            self._prove(value, pickled)
            checked = self._deflate(pickled.data)
            data = _CHECKSUM.pack(zlib.crc32(checked, self._salt)) + checked
        except (MemoryError, FreezeError):
            raise
        except Exception as error:
            raise FreezeError(f"a {type(value).__qualname__} cannot be frozen: {error}") from error
        return Frozen(data, self.features(data))

    def features(self, data: bytes) -> tuple[float, ...]:
        """The `Frozen.features` of bytes that this freezer made."""
        length, memoized, _ = _HEAD.unpack_from(data, _CHECKSUM.size)
        return float(length), float(memoized)

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

    def _prove(self, value: object, pickled: Pickled) -> None:
        """See whether what has new classes comes back at all."""
        unproven = self._proven.missing(pickled.kinds)
        if not unproven:
            return
        refusal = f"a {type(value).__qualname__} cannot be frozen: it does not come back"
        blamed = next(iter(unproven)) if len(unproven) == 1 else None
        if self._proven.hopeless(unproven):
            raise FreezeError(refusal, blamed)
        try:
            with gc_relaxed():
                self._breaker.release([self._unpickle(pickled.data)])
        except MemoryError:
            raise
        except Exception as error:
            self._proven.failed(unproven)
            raise FreezeError(f"{refusal}: {error}", blamed) from error
        self._proven.add(unproven)
        self._pickling.proven.update(pickled.own_way)

    def _load(self, data: bytes) -> object:
        checked = memoryview(data)[_CHECKSUM.size :]
        if _CHECKSUM.unpack_from(data) != (zlib.crc32(checked, self._salt),):
            raise ThawError(f"{len(data)} frozen bytes are damaged, or another freezer's: the checksum differs")
        length, _, with_words = _HEAD.unpack_from(checked)
        inflater = zlib.decompressobj(_RAW_DEFLATE, self._dictionary.words if with_words else b"")
        pickled = inflater.decompress(checked[_HEAD.size :], length)
        return self._unpickle(pickled)

    def _unpickle(self, pickled: bytes) -> object:
        # What a pickle takes for buffers may be any objects: the prologue puts the shared ones in the memo, at the
        # places where the pickler's has them. (Its own cannot be set: CPython's setter loses a dict's items.)
        return pickle.loads(self._prologue + pickled, buffers=self._shared)

    def _deflate(self, pickled: bytes) -> bytes:
        words = self._dictionary.words_for(pickled)
        deflater = zlib.compressobj(self._level, zlib.DEFLATED, _RAW_DEFLATE, zdict=words)
        head = _HEAD.pack(len(pickled), pickled.count(MEMOIZE), bool(words))
        return b"".join((head, deflater.compress(pickled), deflater.flush()))
