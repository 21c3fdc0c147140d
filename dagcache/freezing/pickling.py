"""Pickling of one value: shared objects by reference, weak proxies weak, and some parts rebuilt by a call.

A call that rebuilds a part (a *stand-in*) is pickled before the value, so that the value refers to its result in place
of the part. The unpickler's memo has to be filled in advance with the shared objects, in the same order.
"""

from __future__ import annotations

import gc
import io
import pickle
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any

from dagcache.errors import FreezeError
from dagcache.freezing.hubs import Filling, emptied
from dagcache.freezing.reducers import ClassRule, Reducer, ReducerTable
from dagcache.freezing.restricted import AllowList
from dagcache.freezing.set_order import (
    Recipe,
    changing,
    comes_back,
    has_one_order,
    of_strings,
    recipe_elsewhere,
    recipe_for,
    recipes_elsewhere,
)
from dagcache.freezing.templates import Changed, Template, Templates

__all__ = ["MEMOIZE", "NEXT_BUFFER", "PROTOCOL", "Pickled", "Pickling"]

PROTOCOL = 5
"""Not HIGHEST_PROTOCOL: this package writes and counts opcodes of this protocol."""
MEMOIZE = b"\x94"
NEXT_BUFFER = b"\x97"

StandIn = tuple[object, Recipe]
"""A part of a value, and the call that makes the part for a thawed value."""


@dataclass(frozen=True, slots=True)
class Pickled:
    """The result of pickling a value."""

    data: bytes
    """The pickle. Unpickle it with a memo that holds the shared objects."""
    kinds: AbstractSet[type]
    """The classes of its parts without an opcode of pickle or a configured reducer, and those of stand-ins."""
    own_way: Mapping[type, Reducer]
    """The classes among these that the rule leaves to pickle, with their reducers."""
    is_portable: bool = False
    """Whether another process gets the same value from it; False if the freezer has no allow-list."""


@dataclass(frozen=True)
class Pickling:
    """The way in which a freezer pickles. Thread-safe. The fields are the arguments of `PickleFreezer`."""

    shared: Mapping[int, object]
    """By id."""
    reducers: Mapping[type, Reducer]
    alike: Mapping[type, object]
    """The classes with their `dagcache.freezing.reducers.dict_setter`."""
    rule: ClassRule | None
    rebuilt: Callable[[Any], Iterable[StandIn]] | None
    sets: Callable[[Any], Iterable[AbstractSet[Any]]] | None
    hubs: Callable[[Any], Iterable[object]] | None = None
    allowed: AllowList | None = None
    adding: Callable[[Any], Mapping[int, list[Any]]] | None = None
    proven: dict[type, Reducer] = field(default_factory=dict)
    """Classes that the rule has approved already, with their reducers."""

    @cached_property
    def memo(self) -> Any:
        """A pickler's memo of the shared objects. Assigning it to another pickler copies it."""
        pickler = pickle.Pickler(io.BytesIO(), PROTOCOL)
        pickler.memo = {key: (index, item) for index, (key, item) in enumerate(self.shared.items())}
        return pickler.memo

    @cached_property
    def bases(self) -> tuple[frozenset[Any], ...]:
        """The shared frozensets."""
        return tuple(item for item in self.shared.values() if type(item) is frozenset and item)

    def pickled(self, value: object) -> Pickled:
        """Pickle a value that no thread changes meanwhile.

        Raises:
            FreezeError: a thawed value would not be equal.
            Exception: an error of the value's own parts.

        """
        stand_ins = [] if self.rebuilt is None else [*self.rebuilt(value)]
        try:
            return self._pickled(value, stand_ins)
        except RecursionError:
            if self.hubs is None:
                raise
        hubs = {id(part): part for part in self.hubs(value) if part is not value and id(part) not in self.shared}
        return self._pickled(value, stand_ins, hubs.values())

    def _pickled(self, value: object, stand_ins: list[StandIn], hubs: Iterable[object] = ()) -> Pickled:
        looked_at = {} if self.sets is None else {id(part): part for part in self.sets(value)}
        bound: list[AbstractSet[Any]] = []
        adding = self.adding(value) if self.allowed is not None and self.adding is not None else {}
        own = (part for key, part in looked_at.items() if key not in self.shared)
        rebuilt_sets = self._rebuilt_sets(own, adding, bound)
        dump = _Dump(self, value, [*stand_ins, *rebuilt_sets], hubs)
        others = self._rebuilt_sets(dump.sets(looked_at.keys()), adding, bound)
        if others:
            dump = _Dump(self, value, [*stand_ins, *rebuilt_sets, *others], hubs)
        self._refuse_dangling(value, dump.proxied)
        own_way = {} if self.rule is None else dump.table.own_way()
        is_portable = self.allowed is not None and not bound and all(map(self.allowed.allows, dump.named(self.shared)))
        return Pickled(dump.data, dump.kinds, own_way, is_portable)

    def _rebuilt_sets(
        self, parts: Iterable[AbstractSet[Any]], adding: Mapping[int, list[Any]], bound: list[AbstractSet[Any]]
    ) -> list[StandIn]:
        """The sets that plain pickling would bring back in another order, each with a call that keeps the order.

        With an allow-list, the call also gives the order of another process. Sets without such a call are added to
        ``bound``: the pickle is then bound to this process.
        """
        strings, others = of_strings(parts)
        found: list[StandIn] = []
        if self.allowed is None:
            others += changing(strings)
        elif recipes := recipes_elsewhere(strings, adding):
            found += zip(strings, recipes, strict=True)
        else:
            others += strings
        for part in others:
            if self._has_no_order(part):
                continue
            recipe = None
            if self.allowed is not None and not has_one_order(part):
                recipe = recipe_elsewhere(part, self.bases, adding.get(id(part)))
                if recipe is None:
                    bound.append(part)
            if recipe is None and not comes_back(part):
                recipe = _recipe(part)
            if recipe is not None:
                found.append((part, recipe))
        return found

    def _has_no_order(self, part: AbstractSet[Any]) -> bool:
        """Whether elements hash by address and are other objects after a thaw."""
        return not _STRINGS.issuperset(map(type, part)) and any(
            _hash_of(item) is object.__hash__ and id(item) not in self.shared and not isinstance(item, _ONCE)
            for item in part
        )

    def _refuse_dangling(self, value: object, proxied: dict[int, object]) -> None:
        """Refuse proxies of referents that the value itself does not hold: these would die right after a thaw."""
        missing = {key: item for key, item in proxied.items() if key not in self.shared}
        if missing and not _holds(value, missing):
            raise FreezeError(
                f"{_named(value)} cannot be frozen: one of its weak proxies refers to an object outside of it"
            )


