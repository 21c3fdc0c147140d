"""Instances that differ in few attributes, pickled as copies of one dict and what is different about each.

To unpickle a dict of thirty-five attributes means looking up seventy memoised objects and inserting half of them one by
one; to copy such a dict is one call of a C function that copies its table. Tasks of a DAG agree in most of their
attributes: on graphs of operators a thaw takes a tenth less time, and a freeze, of which there is one, a quarter more.

What could go wrong is a copy taken of a template that is not complete yet, because the way to it led over its own
attributes. So a template holds only what leads nowhere, and counts for nothing until it has been pickled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import compress
from operator import is_not
from typing import Any

from dagcache.freezing.reducers import Reducer, with_dict

__all__ = ["COPY", "Changed", "Templates"]

COPY: Callable[[dict[Any, Any]], dict[Any, Any]] = dict.copy
_ATOMS = frozenset({str, bytes, int, float, complex, bool, type(None)})
_MOMENTS = (dt.date, dt.time, dt.timedelta, dt.tzinfo)


class Changed:
    """A state as what differs from a template; pickled, it becomes a dict."""

    __slots__ = ("_changes", "_template")

    def __init__(self, template: dict[Any, Any], changes: Iterator[tuple[Any, Any]]) -> None:
        self._template = template
        self._changes = changes

    def reduce(self) -> tuple[Any, ...]:
        """As ``copyreg`` wants it: copy the template, then set what differs."""
        return COPY, (self._template,), None, None, self._changes


class Templates:
    """What the instances within one value have in common, for one dump of it: not thread-safe, and not to be kept.

    ``root``: the value; ``shared_ids``: of the objects that are pickled by reference. To both of them an attribute of a
    template may refer; of other attributes only the names are common.
    """

    def __init__(self, root: object, shared_ids: AbstractSet[int]) -> None:
        self._leads_nowhere = {id(root), *shared_ids}
        self._templates: dict[tuple[type, tuple[Any, ...]], dict[Any, Any]] = {}
        self._pickled: set[int] = set()

    def reducer(self, kind: type, set_dict: object) -> Reducer:
        """For instances of exactly this class; ``set_dict`` is its `dagcache.freezing.reducers.dict_setter`."""

        def reduce(instance: Any) -> tuple[Any, ...]:
            return with_dict(kind, self._state(kind, instance.__dict__), set_dict)

        return reduce

    def _state(self, kind: type, state: dict[Any, Any]) -> object:
        layout = kind, tuple(state)
        template = self._templates.get(layout)
        if template is None:
            template = {name: value if self._may_be_common(value) else None for name, value in state.items()}
            self._templates[layout] = template
            return Changed(template, self._first(template, _changes(state, template)))
        if id(template) not in self._pickled:
            return state
        return Changed(template, _changes(state, template))

    def _may_be_common(self, value: object) -> bool:
        return type(value) in _ATOMS or id(value) in self._leads_nowhere or isinstance(value, _MOMENTS)

    def _first(self, template: dict[Any, Any], changes: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        # Changes are asked for once what they are changes to has been pickled.
        self._pickled.add(id(template))
        yield from changes


def _changes(state: dict[Any, Any], template: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """By identity: what is merely equal may be another object, and has to stay one."""
    return compress(state.items(), map(is_not, state.values(), template.values()))
