"""Give the memory of a cyclic value back when the cache lets go of it, not at some later collection.

`GenericBreaker` does for one value what the collector does for the whole heap: trial deletion (Lins 1992;
CPython's ``gc_refs``). Parts whose references all come from one another are seen by nobody else, and may be
taken apart.

What makes it sound although other threads run: the reference counts and the references between the parts are
taken in one call into C code (`_census`), during which no other thread, finaliser or signal handler runs. At
that moment a reference to a part is either one of those counted or proof that somebody else holds it. What
nobody else holds then, nobody can get at later, except through a weak reference from outside: a part that has
one counts as held.
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
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from dagcache.gcpause import gc_paused

_log = logging.getLogger("dagcache")

_T = TypeVar("_T")
Emptier = Callable[[Any], object]


class Outcome(enum.Enum):
    """What became of a value that the cache let go of."""

    FREED = "freed"
    """Nothing but what others hold is left of it: it was not cyclic, or its cycles were broken."""
    HELD = "held"
    """Somebody holds it, or a part from which it can be reached: untouched, the collector's business."""
    SKIPPED = "skipped"
    """Not taken apart: it has finalisers, is too large, or cannot be judged. The collector's business."""


class CycleBreaker(Protocol):
    """Takes values apart; called outside all locks, by several threads at once."""

    def arm(self, value: object) -> object:
        """Called for a copy that nobody else has yet; `release` gets the result.

        Not called for each copy: what it says of the first one that was thawed from some bytes holds for all of them.
        """
        ...

    def seems_free(self, value_cell: list[object], token: object) -> bool | None:
        """Whether nobody holds the value itself, by a cheap look that never enters it; None if that cannot be told."""
        ...

    def release(self, value_cell: list[object], token: object) -> Outcome:
        """Let go of the value in a one-element list, the cache's only reference to it. Never raises."""
        ...


class GenericBreaker:
    """Takes apart any value of which nobody else sees a part; knows nothing about its classes.

    ``shared``: objects that many values refer to: not entered, and held for as long as the breaker is.
    ``node_limit``: a value of more parts (containers and instances) than this is left to the collector.

    Classes, modules, functions, enum members, loggers and time zones are never entered. A held part that
    leads back to the value keeps all of it (HELD); one that does not, such as a list of strings, stays whole
    while the rest goes (FREED). Without exact reference counts, as on free-threaded interpreters, whatever
    the collector tracks is SKIPPED. Thread-safe.
    """

    def __init__(self, shared: Iterable[object] = (), node_limit: int = 200_000) -> None:
        self._shared = {id(item): item for item in shared}
        self._node_limit = node_limit

    def arm(self, value: object) -> None:
        """Nothing to remember."""

    def seems_free(self, value_cell: list[object], token: object = None) -> None:
        """Cannot be told: it would take counting the references of all parts to the value."""

    def release(self, value_cell: list[object], token: object = None) -> Outcome:
        """Free the value at once if nobody else holds it. Never raises; an unexpected error is logged."""
        try:
            if not gc.is_tracked(value_cell[0]):
                return Outcome.FREED
            if not _EXACT_COUNTS:
                return Outcome.SKIPPED
            with gc_paused():
                return self._release(value_cell)
        except Exception:
            _log.exception("a value could not be taken apart: it is left to the collector")
            return Outcome.SKIPPED
        finally:
            value_cell.clear()

    def _release(self, value_cell: list[object]) -> Outcome:
        root = id(value_cell[0])
        parts, is_hub = self._parts(value_cell)
        if len(parts) > self._node_limit:
            return Outcome.SKIPPED
        held = _held(parts)
        if held:
            hubs = set(map(id, itertools.compress(parts, is_hub)))
            parts = _unreachable(parts, held)
            held.clear()
            is_hub = list(map(hubs.__contains__, map(id, parts)))
            if root not in map(id, parts) or _held(parts):
                return Outcome.HELD
        if any(map(_is_finalised.__getitem__, set(map(type, parts)))):
            return Outcome.SKIPPED
        return Outcome.FREED if _take_apart(parts, is_hub) else Outcome.SKIPPED

    def _parts(self, value_cell: list[object]) -> tuple[tuple[object, ...], list[bool]]:
        """What the collector tracks and the value reaches, and which of it are hubs; the cell is emptied.

        The hubs are the value and what several references lead to. All cycles run through them: where the way
        from the value enters a cycle, there is one reference from before and one from the cycle.
        """
        frontier = [value_cell.pop()]
        seen = {**self._shared, id(frontier[0]): frontier[0]}
        parts, is_hub = frontier.copy(), [True]
        while frontier and len(parts) <= self._node_limit:
            tracked = list(filter(gc.is_tracked, gc.get_referents(*frontier)))
            # What has one holder is met once: only the others, one in four, are told apart by id.
            shared = list(map(operator.ne, map(sys.getrefcount, tracked), itertools.repeat(_HELD_ONCE)))
            several = list(itertools.compress(tracked, shared))
            level = dict(zip(map(id, several), several, strict=True))
            for key in level.keys() & seen.keys():
                del level[key]
            seen.update(level)
            several = _entered(list(level.values()))
            frontier = _entered(list(itertools.compress(tracked, map(operator.not_, shared))))
            is_hub += [False] * len(frontier) + [True] * len(several)
            frontier += several
            parts += frontier
        return tuple(parts), is_hub