class _Dump:
    """One run of a pickler."""

    def __init__(
        self, pickling: Pickling, value: object, stand_ins: list[StandIn], hubs: Iterable[object] = ()
    ) -> None:
        self._shared = pickling.shared
        self.proxied: dict[int, object] = {}
        """The referents of weak proxies, by id."""
        self.table = ReducerTable(self._known(pickling, value), pickling.rule)
        self._out = io.BytesIO()
        self._pickler = pickle.Pickler(self._out, PROTOCOL)
        self._pickler.dispatch_table = self.table
        self._pickler.memo = pickling.memo
        empty, fillings = emptied(hubs, self.table.__getitem__)
        stand_ins = [*stand_ins, *empty]
        self._parts = [part for part, _ in stand_ins]
        head = self._put(value, stand_ins) if stand_ins else b""
        if fillings:
            self._pickler.dump(fillings)
            head += self._taken_off_the_stack()
        self._pickler.dump(value)
        self.data = head + self._out.getvalue()

    def _known(self, pickling: Pickling, value: object) -> dict[type, Reducer]:
        templates = Templates(value, pickling.shared.keys())
        # Not a method of this object: the pickler would refer back to it, and its memo would keep the value alive until
        # the collector finds both.
        reduce_proxy = _proxy_reducer(self.proxied)
        return {
            **pickling.proven,
            weakref.ProxyType: reduce_proxy,
            weakref.CallableProxyType: reduce_proxy,
            **pickling.reducers,
            **{kind: templates.reducer(kind, set_dict) for kind, set_dict in pickling.alike.items()},
            Changed: tuple,
            Template: Template.reduce,
            _StandIn: tuple,
            Filling: Filling.reduce,
        }

    def _put(self, value: object, stand_ins: list[StandIn]) -> bytes:
        """Pickle the calls, and make the pickler use their results in place of the parts."""
        calls = [_StandIn(recipe) for _, recipe in stand_ins]
        self._pickler.dump(calls)
        memo = self._pickler.memo.copy()
        if id(value) in memo and id(value) not in self._shared:
            raise FreezeError(f"{_named(value)} cannot be frozen: a rebuilt part refers back to it")
        results = {id(part): (memo.pop(id(call))[0], part) for part, call in zip(self._parts, calls, strict=True)}
        if len(results) < len(calls) or not results.keys().isdisjoint(memo):
            raise FreezeError(f"{_named(value)} cannot be frozen: a rebuilt part is in another one, or rebuilt twice")
        memo |= results
        self._pickler.memo = memo
        return self._taken_off_the_stack()

    def _taken_off_the_stack(self) -> bytes:
        """The pickle so far, which only fills the unpickler's memo. The output is empty afterwards."""
        head = self._out.getvalue().removesuffix(pickle.STOP) + pickle.POP
        self._out.seek(0)
        self._out.truncate()
        return head

    @property
    def kinds(self) -> set[type]:
        """The classes of the parts."""
        return self.table.met.union(map(type, self._parts))

    def named(self, shared: Mapping[int, object]) -> Iterator[Any]:
        """The classes and functions that the pickle refers to by their names."""
        _, named = self._sets_and_named
        writes = self._out.write  # the pickler holds it
        # From CPython 3.12 on, the pickler also refers to its own class.
        return (part for part in named if id(part) not in shared and part is not pickle.Pickler and part != writes)

    def sets(self, looked_at: AbstractSet[int]) -> list[AbstractSet[Any]]:
        """The sets with several elements among the parts, without those that are known by id."""
        several = [part for part in self._sets_and_named[0] if len(part) > 1]
        known = {*looked_at, *self._shared, *map(id, self._parts)} if several else ()
        return [part for part in several if id(part) not in known]

    @cached_property
    def _sets_and_named(self) -> tuple[list[Any], list[Any]]:
        """The parts that are sets, and those that are classes or functions: few among many, so looked for once."""
        sets = {*_SETS, *(kind for kind in self.table.met if issubclass(kind, _SETS))}
        by_name = {*_BY_NAME, *(kind for kind in self.table.met if issubclass(kind, type))}
        kinds = sets | by_name
        memoised = _memoised(self._pickler)
        found = [*compress(memoised, map(kinds.__contains__, map(type, memoised)))]
        return [part for part in found if type(part) in sets], [part for part in found if type(part) in by_name]


