"""Give the memory of a cyclic value back when the cache lets go of it, not at some later collection.

`GenericBreaker` does for one value what the collector does for the whole heap: trial deletion (Lins 1992;
CPython's ``gc_refs``). Parts whose references all come from one another are seen by nobody else, and may be
taken apart.

What makes it sound although other threads run: the reference counts and the references between the parts are
taken in one call into C code (`_census`), during which no other thread, finaliser or signal handler runs. At
that moment a reference to a part is either one of those counted or proof that somebody else holds it. What
nobody else holds then, nobody can get at later.

Three ways to a part are not in its reference count. Each has its rule:

- a weak reference from outside: a part that has one counts as held;
- an attribute dict that borrows its values from its instance (`_lent`, CPython 3.13): neither reports the other, so
  the dict is looked for, and whoever holds it holds the instance;
- a part whose type reports references that it does not own, or owns some that it does not report (running frames,
  generators on CPython 3.14, C code of unknown make): such parts are never entered (`_is_entered`), so whatever they
  refer to counts as held.

What cannot be decided is left alone.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import functools
import gc
import itertools
import logging
import operator
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from dagcache.log_limits import report
from dagcache.reclaim.gc_pause import gc_paused

_T = TypeVar("_T")
Emptier = Callable[[list[object]], object]
Parts = tuple[object, ...]


class WaitingReference(weakref.ref[Any]):
    """A weak reference by which values wait to be taken apart. It leads nobody else to them, so it is no holder."""

    __slots__ = ()


class Outcome(enum.Enum):
    """What became of a value that the cache let go of."""

    FREED = "freed"
    """Nothing but what others hold is left of it: it was not cyclic, or its cycles were broken."""
    HELD = "held"
    """Somebody holds it, or a part from which it can be reached: untouched. It may be free later."""
    SKIPPED = "skipped"
    """Not taken apart, now or later: it has finalisers, is too large, or cannot be judged. The collector's business."""


class CycleBreaker(Protocol):
    """Takes values apart; called outside all locks, by several threads at once."""

    def release(self, value_cell: list[object]) -> Outcome:
        """Free the value in a one-element list, the caller's only reference to it. Never raises.

        The list is empty afterwards, unless the outcome is HELD: then the value is in it again.
        """
        ...


