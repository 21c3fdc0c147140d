"""Which function pickles the instances of which class: a rule over classes, and a quicker way for plain ones.

The quicker way is for instances whose whole state is their ``__dict__``. Pickle restores such a state by looking for a
``__setstate__`` (which costs a call of the class's ``__getattr__``, if it has one) and then copying the dict into the
instance's, key by key. Here the unpickled dict becomes the instance's own, by the C function behind
``instance.__dict__ = state``. On graphs of operators a thaw takes about 0.8 of the time.
"""

from __future__ import annotations

import copyreg
import types
from collections.abc import Callable, Mapping
from operator import methodcaller
from typing import Any

Reducer = Callable[[Any], "tuple[Any, ...] | str"]
ClassRule = Callable[[type], "Reducer | None"]
"""How to pickle the instances of a class: a reducer; None for pickle's own way; FreezeError if there is no way."""

_PROTOCOL = 5
_own_way: Reducer = methodcaller("__reduce_ex__", _PROTOCOL)
_METHODS: dict[type, Reducer] = {types.MethodType: _own_way, types.BuiltinFunctionType: _own_way}


class ReducerTable(dict[type, Reducer]):
    """A pickler's dispatch table for one dump, which asks a rule about each class that it meets.

    Not asked about: the builtin containers and values, functions and classes, of which the latter two are the same
    objects after a thaw; the classes that are in ``known``; and methods, which are as good as what they are bound to.
    """

    def __init__(self, known: Mapping[type, Reducer], rule: ClassRule | None) -> None:
        super().__init__(_METHODS)
        self.update(known)
        self.met: set[type] = set()
        """The classes of which an instance was met, other than the known ones."""
        self._rule = rule

    def __missing__(self, kind: type) -> Reducer:
        reducer: Reducer | None = None
        if issubclass(kind, type):
            reducer = _by_name
        elif self._rule is not None:
            reducer = self._rule(kind)
        self.met.add(kind)
        self[kind] = reducer = reducer or copyreg.dispatch_table.get(kind) or _own_way
        return reducer

    def own_way(self) -> dict[type, Reducer]:
        """Those of the classes met that are pickled in pickle's own way."""
        return {kind: self[kind] for kind in self.met if self[kind] is _own_way}


def _by_name(kind: type) -> str:
    return kind.__qualname__


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
    """The C function behind ``instance.__dict__ = state`` of this class's instances, to be frozen by reference.

    None if the class has a say in how it is pickled, has state elsewhere than in ``__dict__``, or has no ``__dict__``.
    """
    holder: Any = None
    for base in kind.__mro__[:-1]:
        own = vars(base)
        if any(own.get(name) for name in _HOOKS):  # empty __slots__ are none
            return None
        holder = own.get("__dict__", holder)
    return None if holder is None else holder.__set__


def dict_reducer(kind: type) -> tuple[Reducer, object] | None:
    """A reducer for instances of exactly this class, and its `dict_setter`; None if it has none."""
    set_dict = dict_setter(kind)
    if set_dict is None:
        return None

    def reduce(instance: Any) -> tuple[Any, ...]:
        return with_dict(kind, instance.__dict__, set_dict)

    return reduce, set_dict


def with_dict(kind: type, state: object, set_dict: object) -> tuple[Any, ...]:
    """As ``copyreg`` wants it: a new instance whose ``__dict__`` is what the state is unpickled to."""
    return copyreg.__newobj__, (kind,), state, None, None, set_dict  # type: ignore[attr-defined]