class _StandIn(tuple[Any, ...]):
    """A call: a function and its arguments. Pickled, it becomes the result of the call; its reducer is ``tuple``."""

    __slots__ = ()


def _hash_of(item: object) -> object:
    return type(item).__hash__


def _recipe(part: AbstractSet[Any]) -> Recipe:
    recipe = recipe_for(part)
    if recipe is None:
        raise FreezeError(f"{_named(part)} cannot be frozen: a thaw would change its order")
    return recipe


def _named(value: object) -> str:
    return f"a {type(value).__qualname__}"


def _memoised_by_memo(pickler: Any) -> list[Any]:
    return [item for _, item in pickler.memo.copy().values()]


def _find_out_how() -> Callable[[Any], list[Any]]:
    """The fastest way to get the objects that a pickler has met. Its ``memo`` takes a third of the time of a dump."""
    pickler, probe = pickle.Pickler(io.BytesIO()), [object]
    pickler.dump(probe)
    return gc.get_referents if any(item is probe for item in gc.get_referents(pickler)) else _memoised_by_memo


_memoised = _find_out_how()


def _proxy_reducer(proxied: dict[int, object]) -> Reducer:
    """A reducer of weak proxies that notes their referents by id."""

    def reduce(proxy: Any) -> tuple[Callable[[Any], object], tuple[object]]:
        referent = _referent(proxy)
        proxied[id(referent)] = referent
        return weakref.proxy, (referent,)

    return reduce


def _referent(proxy: Any) -> object:
    """The referent of a weak proxy; raises TypeError if a new proxy would not be equal to this one."""
    # A proxy forwards every attribute: this method is bound to the referent.
    referent = proxy.__sizeof__.__self__
    if gc.get_referents(proxy):
        raise TypeError("a weak proxy with a callback cannot be frozen")
    if not any(reference is proxy for reference in weakref.getweakrefs(referent)):
        raise TypeError(f"the referent of a weak proxy to a {type(referent).__qualname__} cannot be found")
    return referent


_LEAVES = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_ONCE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type(None), type(...))
_SETS = (set, frozenset)
_STRINGS = {str}
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType)
_NEVER_ENTERED = (*_ONCE, types.CodeType)


def _holds(value: object, wanted: dict[int, object]) -> bool:
    """Whether all of these objects, by id, are strongly reachable from the value."""
    # A proxy usually points up a tree, and the root reaches the nodes of that tree without other types.
    short_cut = {*_CONTAINERS, type(value), *map(type, wanted.values())}
    return _reaches(value, wanted.keys(), short_cut.__contains__) or _reaches(
        value, wanted.keys(), lambda kind: kind not in _LEAVES and not issubclass(kind, _NEVER_ENTERED)
    )


def _reaches(value: object, wanted: AbstractSet[int], entered: Callable[[type], bool]) -> bool:
    seen: dict[int, object] = {}
    missing = set(wanted)
    frontier = [value]
    while frontier:
        level = {id(item): item for item in frontier}
        seen.update(level)
        missing.difference_update(level)
        if not missing:
            return True
        referents = gc.get_referents(*level.values())
        frontier = [item for item in referents if entered(type(item)) and id(item) not in seen]
    return False
