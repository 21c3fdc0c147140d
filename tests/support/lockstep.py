"""Walks over one graph, and over two graphs together: where they differ in value, or in the identity of their parts."""

from __future__ import annotations

import copyreg
import datetime as dt
import enum
import gc
import re
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
_ATOMS = (type, types.ModuleType, types.FunctionType, enum.Enum)
_VALUES = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis), range)
_BASES = (str, bytes, int, float, complex)
_CONTAINERS = (dict, list, tuple, set, frozenset)
_NOT_ENTERED = (type, types.ModuleType, types.FunctionType, re.Pattern, str, bytes, int, float, bool, type(None))
"""Patterns, because the cache of `re` may share them or not."""

Pair = tuple[object, object, str]


def assert_same_graph(a: object, b: object, shared: Iterable[object] = (), values: tuple[type, ...] = ()) -> None:
    """Fail unless ``b`` is an exact copy of ``a``.

    That is: the same types, values and slots; the same order of dicts, attributes and sets; one part of ``b`` for each
    part of ``a`` and the other way round; proxies to corresponding referents; and the very same object where ``a`` has
    one that is ``shared``, a class, a module, a function or a member of an enumeration. Immutable plain values are
    compared by value, and so are those of the types ``values``: of equal ones there may be more or fewer. A set with
    elements that hash by their addresses has no order to compare.
    """
    common_objects = list(shared)
    common = {id(item) for item in common_objects}
    there: dict[int, object] = {}
    back: dict[int, object] = {}
    pending: list[Pair] = [(a, b, "value")]
    held: list[object] = []  # parts made on the way (bound methods, state tuples) must keep their id
    while pending:
        left, right, where = pending.pop()
        held += (left, right)
        assert type(left) is type(right), f"{where}: {type(left)} became {type(right)}"
        if id(left) in common or id(right) in common or issubclass(type(left), _ATOMS):
            assert left is right, f"{where}: {left!r} is shared and was copied"
        elif isinstance(left, types.BuiltinFunctionType):
            assert left == right, f"{where}: {left!r} became {right!r}"  # bound each time that it is asked for
        elif left is right and left is not a:
            assert not _can_change(left), f"{where}: {left!r} is not shared and was not copied"
        elif type(left) in _VALUES:
            assert repr(left) == repr(right), f"{where}: {left!r} became {right!r}"  # as 0.0 == -0.0, and nan != nan
        elif type(left) in values and left is not a:
            assert_same_graph(left, right, common_objects)
        elif id(left) in there or id(right) in back:
            assert there.get(id(left)) is right, f"{where}: refers to another part than before"
            assert back.get(id(right)) is left, f"{where}: two parts became one"
        else:
            there[id(left)], back[id(right)] = right, left
            pending += _parts(left, right, where)


def _can_change(item: object) -> bool:
    return isinstance(item, (dict, list, set)) or (hasattr(item, "__dict__") and not isinstance(item, dt.tzinfo))


def _parts(left: Any, right: Any, where: str) -> Iterator[Pair]:
    kind = type(left)
    if kind in _PROXIES:
        yield left.__sizeof__.__self__, right.__sizeof__.__self__, f"{where}->"
        return
    yield from _contents(left, right, where)
    yield from _attributes(left, right, where)


def _contents(left: Any, right: Any, where: str) -> Iterator[Pair]:
    kind = type(left)
    if issubclass(kind, dict):
        yield from _aligned(list(dict.keys(left)), list(dict.keys(right)), f"{where} keys")
        yield from _aligned(list(dict.values(left)), list(dict.values(right)), f"{where} values")
    elif issubclass(kind, (list, tuple)):
        yield from _aligned(left, right, where)
    elif issubclass(kind, (set, frozenset)):
        yield from _elements(left, right, where)
    for base in _BASES:
        if issubclass(kind, base):
            yield base.__repr__(left), base.__repr__(right), f"{where} as {base.__name__}"
    if kind not in _CONTAINERS and not _is_plain_instance(kind):
        # An object of C code, or one that customises copying: its reduced form is its value.
        yield _said_of_itself(left), _said_of_itself(right), f"{where}.__reduce_ex__"


def _is_plain_instance(kind: type) -> bool:
    """Whether an instance has only attributes, and the parts that `_contents` reads by itself."""
    written_in_python = bool(kind.__flags__ & 1 << 9)
    ways: list[object] = [kind.__reduce_ex__, kind.__reduce__]
    has_no_say = ways == [object.__reduce_ex__, object.__reduce__] and kind not in copyreg.dispatch_table
    return written_in_python and has_no_say


def _said_of_itself(item: Any) -> object:
    reducer = copyreg.dispatch_table.get(type(item))
    reduced = item.__reduce_ex__(2) if reducer is None else reducer(item)
    return reduced if isinstance(reduced, str) else (*reduced[:3], *map(list, filter(None, reduced[3:5])))


def _aligned(left: Any, right: Any, where: str) -> Iterator[Pair]:
    assert len(left) == len(right), f"{where}: {len(left)} items became {len(right)}"
    for index, (one, other) in enumerate(zip(left, right, strict=True)):
        yield one, other, f"{where}[{index}]"


def _elements(left: Any, right: Any, where: str) -> Iterator[Pair]:
    ours, theirs = list(left), list(right)
    if sorted(map(hash, ours)) != sorted(map(hash, theirs)) and any(map(_hashes_by_address, ours)):
        ours, theirs = sorted(ours, key=_rank), sorted(theirs, key=_rank)
    yield from _aligned(ours, theirs, where)


def _hashes_by_address(item: object) -> bool:
    method: object = type(item).__hash__
    return method is object.__hash__


def _rank(item: object) -> tuple[str, str]:
    return type(item).__qualname__, repr(item) if _hashes_by_address(item) else f"{hash(item):+021d}"


def _attributes(left: Any, right: Any, where: str) -> Iterator[Pair]:
    ours, theirs = getattr(left, "__dict__", None), getattr(right, "__dict__", None)
    if ours is not None or theirs is not None:
        yield ours, theirs, f"{where}.__dict__"
    for base in type(left).__mro__:
        for name, member in vars(base).items():
            if type(member) is types.MemberDescriptorType and "__slots__" in vars(base):
                absent = object()
                one, other = getattr(left, name, absent), getattr(right, name, absent)
                assert (one is absent) == (other is absent), f"{where}.{name}: a slot was filled or emptied"
                if one is not absent:
                    yield one, other, f"{where}.{name}"


def reachable(root: object, not_entered: tuple[type, ...] = _NOT_ENTERED) -> dict[int, object]:
    """The objects of a graph, by id, but for those of some types and what only they refer to."""
    seen: dict[int, object] = {}
    pending = [root]
    while pending:
        item = pending.pop()
        if id(item) not in seen and not isinstance(item, not_entered):
            seen[id(item)] = item
            pending += gc.get_referents(item)
            if isinstance(item, (dt.datetime, dt.time)):  # the collector does not look into them
                pending.append(item.tzinfo)
    return seen


def in_common(one: object, other: object) -> Iterator[object]:
    """The objects that two graphs share: the process has one of each."""
    theirs = reachable(other)
    return (item for key, item in reachable(one).items() if key in theirs)


def assert_is_a_load(dag: Any, load: Callable[[], Any]) -> None:
    """A DAG is what Airflow loads, in lock-step, but for the number of equal spans. ``load`` makes one each time."""
    fresh, again = load(), load()
    dag.last_loaded = fresh.last_loaded  # the moment of the load
    assert_same_graph(fresh, dag, in_common(fresh, again), (dt.timedelta,))
