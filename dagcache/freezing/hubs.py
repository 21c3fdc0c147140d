"""Hubs: parts that long paths of references lead through, such as groups within groups.

Pickle enters a part from the part that refers to it, and the interpreter limits the depth of these calls: to a count
that includes the caller's own calls (``sys.getrecursionlimit()``, up to CPython 3.11), to a fixed count, or to the size
of the thread's stack (from CPython 3.14). Groups that are nested 117 levels deep reach it.

Here all hubs are pickled as empty instances first. Then each is filled, and refers to the other ones by the memo. So
the depth of the calls no longer depends on the depth of the value. The unpickler has a stack of its own and no limit.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable
from typing import Any

from dagcache.freezing.reducers import Reducer

__all__ = ["Filling", "emptied"]


class Filling:
    """The state of a hub. Pickled, it becomes the hub, filled."""

    __slots__ = ("_hub", "_state")

    def __init__(self, hub: object, state: tuple[Any, ...]) -> None:
        self._hub = hub
        self._state = state

    def reduce(self) -> tuple[Any, ...]:
        """The form that ``copyreg`` expects: the hub itself, with its state to be set."""
        return itself, (self._hub,), *self._state


def emptied(
    hubs: Iterable[object], reducer_of: Callable[[type], Reducer]
) -> tuple[list[tuple[object, tuple[Any, Any]]], list[Filling]]:
    """The hubs, each with the call that makes an empty instance, and what fills them.

    Left out are parts with a class that makes its instances in another way than ``kind.__new__(kind)``.
    """
    empty: list[tuple[object, tuple[Any, Any]]] = []
    fillings: list[Filling] = []
    for hub in hubs:
        kind = type(hub)
        reduced = reducer_of(kind)(hub)
        if reduced[:2] == (copyreg.__newobj__, (kind,)):  # type: ignore[attr-defined]
            empty.append((hub, (empty_instance, (kind,))))
            fillings.append(Filling(hub, tuple(reduced[2:])))
    return empty, fillings


def empty_instance(kind: Any) -> object:
    # Not `copyreg.__newobj__`: the pickler compares its class with that of the stand-in.
    return kind.__new__(kind)


def itself(hub: object) -> object:
    return hub