def _tracked_referents(parts: list[object]) -> list[object]:
    return _entered(list(filter(gc.is_tracked, gc.get_referents(*parts))))


def _entered(parts: list[object]) -> list[object]:
    if all(map(_is_entered.__getitem__, set(map(type, parts)))):
        return parts
    return list(itertools.compress(parts, map(_is_entered.__getitem__, map(type, parts))))


class HubBreaker:
    """Takes values of one class library apart by its few well-known parts, the hubs. Thread-safe.

    ``hubs(value)``: the parts through which all cycles run and which alone are held by others; always in the
    same order, made afresh by each call.
    ``sever(value)``: breaks the cycles.
    ``tidy(value)``: takes away what use has left on the hubs, if that may refer to them; called when the counts differ
    from those at admission, and on values that others hold, too.

    A value is severed only if each hub's reference counts are what they were when the copy was admitted.
    Cheaper than `GenericBreaker`, and only as sound as ``hubs``: that somebody holds a part that is no hub,
    or moves parts between hubs while they are counted, goes unnoticed.
    """

    def __init__(
        self,
        hubs: Callable[[Any], Iterable[object]],
        sever: Callable[[Any], object],
        tidy: Callable[[Any], object] | None = None,
    ) -> None:
        self._hubs = hubs
        self._sever = sever
        self._tidy = tidy

    def arm(self, value: object) -> tuple[int, int]:
        """The references to the value from its own parts, and a fingerprint of all reference counts.

        Nobody but the caller may hold the value or a part of it.
        """
        hubs = self._other_hubs(value)
        own = _references_to(value, hubs) + HELD_BY_US
        return own, _fingerprint(hubs, own, weakref.getweakrefcount(value))

    def seems_free(self, value_cell: list[object], token: Any) -> bool | None:
        """Whether nobody holds the value itself; somebody may still hold a part."""
        if not _EXACT_COUNTS or type(token) is not tuple:
            return None
        return bool(sys.getrefcount(value_cell[0]) <= token[0])

    def release(self, value_cell: list[object], token: Any) -> Outcome:
        """Sever the value if its hubs are held by each other only. Never raises; an error is logged."""
        try:
            if not _EXACT_COUNTS:
                return Outcome.SKIPPED
            if type(token) is not tuple:
                return Outcome.HELD
            value = (value_cell.pop(),)
            if not self._is_as_admitted(value, token[1]):
                if self._tidy is None:
                    return Outcome.HELD
                self._tidy(value[0])
                if not self._is_as_admitted(value, token[1]):
                    return Outcome.HELD
            self._sever(value[0])
        except Exception:
            _log.exception("a value could not be severed: it is left to the collector")
            return Outcome.SKIPPED
        finally:
            value_cell.clear()
        return Outcome.FREED

    def _is_as_admitted(self, value: tuple[object], fingerprint: int) -> bool:
        """Whether all reference counts are what they were; the tuple is our only reference to the value."""
        hubs = self._other_hubs(value[0])
        return _fingerprint(hubs, reference_counts(value)[0], weakref.getweakrefcount(value[0])) == fingerprint

    def _other_hubs(self, value: object) -> tuple[object, ...]:
        hubs = tuple(self._hubs(value))
        return tuple(itertools.compress(hubs, map(operator.is_not, hubs, itertools.repeat(value))))


def _references_to(value: object, hubs: tuple[object, ...]) -> int:
    """How often the hubs refer to the value, by what they contain and by their attributes."""
    parts = (value, *hubs)
    referents = gc.get_referents(*parts)
    # Attributes lie in the instance itself, or in a dict of its own.
    dicts = list(itertools.compress(referents, map(operator.is_, map(type, referents), itertools.repeat(dict))))
    holders = {**dict(zip(map(id, parts), parts, strict=True)), **dict(zip(map(id, dicts), dicts, strict=True))}
    return sum(map(operator.is_, gc.get_referents(*holders.values()), itertools.repeat(value)))


def _fingerprint(hubs: tuple[object, ...], value_count: int, value_weak_count: int) -> int:
    return hash((value_count, value_weak_count, *reference_counts(hubs), *map(weakref.getweakrefcount, hubs)))


def reference_counts(parts: Sequence[object]) -> list[int]:
    """The reference counts of all parts at one moment."""
    return list(map(sys.getrefcount, parts))


HELD_BY_US = reference_counts(([],))[0]
"""The count of a part to which nothing refers but what is given to `reference_counts`."""
_HELD_ONCE = HELD_BY_US + 1

# Free-threaded interpreters split and defer counts; others than CPython have none.
_EXACT_COUNTS = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


