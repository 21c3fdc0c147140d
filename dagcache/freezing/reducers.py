"""Reducers: the functions that pickle the instances of each class, chosen by a rule, and a fast one for plain classes.

The fast one is for instances with all of their state in ``__dict__``. To restore such a state, pickle first looks for a
``__setstate__``, which calls the class's ``__getattr__`` if there is one. Then it copies the dict into that of the
instance, key by key. Here the unpickled dict becomes that of the instance, by the C function behind
``instance.__dict__ = state``. On graphs of operators a thaw takes about 0.8 of the time.
"""

from __future__ import annotations

import copyreg
import inspect
import struct
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import methodcaller
from typing import Any

Reducer = Callable[[Any], "tuple[Any, ...] | str"]
ClassRule = Callable[[type], "Reducer | None"]
"""Returns the reducer for a class, or None for the default of pickle. Raises FreezeError if there is neither."""

_PROTOCOL = 5
_POINTER = struct.calcsize("P")
_own_way: Reducer = methodcaller("__reduce_ex__", _PROTOCOL)
_METHODS: dict[type, Reducer] = {types.MethodType: _own_way, types.BuiltinFunctionType: _own_way}


class ReducerTable(dict[type, Reducer]):
    """A pickler's dispatch table for one dump. It calls a rule for each class that it meets.

    It does not call the rule for builtin containers and values, and for the classes in ``known``. Functions and classes
    are the same objects after a thaw, and methods depend on their object, so it does not call the rule for them either.
    """

    def __init__(self, known: Mapping[type, Reducer], rule: ClassRule | None) -> None:
        super().__init__(_METHODS)
        self.update(known)
        self.met: set[type] = set()
        """The classes of the instances that were met, except the known ones."""
        self._rule = rule
        self._left_to_pickle: dict[type, Reducer] = {}

    def __missing__(self, kind: type) -> Reducer:
        if issubclass(kind, types.BuiltinFunctionType):  # a method of a C class, which has a type of its own
            return _own_way
        reducer: Reducer | None = None
        if issubclass(kind, type):
            reducer = _by_name
        elif self._rule is not None:
            reducer = self._rule(kind)
        self.met.add(kind)
        reducer = reducer or copyreg.dispatch_table.get(kind)
        if reducer is None:
            self._left_to_pickle[kind] = reducer = slots_reducer(kind) or _own_way
        self[kind] = reducer
        return reducer

    def own_way(self) -> dict[type, Reducer]:
        """The classes among these that are left to pickle, with their reducers."""
        return self._left_to_pickle


def _by_name(kind: type) -> str:
    return kind.__qualname__


def slots_reducer(kind: type) -> Reducer | None:
    """A reducer for a class with slots and a ``__getattr__``: it reads the slots and never calls that method.

    The result equals that of ``object.__reduce_ex__``. That function reads every slot by name. If a slot is empty, the
    class's ``__getattr__`` may compute a value and store it, as `attrs` does for cached properties. The instance and
    all thawed ones would then be heavier than before the freeze (by 7 % for a mapped task of Airflow).

    None if the class has no such slots, or customises how its instances are read or pickled.
    """
    names: list[str] = [] if kind.__itemsize__ or not hasattr(kind, "__getattr__") else _slot_names(kind)
    slots = {name: inspect.getattr_static(kind, name, None) for name in names}
    if not slots or _reads_its_own_way(kind) or _has_more_than(slots, kind):
        return None
    readers = tuple((name, slot.__get__) for name, slot in slots.items())

    def reduce(instance: Any) -> tuple[Any, ...]:
        beside: dict[str, object] = {}
        for name, read in readers:
            with suppress(AttributeError):
                beside[name] = read(instance, kind)
        state = instance.__dict__ if kind.__dictoffset__ else None
        return copyreg.__newobj__, (kind,), (state, beside) if beside else state  # type: ignore[attr-defined]

    return reduce


def _slot_names(kind: type) -> list[str]:
    return copyreg._slotnames(kind)  # type: ignore[attr-defined,no-any-return] # noqa: SLF001 - as `object` does


def _reads_its_own_way(kind: type) -> bool:
    defaults = ("__reduce__", "__reduce_ex__", "__getstate__", "__getattribute__")  # `object` has the third since 3.11
    hooks = ("__getnewargs__", "__getnewargs_ex__")
    return any(hasattr(kind, name) for name in hooks) or any(
        getattr(kind, name, None) is not getattr(object, name, None) for name in defaults
    )


def _has_more_than(slots: Mapping[str, object], kind: type) -> bool:
    """Whether instances have storage beside these slots and a dict, by the rule of Objects/typeobject.c."""
    pointers = len(slots) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    is_slot = [isinstance(slot, types.MemberDescriptorType) for slot in slots.values()]
    return not all(is_slot) or kind.__basicsize__ > object.__basicsize__ + _POINTER * pointers


_HOOKS = (
    "__reduce__",
    "__reduce_ex__",
    "__setstate__",
    "__getstate__",
    "__getnewargs__",
    "__getnewargs_ex__",
    "__slots__",
)


def dict_setter(kind: type) -> Any:
    """The C function behind ``instance.__dict__ = state`` for this class, to be frozen by reference.

    None if the class customises pickling, has state outside of ``__dict__``, or has no ``__dict__``.
    """
    holder: Any = None
    for base in kind.__mro__[:-1]:
        own = vars(base)
        if any(own.get(name) for name in _HOOKS):  # empty __slots__ are none
            return None
        holder = own.get("__dict__", holder)
    return None if holder is None else holder.__set__


def plain_reducer(kind: type) -> Reducer | None:
    """A reducer for instances of exactly this class, whose attributes pickle sets one by one.

    None if the class has state beside its ``__dict__``, or a ``__getattr__``, which pickle would call.

    For small instances in large numbers. They share the keys of their dicts, so they take fewer bytes than with a dict
    of their own. Frozen bytes are fewer as well: no opcode refers to a number that differs from instance to instance.
    """
    if dict_setter(kind) is None or hasattr(kind, "__getattr__"):
        return None
    arguments = (kind,)

    def reduce(instance: Any) -> tuple[Any, ...]:
        return copyreg.__newobj__, arguments, instance.__dict__  # type: ignore[attr-defined]

    return reduce
