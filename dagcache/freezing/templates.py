"""Templates: instances that differ in few attributes are pickled as copies of one dict, plus their differences.

Unpickling a dict of thirty-five attributes looks up seventy memoised objects and inserts half of them one by one.
Copying such a dict is one call of a C function that copies its table. Tasks of a DAG agree in most attributes. With
`dict_setter` (in `reducers`), a thaw of a graph of operators takes a quarter less time, and the only freeze an eighth
more.

The names in a template are interned, as those of attributes that were set one by one. Otherwise each thawed value would
have strings of its own for them, some 300 to 1,100 bytes.

A template must not be copied before it is complete, which could happen if it were reached through its own attributes.
So a template holds only objects without references, and is used only after it has been pickled.
"""

from __future__ import annotations

import copyreg
import datetime as dt
import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import compress
from operator import is_not
from typing import Any

from dagcache.freezing.reducers import Reducer

__all__ = ["COPY", "INTERNED", "Changed", "Template", "Templates"]

COPY: Callable[[dict[Any, Any]], dict[Any, Any]] = dict.copy
_ATOMS = frozenset({str, bytes, int, float, complex, bool, type(None)})
_MOMENTS = (dt.date, dt.time, dt.timedelta, dt.tzinfo)


def _interned(state: dict[Any, Any]) -> dict[Any, Any]:
    """The same dict, with the process's own objects for the names; unchanged if a name is not a plain string."""
    try:
        return dict(zip(map(sys.intern, state), state.values(), strict=True))
    except TypeError:
        return state


INTERNED: Callable[[dict[Any, Any]], dict[Any, Any]] = _interned


class Template:
    """The common attributes of some instances. Pickled, it becomes a dict."""

    __slots__ = ("state",)

    def __init__(self, state: dict[Any, Any]) -> None:
        self.state = state

    def reduce(self) -> tuple[Any, ...]:
        """The form that ``copyreg`` expects."""
        return INTERNED, (self.state,)


class Changed(tuple[Any, ...]):
    """A state as its differences from a template: copy the template, then set the differences. Pickled, it is a dict.

    It has the form that ``copyreg`` expects, so its reducer is ``tuple``, which needs no frame of the interpreter.
    """

    __slots__ = ()


class _OfClass:
    """The templates for the instances of one class, by the names of their attributes in order.

    The tuples are the arguments of `COPY`, the same object each time: it is pickled once.
    """

    __slots__ = ("begun", "complete")

    def __init__(self) -> None:
        self.begun: dict[tuple[Any, ...], tuple[Template]] = {}
        self.complete: dict[tuple[Any, ...], tuple[Template]] = {}


class Templates:
    """The templates for one dump of a value. Not thread-safe; do not keep it.

    ``root``: the value; ``shared_ids``: ids of the objects that are pickled by reference. Attributes of a template may
    refer to both. Of other attributes a template has only the names.
    """

    def __init__(self, root: object, shared_ids: AbstractSet[int]) -> None:
        self._leads_nowhere = {id(root), *shared_ids}

    def reducer(self, kind: type, set_dict: object) -> Reducer:
        """A reducer for instances of exactly this class; ``set_dict`` is its `dict_setter` (in `reducers`)."""
        new, arguments = copyreg.__newobj__, (kind,)  # type: ignore[attr-defined]
        of_class = _OfClass()

        def reduce(instance: Any) -> tuple[Any, ...]:
            own = state = instance.__dict__
            layout = tuple(state)
            copied = of_class.complete.get(layout)
            if copied is not None:
                own = Changed((COPY, copied, None, None, _changes(state, copied[0].state)))
            elif layout not in of_class.begun:
                of_class.begun[layout] = copied = (self._template(state),)
                own = Changed((COPY, copied, None, None, first(layout, state)))
            return new, arguments, own, None, None, set_dict

        def first(layout: tuple[Any, ...], state: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
            # The pickler asks for the changes after it has pickled the template.
            of_class.complete[layout] = copied = of_class.begun[layout]
            yield from _changes(state, copied[0].state)

        return reduce

    def _template(self, state: dict[Any, Any]) -> Template:
        return Template({name: value if self._may_be_common(value) else None for name, value in state.items()})

    def _may_be_common(self, value: object) -> bool:
        return type(value) in _ATOMS or id(value) in self._leads_nowhere or isinstance(value, _MOMENTS)


def _changes(state: dict[Any, Any], template: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """By identity: an equal attribute may be a separate object and has to stay one."""
    return compress(state.items(), map(is_not, state.values(), template.values()))