class GenericBreaker:
    """Takes apart any value of which nobody else sees a part; knows nothing about its classes.

    ``shared``: objects that many values refer to: not entered, and held for as long as the breaker is.
    ``node_limit``: a value of more parts (containers and instances) than this is left to the collector.

    Classes, modules, functions, enum members, loggers, time zones, and objects of C code that is not known here
    (frames, generators, files) are never entered. A held part that leads back to the value keeps all of it (HELD);
    one that does not, such as a list of strings, stays whole while the rest goes (FREED). Without exact reference
    counts, as on free-threaded interpreters, whatever the collector tracks is SKIPPED. Thread-safe.
    """

    def __init__(self, shared: Iterable[object] = (), node_limit: int = 200_000) -> None:
        self._shared = {id(item): item for item in shared}
        self._node_limit = node_limit
        self._closed = ClosedTypes()

    def release(self, value_cell: list[object]) -> Outcome:
        """Free the value at once if nobody else holds it. Never raises; an unexpected error is logged."""
        outcome = Outcome.SKIPPED
        try:
            if not gc.is_tracked(value_cell[0]):
                outcome = Outcome.FREED
            elif _EXACT_COUNTS:
                with gc_paused():
                    outcome = self._release(value_cell)
        except Exception as error:
            tell_of_failure(error)
        finally:
            if outcome is not Outcome.HELD:
                value_cell.clear()
        return outcome

    def _release(self, value_cell: list[object]) -> Outcome:
        kind = type(value_cell[0])
        if not _is_entered[kind]:
            return Outcome.SKIPPED
        closed = self._closed.of(kind)
        parts = self._unheld(value_cell, closed) if closed else ()
        learns = parts == ()
        if learns:
            parts = self._unheld(value_cell, frozenset())
        if parts == ():
            return Outcome.HELD
        if parts is None or _runs_code(parts):
            return Outcome.SKIPPED
        if learns:
            self._closed.learn(kind, parts)
        return Outcome.FREED if _take_apart(parts) else Outcome.SKIPPED

    def _unheld(self, value_cell: list[object], closed: frozenset[type]) -> Parts | None:
        """The value, first, and its parts that nobody else can reach; the cell is emptied.

        Empty, and the cell is not, if somebody holds it or that cannot be told now; None if there are too many parts.
        """
        parts = self._parts(value_cell, closed)
        if len(parts) > self._node_limit:
            return None
        held = _held(parts)
        if held == []:
            return parts
        value_cell.append(parts[0])
        if held is None or closed:  # by somebody, or by a part that was left out
            return ()
        parts = _unreachable(parts, held)
        held.clear()
        if not parts or parts[0] is not value_cell[0]:
            return ()
        value_cell.clear()
        if _held(parts) == []:
            return parts
        value_cell.append(parts[0])
        return ()

    def _parts(self, value_cell: list[object], closed: frozenset[type] = frozenset()) -> Parts:
        """What the collector tracks and the value reaches, the value first; the cell is emptied.

        Left out is what instances of ``closed`` types refer to, but for their ``__dict__``. Weak references are not met
        on the way: those to parts come last.
        """
        frontier = [value_cell.pop()]
        seen = {**self._shared, id(frontier[0]): frontier[0]}
        parts = frontier.copy()
        attributes: dict[int, object] = {}
        while frontier and len(parts) <= self._node_limit:
            if _DICTS_BORROW:
                borrowing = {id(item): item for item in _lent(frontier)[1] if id(item) not in seen}
                seen.update(borrowing)
                parts += borrowing.values()
            if closed and not closed.isdisjoint(map(type, frontier)):
                is_closed = list(map(closed.__contains__, map(type, frontier)))
                dicts = list(_dicts(gc.get_referents(*itertools.compress(frontier, is_closed))))
                attributes.update(zip(map(id, dicts), dicts, strict=True))
                frontier = list(itertools.compress(frontier, map(operator.not_, is_closed)))
            frontier = _unseen(filter(gc.is_tracked, gc.get_referents(*frontier)), seen)
            parts += frontier
        # A part that came in twice would only seem to be held.
        parts += map(attributes.__getitem__, attributes.keys() - seen.keys())
        parts += _weak_references_to(parts)
        return tuple(parts)


class ClosedTypes:
    """Of which types the attributes need not be walked, by the type of the value: learned from values that were free.

    A census may leave out what it likes: what is no part of it counts as a holder of the parts that it refers to. It
    has to include what leads to a cycle. Most of what a task refers to, such as lists of strings, does not.
    """

    def __init__(self) -> None:
        self._known: dict[type, frozenset[type]] = {}
        self._left: dict[type, tuple[int, int]] = {}

    def of(self, kind: type) -> frozenset[type]:
        """The types for a value of this type; now and then none, so that it is learned from again.

        What was left out and has cycles of its own would be left to the collector.
        """
        left, interval = self._left.get(kind, (0, 1))
        if not left:
            self._left[kind] = (interval, min(2 * interval, _LONGEST_INTERVAL))
            return frozenset()
        self._left[kind] = (left - 1, interval)
        return self._known.get(kind, frozenset())

    def learn(self, kind: type, parts: Parts) -> None:
        """Learn from a value that only a census of all its parts has shown to be free."""
        known = self._known.get(kind)
        if known == frozenset() or len(parts) > _MOST_TO_LEARN_FROM:
            return
        found = frozenset(_find_closed(parts))
        if len(self._known) >= _MOST_KINDS:
            self._known.clear()
            self._left.clear()
        self._known[kind] = found if known is None else found & known


def _find_closed(parts: Parts) -> Iterator[type]:
    """The types of which the walk may leave the attributes out and still meet all parts that lead to a cycle."""
    kinds = [type(part) for part in parts]
    ways = _ways(parts)
    needed = _leading_to_cycles(ways)
    closed: set[type] = set()
    candidates = collections.Counter(kinds)
    for kind, _ in candidates.most_common(_MOST_CANDIDATES):
        if kind is kinds[0] or kind.__module__ == "builtins":
            continue
        closed.add(kind)
        if needed <= _reached(ways, lambda place: kinds[place] in closed, lambda place: kinds[place] is dict):
            yield kind
        else:
            closed.remove(kind)


