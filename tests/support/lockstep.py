"""Walk two graphs together and say where they differ, in value or in the identity of their parts."""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
_ATOMS = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
_VALUES = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis), range)

Pair = tuple[object, object, str]


def assert_same_graph(a: object, b: object, shared: Iterable[object] = (), values: tuple[type, ...] = ()) -> None:
    """Fail unless ``b`` is an exact copy of ``a``.

    That is: the same types, values, dict order and slots; one part of ``b`` for each part of ``a`` and the
    other way round; proxies to corresponding referents; and the very same object where ``a`` has one that
    is ``shared``, a class, a module or a function. Immutable plain values are compared by value, and so are those of
    the types ``values``: of equal ones there may be more or fewer.
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
        elif type(left) in _VALUES:
            assert left == right, f"{where}: {left!r} became {right!r}"
        elif type(left) in values and left is not a:
            assert_same_graph(left, right, common_objects)
        elif id(left) in there or id(right) in back:
            assert there.get(id(left)) is right, f"{where}: refers to another part than before"
            assert back.get(id(right)) is left, f"{where}: two parts became one"
        else:
            there[id(left)], back[id(right)] = right, left
            pending += _parts(left, right, where)


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
        yield from _aligned(_ordered(left), _ordered(right), where)
    elif not _is_plain_instance(left):
        # An object of C code: what it says of itself is its value.
        yield left.__reduce_ex__(2), right.__reduce_ex__(2), f"{where}.__reduce_ex__"


def _is_plain_instance(item: object) -> bool:
    return bool(type(item).__flags__ & 1 << 9) and type(item).__reduce_ex__ is object.__reduce_ex__


def _aligned(left: Any, right: Any, where: str) -> Iterator[Pair]:
    assert len(left) == len(right), f"{where}: {len(left)} items became {len(right)}"
    for index, (one, other) in enumerate(zip(left, right, strict=True)):
        yield one, other, f"{where}[{index}]"


def _ordered(items: Any) -> list[object]:
    """A set has no order of its own: by type and hash, or by repr where hashes come from addresses."""
    return sorted(items, key=lambda item: (type(item).__qualname__, _rank(item)))


def _rank(item: object) -> str:
    return repr(item) if type(item).__hash__ is object.__hash__ else f"{hash(item):+021d}"


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
