"""The freezer: turns a value into bytes and back into an equal graph, and refuses values that would not be equal.

Frozen form: a CRC-32, the length of the pickle, its count of MEMOIZE bytes, the position of its dictionary, whether it
is portable, the raw-deflated pickle. The bytes are valid only for the freezer that made them. Its checksum starts from
a random number, so that damaged bytes, and those of another freezer, are refused before anything is unpickled.

The portable form (`dagcache.freezing.portable`) has the same deflated pickle, so the two are converted by their heads.
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
from dagcache.freezing.portable import PortableForm
from dagcache.freezing.proven_classes import Proven
from dagcache.freezing.reducers import ClassRule, dict_setter
from dagcache.freezing.restricted import AllowList, unpickled
from dagcache.freezing.templates import COPY, INTERNED
from dagcache.freezing.zdict import Dictionaries
from dagcache.reclaim.breaker import GenericBreaker
from dagcache.reclaim.gc_pause import gc_paused, gc_relaxed

__all__ = ["LEVEL", "Freezer", "Frozen", "PickleFreezer", "gc_paused"]

LEVEL = 3
"""Compression level of zlib. On DAGs it is as fast as level 1, gives 7 % fewer bytes, and inflates faster. Level 6
takes 2.5 times as long and saves another 10 %."""
_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<IIB?")
_RAW_DEFLATE = -zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Frozen:
    """A value as bytes, and features of its pickle that predict the size of the live value.

    ``features`` are the pickle's length in bytes and its count of MEMOIZE bytes, about its number of objects.
    """

    data: bytes
    features: tuple[float, ...]


class Freezer(Protocol):
    """Turns values into bytes and back. Several threads may call both methods at once."""

    def freeze(self, value: object) -> Frozen:
        """The frozen form of the value; raises FreezeError if it has none."""
        ...

    def thaw(self, data: bytes) -> object:
        """A new value from frozen bytes; raises ThawError if they do not give one."""
        ...


class PickleFreezer:
    """Freezes by pickle and zlib; weak proxies stay weak, ``shared`` objects are referred to, not copied.

    ``shared``: objects that exist once per process (singletons, time zones, common empty lists). A
    thawed value refers to the same objects again. Each costs some 25 nanoseconds per thaw, so use hundreds
    of them, not tens of thousands. The freezer holds them.
    ``reducers``: functions that pickle instances of exactly these types, as in ``copyreg``.
    ``alike``: classes with many instances in one value that have mostly the same attributes: `templates`. Classes
    with state beside their ``__dict__`` are left to pickle.
    ``level``: compression level of zlib, 1 to 9 (smallest); ConfigError for anything else.
    ``rule``: returns the reducer for a class, or raises FreezeError. It is called for each class of which a value has
    an instance, except those named above, builtin containers and values, functions, and classes that are values.
    ``rebuilt``: returns the parts of a value that a thaw gets by calling a function, each with the call.
    ``sets``: returns the sets in a value. The freezer finds all sets by itself. But if it has to rebuild the order of
    a set that this function did not return, it pickles the value a second time.
    ``allowed``: the names that a portable pickle may refer to; without it, no value has a portable form. With it,
    ``shared`` must be in the same order in all processes that exchange frozen bytes.
    ``adding``: returns sets of a value, by id, with their elements in the order in which they were added. Without it, a
    portable form takes it that sets of strings were added in sorted order.
    ``hubs``: returns the parts of a value that long paths of references lead through. If a value is nested too deeply
    for pickle, it is pickled again, with these parts one after the other instead of one within another.

    Thread-safe. Never thaw bytes that do not come from this object.
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
        hubs: Callable[[Any], Iterable[object]] | None = None,
        allowed: AllowList | None = None,
        adding: Callable[[Any], Mapping[int, list[Any]]] | None = None,
    ) -> None:
        if level not in range(1, 10):
            raise ConfigError("level", level, "a whole number from 1 to 9")
        setters = {kind: set_dict for kind in alike if (set_dict := dict_setter(kind)) is not None}
        by_reference = [*shared, *setters.values(), *([COPY, INTERNED] if setters else ())]
        distinct = {id(item): item for item in by_reference}
        self._pickling = Pickling(distinct, dict(reducers), setters, rule, rebuilt, sets, hubs, allowed, adding)
        self._allowed = allowed
        self._shared = tuple(distinct.values())
        self._prologue = (NEXT_BUFFER + MEMOIZE + pickle.POP) * len(self._shared)
        self._proven = Proven()
        self._breaker = GenericBreaker(distinct.values())
        self._level = level
        self._dictionaries = Dictionaries()
        self._primed: tuple[bytes | None, Any] = None, None
        """A dictionary, and an unused compressor that has read it, in one assignment: other threads read both."""
        self._salt = int.from_bytes(os.urandom(4), "little")

    def freeze(self, value: object) -> Frozen:
        """Pickle and compress; raises FreezeError from any error of the value's own parts.

        No thread may change the value meanwhile. MemoryError and BaseExceptions that are not Exceptions pass through. A
        value with instances of classes that were not frozen before is thawed once, and that copy is taken apart.
        """
        try:
            pickled = self._pickling.pickled(value)
            self._prove(value, pickled)
            data = self._local(self._deflate(pickled))
        except (MemoryError, FreezeError):
            raise
        except Exception as error:
            raise FreezeError(f"a {type(value).__qualname__} cannot be frozen: {error}") from error
        return Frozen(data, self.features(data))

    def features(self, data: bytes) -> tuple[float, ...]:
        """The `Frozen.features` of bytes that this freezer made."""
        length, memoized, *_ = _HEAD.unpack_from(data, _CHECKSUM.size)
        return float(length), float(memoized)

    def thaw(self, data: bytes) -> object:
        """The value again, with the collector running seldom; raises ThawError from the original error.

        MemoryError and BaseExceptions that are not Exceptions pass through.
        """
        with gc_relaxed():  # not paused: foreign code runs, and may take long
            try:
                return self._load(data)
            except (MemoryError, ThawError):
                raise
            except Exception as error:
                raise ThawError(f"{len(data)} frozen bytes cannot be thawed: {error}") from error

    def to_portable(self, data: bytes) -> bytes | None:
        """The portable form of bytes that this freezer made; None if they have none. Pickles nothing."""
        length, memoized, position, is_portable = _HEAD.unpack_from(data, _CHECKSUM.size)
        if not is_portable:
            return None
        deflated = data[_CHECKSUM.size + _HEAD.size :]
        return PortableForm(length, memoized, self._dictionaries.digest_at(position), deflated).packed()

    def from_portable(self, data: bytes) -> tuple[object, bytes]:
        """A new value from the portable form, and its frozen bytes for this freezer. Pickles and deflates nothing.

        Only names on the allow-list are looked up. Raises ThawError if the bytes do not give a value; MemoryError and
        BaseExceptions that are not Exceptions pass through.
        """
        with gc_relaxed():
            try:
                return self._from_portable(PortableForm.of(data))
            except (MemoryError, ThawError):
                raise
            except Exception as error:
                raise ThawError(f"{len(data)} portable bytes cannot be thawed: {error}") from error

    def words_of(self, portable: bytes) -> tuple[bytes, bytes | None]:
        """The digest of the dictionary of a portable form, and the dictionary itself; None if it is to be adopted.

        Raises ThawError for other bytes.
        """
        digest = PortableForm.of(portable).words
        position = self._dictionaries.find(digest)
        return digest, None if position is None else self._dictionaries.at(position)

    def adopt_words(self, words: bytes) -> bool:
        """Add a dictionary that another process learned; False if it is unusable, or there are too many."""
        return self._dictionaries.adopt(words)

    def _from_portable(self, form: PortableForm) -> tuple[object, bytes]:
        position = self._dictionaries.find(form.words)
        if position is None or self._allowed is None:
            raise ThawError("the zlib dictionary is unknown" if position is None else "this freezer has no allow-list")
        pickled = self._inflate(form.deflated, position, form.pickled_bytes)
        value = unpickled(self._prologue + pickled, self._shared, self._allowed)
        return value, self._local(_HEAD.pack(form.pickled_bytes, form.memoized, position, True) + form.deflated)

    def _local(self, checked: bytes) -> bytes:
        return _CHECKSUM.pack(zlib.crc32(checked, self._salt)) + checked

    def _prove(self, value: object, pickled: Pickled) -> None:
        """Thaw a value with new classes once, to prove that it can be thawed."""
        unproven = self._proven.missing(pickled.kinds)
        if not unproven:
            return
        refusal = f"a {type(value).__qualname__} cannot be frozen: it cannot be thawed again"
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
            raise ThawError(f"{len(data)} frozen bytes are damaged or come from another freezer: the checksum differs")
        length, _, position, _ = _HEAD.unpack_from(checked)
        return self._unpickle(self._inflate(checked[_HEAD.size :], position, length))

    def _inflate(self, deflated: bytes | memoryview, position: int, length: int) -> bytes:
        inflater = zlib.decompressobj(_RAW_DEFLATE, self._dictionaries.at(position))
        pickled = inflater.decompress(deflated, length)
        if len(pickled) != length:
            raise ThawError(f"{len(deflated)} deflated bytes give {len(pickled)} bytes, not {length}")
        return pickled

    def _unpickle(self, pickled: bytes) -> object:
        # Buffers of a pickle may be any objects. The prologue puts the shared ones into the memo, at the same positions
        # as in the pickler's memo. (The unpickler's memo cannot be set: CPython's setter loses the items of a dict.)
        return pickle.loads(self._prologue + pickled, buffers=self._shared)

    def _deflate(self, pickled: Pickled) -> bytes:
        data, dictionaries = pickled.data, self._dictionaries
        words = dictionaries.own.words_for(data)
        deflater = self._deflater(words)
        position = dictionaries.position_of(words) if words else 0
        head = _HEAD.pack(len(data), data.count(MEMOIZE), position, pickled.is_portable)
        return b"".join((head, deflater.compress(data), deflater.flush()))

    def _deflater(self, words: bytes) -> Any:
        """A compressor that has read a dictionary. A copy, of 240 KB, takes a seventh of the time to read it again."""
        known, primed = self._primed
        if known is not words:
            primed = zlib.compressobj(self._level, zlib.DEFLATED, _RAW_DEFLATE, zdict=words)
            self._primed = words, primed
        return primed.copy()