def _ways(parts: Parts) -> list[list[int]]:
    """For each part the places of those that it refers to."""
    places = {id(part): place for place, part in enumerate(parts)}
    ways = [[places[id(item)] for item in gc.get_referents(part) if id(item) in places] for part in parts]
    for lender, item in zip(*_lent(parts), strict=True):
        ways[places[id(lender)]].append(places[id(item)])
    return ways


def _leading_to_cycles(ways: list[list[int]]) -> set[int]:
    back: list[list[int]] = [[] for _ in ways]
    for place, ahead in enumerate(ways):
        for other in ahead:
            back[other].append(place)
    left = list(map(len, ways))
    ends = [place for place, number in enumerate(left) if not number]
    for end in ends:  # it grows on the way
        for place in back[end]:
            left[place] -= 1
            if not left[place]:
                ends.append(place)
    return set(range(len(ways))).difference(ends)


def _reached(
    ways: list[list[int]],
    is_closed: Callable[[int], bool],
    is_attributes: Callable[[int], bool],
) -> set[int]:
    """The places that can be reached from the first, not passing closed ones: of these only to their attributes."""
    found, left = {0}, [0]
    while left:
        place = left.pop()
        ahead = set(ways[place]) - found
        if is_closed(place):
            found |= {other for other in ahead if is_attributes(other)}
        else:
            found |= ahead
            left += ahead
    return found


_MOST_TO_LEARN_FROM = 20_000
_MOST_KINDS = 100
_MOST_CANDIDATES = 20
_LONGEST_INTERVAL = 512  # releases

_SMALL = 16
"""So few objects are told apart one by one."""


def tell_of_failure(error: Exception) -> None:
    """One line a minute: a breaker that fails may do so at every lookup."""
    report("take apart", "a value could not be taken apart and is left to the collector", error=error)


def own_references(value: object, holders: int = 1) -> int:
    """How many references a value has but for those of its ``holders``, its caller's variable included.

    Of a value that nobody else holds these come from its own parts.
    """
    return sys.getrefcount(value) - _OF_THE_CALL - holders


def _count_without_holders() -> int:
    value = object()
    return own_references(value)


_OF_THE_CALL = 0
_OF_THE_CALL = _count_without_holders()


def _unseen(tracked: Iterable[object], seen: dict[int, object]) -> list[object]:
    """Those that may be entered and were not met before, each once; what may be met again is noted."""
    tracked = list(tracked)
    if len(tracked) < _SMALL:
        return [item for item in tracked if seen.setdefault(id(item), tracked) is tracked and _note(seen, item)]
    # What has one holder is met once: only the others are told apart by id.
    once = list(map(_HELD_ONCE.__eq__, map(sys.getrefcount, tracked)))
    several = list(itertools.compress(tracked, map(operator.not_, once)))
    found = dict(zip(map(id, several), several, strict=True))
    for key in found.keys() & seen.keys():
        del found[key]
    seen.update(found)
    return _entered([*itertools.compress(tracked, once), *found.values()])


def _note(seen: dict[int, object], item: object) -> bool:
    seen[id(item)] = item
    return _is_entered[type(item)]


def _weak_references_to(parts: list[object]) -> list[object]:
    referred = itertools.compress(parts, map(weakref.getweakrefcount, parts))
    return [item for part in referred for item in weakref.getweakrefs(part) if type(item) in _WEAK]


def _dicts(items: list[object]) -> Iterator[object]:
    return itertools.compress(items, map(operator.is_, map(type, items), itertools.repeat(dict)))


def _entered(parts: list[object]) -> list[object]:
    if all(map(_is_entered.__getitem__, set(map(type, parts)))):
        return parts
    return list(itertools.compress(parts, map(_is_entered.__getitem__, map(type, parts))))


def _counts(parts: Parts) -> list[int]:
    return list(map(sys.getrefcount, parts))