def _census(parts: tuple[object, ...]) -> tuple[list[int], list[int], list[int]]:
    """The parts' reference counts; the same plus the references from the parts; their weak references.

    One call of ``list`` does it all, in order, without a chance for other Python code to run: counts; a list
    of everything the parts refer to, which adds one to a count per reference from the parts; counts again.
    """
    size = len(parts)
    census: list[Any] = list(
        itertools.chain(
            map(sys.getrefcount, parts),
            itertools.starmap(gc.get_referents, (parts,)),
            map(sys.getrefcount, parts),
            map(weakref.getweakrefcount, parts),
        )
    )
    return census[:size], census[size + 1 : 2 * size + 1], census[2 * size + 1 :]


def _held(parts: tuple[object, ...]) -> list[object]:
    """The parts that somebody else refers to, strongly or weakly."""
    before, after, weak = _census(parts)
    held: list[object] = []
    # References from elsewhere are before - (after - before), and never less than ours.
    if 2 * sum(before) - sum(after) != len(parts) * HELD_BY_US:
        elsewhere = map(operator.sub, before, map(operator.sub, after, before))
        held += itertools.compress(parts, map(HELD_BY_US.__ne__, elsewhere))
    if any(weak):
        ids = set(map(id, itertools.compress(parts, map(_WEAK.__contains__, map(type, parts)))))
        for part, count in zip(itertools.compress(parts, weak), filter(None, weak), strict=True):
            references = weakref.getweakrefs(part)
            # Fewer than were counted: one was used and dropped since, and its user may hold the part.
            if len(references) != count or not ids.issuperset(map(id, references)):
                held.append(part)
    return held


def _unreachable(parts: tuple[object, ...], held: list[object]) -> tuple[object, ...]:
    """The parts to which no way leads from those that are held, in the same order."""
    left = dict(zip(map(id, parts), parts, strict=True))
    frontier = held
    while frontier:
        entered = [left.pop(key) for key in left.keys() & set(map(id, frontier))]
        frontier = gc.get_referents(*entered)
    return tuple(left.values())


def _take_apart(parts: tuple[object, ...], is_hub: list[bool]) -> bool:
    """Break every cycle; whether that is certain. No part dies before this is over."""
    hubs = list(itertools.compress(parts, is_hub))
    for hub in hubs:
        empty(hub)
    # What an emptied hub still refers to is its class and its empty dict: nothing that leads on.
    if not _tracked_referents(_tracked_referents(hubs)):
        return True
    # Some hub cannot be emptied, such as a tuple: then empty whatever can be.
    for part in parts:
        empty(part)
    return _is_acyclic(parts)


def empty(part: Any) -> None:
    """Take everything out of a part, elements, attributes and slots, without running a line of its class."""
    for emptier in _emptiers[type(part)]:
        emptier(part)


def _is_acyclic(parts: Iterable[object]) -> bool:
    """Whether the parts would all die, one after the other, of having nothing refer to them."""
    left = list(parts)
    while left:
        referred = set(map(id, gc.get_referents(*left)))
        after = [part for part in left if id(part) in referred]
        if len(after) == len(left):
            return False
        left = after
    return True


class _PerType(dict[type, _T]):
    """A bounded table of what is known of types, each found out once."""

    def __init__(self, find_out: Callable[[type], _T]) -> None:
        self._find_out = find_out

    def __missing__(self, kind: type) -> _T:
        if len(self) >= 1_000:
            self.clear()  # a program that makes classes as it goes must not be kept from losing them
        result = self[kind] = self._find_out(kind)
        return result


_ATOMS = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.CodeType,
    enum.Enum,
    logging.Logger,
    logging.Handler,
    dt.tzinfo,
)

_WEAK = frozenset({weakref.ref, weakref.ProxyType, weakref.CallableProxyType})


def _find_emptiers(kind: type) -> tuple[Emptier, ...]:
    """What empties a part of this type, container, attributes and slots, without running users' code."""
    containers: tuple[Any, ...] = (collections.OrderedDict, dict, list, set, collections.deque)
    found: list[Emptier] = [base.clear for base in containers if issubclass(kind, base)][:1]
    for base in kind.__mro__:
        own = vars(base)
        attributes = own.get("__dict__")
        if isinstance(attributes, types.GetSetDescriptorType):
            found.append(functools.partial(_clear_attributes, attributes.__get__))
        if "__slots__" in own:
            slots = (item for item in own.values() if isinstance(item, types.MemberDescriptorType))
            found += (functools.partial(_clear_slot, slot.__set__) for slot in slots)
    return tuple(found)


def _clear_attributes(attributes_of: Callable[[Any], dict[str, Any]], part: object) -> None:
    attributes_of(part).clear()


def _clear_slot(fill: Callable[[Any, Any], None], part: object) -> None:
    fill(part, None)


_is_entered = _PerType(lambda kind: not issubclass(kind, _ATOMS))
_is_finalised = _PerType(lambda kind: any("__del__" in vars(base) for base in kind.__mro__))
_emptiers = _PerType(_find_emptiers)