_HELD_BY_US = _counts(([],))[0]
"""The count of a part to which nothing refers but the tuple of parts."""
_HELD_ONCE = _HELD_BY_US + 1


class _Probe:
    """An instance whose attributes lie in itself."""


def _what_attributes_report() -> tuple[bool, bool]:
    """Whether an instance reports its ``__dict__``, and that its values."""
    probe: Any = _Probe()
    probe.item = []
    attributes = vars(probe)
    return (
        any(item is attributes for item in gc.get_referents(probe)),
        any(item is probe.item for item in gc.get_referents(attributes)),
    )


_REPORTED = _what_attributes_report()
_DICTS_BORROW = _REPORTED == (False, False)
"""Whether the ``__dict__`` of an instance may borrow its values, unreported by it and reporting none of them."""
_INLINE_VALUES = 1 << 2  # Py_TPFLAGS_INLINE_VALUES

# Free-threaded builds split and defer counts, with their lock or without; others than CPython have none.
_EXACT_COUNTS = (
    sys.implementation.name == "cpython"
    and "t" not in getattr(sys, "abiflags", "")
    and getattr(sys, "_is_gil_enabled", lambda: True)()
    and _REPORTED in ((True, True), (False, False))
)


def _census(parts: Parts) -> tuple[bool, list[int], list[int], list[int]]:
    """Whether the collector was on; the parts' reference counts; these plus the references from the parts; weak ones.

    One call of ``list`` does it all, in order, without a chance for other Python code to run: counts; a list
    of everything the parts refer to, which adds one to a count per reference from the parts; counts again.
    """
    size = len(parts)
    census: list[Any] = list(
        itertools.chain(
            itertools.starmap(gc.isenabled, ((),)),
            map(sys.getrefcount, parts),
            itertools.starmap(gc.get_referents, (parts,)),
            map(sys.getrefcount, parts),
            map(weakref.getweakrefcount, parts),
        )
    )
    return census[0], census[1 : size + 1], census[size + 2 : 2 * size + 2], census[2 * size + 2 :]


def _held(parts: Parts) -> list[object] | None:
    """The parts that somebody else refers to, strongly or weakly; None if that cannot be told now."""
    lenders, borrowing = _lent(parts)
    disturbed, before, after, weak = _census(parts)
    if disturbed:  # somebody has switched the collector on; before CPython 3.12 it may have run in the middle of it
        return None
    held: list[object] = []
    # References from elsewhere are before - (after - before), and never less than ours.
    if 2 * sum(before) - sum(after) != len(parts) * _HELD_BY_US or lenders:
        elsewhere = map(operator.sub, before, map(operator.sub, after, before))
        expected = {id(part): _HELD_BY_US + 1 for part in lenders}
        expected.update((id(part), _HELD_BY_US + 2) for part in borrowing)  # the lender's reference is not reported
        ours = map(expected.get, map(id, parts), itertools.repeat(_HELD_BY_US))
        held += itertools.compress(parts, map(operator.ne, elsewhere, ours))
    if any(weak):
        held += _weakly_held(parts, weak, set(map(id, held)))
    if lenders:
        held += _lenders_to_others(parts, lenders, borrowing)
    return held


def _lent(parts: Iterable[object]) -> tuple[list[object], list[object]]:
    """The parts that lend their values to a ``__dict__``, and those dicts, in the same order; it makes missing ones."""
    if not _DICTS_BORROW:
        return [], []
    inline = [part for part in parts if _is_inline[type(part)]]
    dicts = [_attributes(part) for part in inline]
    borrows = [_borrows(item, part) for item, part in zip(dicts, inline, strict=True)]
    return list(itertools.compress(inline, borrows)), list(itertools.compress(dicts, borrows))


def _borrows(attributes: object, instance: object) -> bool:
    """Whether a ``__dict__`` borrows its values from its instance: it does not report them, nor the instance it."""
    if attributes is None:
        return False
    if attributes:
        return not gc.get_referents(attributes)
    return not any(item is attributes for item in gc.get_referents(instance))


def _lenders_to_others(parts: Parts, lenders: list[object], borrowing: list[object]) -> Iterator[object]:
    """The parts whose ``__dict__`` is no part, or was not the one that was counted."""
    ids = set(map(id, parts))
    still_lent = set(map(id, _lent(lenders)[1]))
    for part, item in zip(lenders, borrowing, strict=True):
        if id(item) not in ids or id(item) not in still_lent:
            yield part


def _attributes(part: object) -> object:
    """The ``__dict__`` of an instance, without running a line of its class."""
    return _attribute_getters[type(part)](part)


def _find_attribute_getter(kind: type) -> Callable[[object], object]:
    descriptors = (vars(base).get("__dict__") for base in kind.__mro__)
    found = (each.__get__ for each in descriptors if isinstance(each, types.GetSetDescriptorType))
    return next(found, lambda _: None)  # a class that has put something else in its place


def _weakly_held(parts: Parts, counts: list[int], held: set[int]) -> Iterator[object]:
    """Those with weak references that are no parts, or that somebody holds."""
    ids = _ids_of_weak(parts).keys() - held
    for part, count in zip(itertools.compress(parts, counts), filter(None, counts), strict=True):
        references = weakref.getweakrefs(part)
        # Fewer than were counted: one was used and dropped since, and its user may hold the part.
        if len(references) != count or not all(
            type(reference) is WaitingReference or id(reference) in ids for reference in references
        ):
            yield part


def _ids_of_weak(parts: Parts) -> dict[int, object]:
    """The weak references among the parts, by id: they come last."""
    return {id(part): part for part in itertools.takewhile(lambda part: type(part) in _WEAK, reversed(parts))}


def _unreachable(parts: Parts, held: list[object]) -> Parts:
    """The parts to which no way leads from those that are held, in the same order."""
    left = dict(zip(map(id, parts), parts, strict=True))
    frontier = held
    while frontier:
        entered = [left.pop(key) for key in left.keys() & set(map(id, frontier))]
        frontier = gc.get_referents(*entered) + _lent(entered)[1]
    return tuple(left.values())


def _runs_code(parts: Parts) -> bool:
    """Whether the end of a part runs code that would find it emptied: a finaliser, or a weak reference's callback."""
    kinds = set(map(type, parts))
    if any(map(_is_finalised.__getitem__, kinds)):
        return True
    return not kinds.isdisjoint(_WEAK) and bool(gc.get_referents(*_ids_of_weak(parts).values()))


def _take_apart(parts: Parts) -> bool:
    """Break every cycle; whether that is certain. No part dies before this is over."""
    dicts = itertools.compress(parts, map(operator.is_, map(type, parts), itertools.repeat(dict)))
    _exhaust(map(_clear_dict, dicts))
    # A cycle that is left runs through parts to which something refers.
    is_referred = map(_HELD_BY_US.__lt__, map(sys.getrefcount, parts))
    left = [part for part in itertools.compress(parts, is_referred) if type(part) is not dict]
    alike: dict[type, list[object]] = {}
    for part in left:
        alike.setdefault(type(part), []).append(part)
    for kind, same in alike.items():
        for emptier in _emptiers[kind]:
            emptier(same)
    # An emptied part refers to no other, so a cycle that is left consists of parts that were not emptied.
    kept = [part for kind, same in alike.items() if not _is_emptied[kind] for part in same]
    return not kept or _is_acyclic(kept)


_exhaust: Callable[[Iterable[object]], object] = functools.partial(collections.deque, maxlen=0)


def _is_acyclic(parts: Iterable[object]) -> bool:
    """Whether the parts would all die, one after the other, of having nothing refer to them."""
    return not _leading_to_cycles(_ways(tuple(parts)))


class _PerType(dict[type, _T]):
    """A bounded table of what is known of types, each found out once."""

    def __init__(self, find_out: Callable[[type], _T]) -> None:
        self._find_out = find_out

    def __missing__(self, kind: type) -> _T:
        if len(self) >= 1_000:
            self.clear()  # a program that makes classes as it goes must not be kept from losing them
        result = self[kind] = self._find_out(kind)
        return result


_NEVER_ENTERED = (
    type,
    types.ModuleType,
    types.FunctionType,
    enum.Enum,
    logging.Logger,
    logging.Handler,
    dt.tzinfo,
)

_KNOWN = frozenset(
    {
        object,
        *(list, tuple, dict, set, frozenset, str, bytes, int, float, complex),
        *(dt.date, dt.datetime, dt.time, dt.timedelta),
        *(collections.OrderedDict, collections.defaultdict, collections.deque),
        *(weakref.ReferenceType, weakref.ProxyType, weakref.CallableProxyType),
        *(types.MethodType, types.BuiltinMethodType, types.CellType, types.SimpleNamespace, types.MappingProxyType),
        *(functools.partial, type(functools.lru_cache(len)), typing.Generic),
    }
)
"""Types of C code that report to the collector exactly what they own. Dates own a time zone: it is never entered."""

_clear_dict: Callable[[Any], None] = dict.clear

_WEAK = frozenset({weakref.ref, weakref.ProxyType, weakref.CallableProxyType})

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_OF_C_CODE = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.BuiltinFunctionType,
)


def _find_whether_entered(kind: type) -> bool:
    """Whether the parts of this type are known to report exactly the references that they own."""
    if kind in _WEAK or issubclass(kind, _NEVER_ENTERED):
        return False
    return all(base in _KNOWN or _is_exception(base) or _is_pythons(base) for base in kind.__mro__)


def _is_exception(kind: type) -> bool:
    return issubclass(kind, BaseException) and kind.__module__ == "builtins" and not kind.__flags__ & _HEAP_TYPE


def _is_pythons(kind: type) -> bool:
    """Whether a class statement made it; a class of C code has descriptors of its own that none makes."""
    made_by_statement = {"__dict__", "__weakref__", *_slots(kind)}
    return bool(kind.__flags__ & _HEAP_TYPE) and not any(
        isinstance(item, _OF_C_CODE) and getattr(item, "__objclass__", kind) is kind and name not in made_by_statement
        for name, item in vars(kind).items()
        if not isinstance(item, types.BuiltinFunctionType) or item.__self__ is kind
    )


def _slots(kind: type) -> Iterator[str]:
    if "__slots__" in vars(kind):
        yield from (name for name, item in vars(kind).items() if isinstance(item, types.MemberDescriptorType))


def _find_emptiers(kind: type) -> tuple[Emptier, ...]:
    """What empties parts of this type, container, attributes and slots, without running users' code."""
    containers: tuple[Any, ...] = (collections.OrderedDict, dict, list, set, collections.deque)
    clear = next((base.clear for base in containers if issubclass(kind, base)), None)
    found: list[Emptier] = [] if clear is None else [functools.partial(_clear_all, clear)]
    for base in kind.__mro__:
        own = vars(base)
        attributes = own.get("__dict__")
        if isinstance(attributes, types.GetSetDescriptorType):
            found.append(functools.partial(_drop_attributes, attributes.__set__))
        found += (functools.partial(_clear_slot, own[name].__set__) for name in _slots(base))
    return tuple(found)


def _clear_all(clear: Callable[[Any], object], parts: list[object]) -> None:
    _exhaust(map(clear, parts))


def _drop_attributes(replace: Callable[[Any, dict[str, Any]], object], parts: list[object]) -> None:
    # Replaced, not emptied: somebody may hold the dict, and nothing else.
    _exhaust(map(replace, parts, iter(dict, None)))


def _clear_slot(fill: Callable[[Any, Any], object], parts: list[object]) -> None:
    _exhaust(map(fill, parts, itertools.repeat(None)))


_EMPTIABLE = frozenset({object, dict, list, set, collections.OrderedDict, collections.deque})


def _find_whether_emptied(kind: type) -> bool:
    """Whether an emptied part of this type refers to nothing but its class and an empty dict."""
    return all(base in _EMPTIABLE or _is_pythons(base) for base in kind.__mro__)


_is_entered = _PerType(_find_whether_entered)
_is_emptied = _PerType(_find_whether_emptied)
_is_inline = _PerType(lambda kind: bool(kind.__flags__ & _INLINE_VALUES))
_attribute_getters = _PerType(_find_attribute_getter)
_is_finalised = _PerType(lambda kind: any("__del__" in vars(base) for base in kind.__mro__))
_emptiers = _PerType(_find_emptiers)
