"""Values with two keys, and values that are parts of others: one is taken apart while the other is looked up."""

from __future__ import annotations

import functools
import gc
import weakref
from collections import defaultdict
from collections.abc import Generator
from typing import Any, ClassVar

import pytest

from dagcache import DagCache
from dagcache.reclaim import releases
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from dagcache.reclaim.reference_counts import EXACT_COUNTS
from dagcache.reclaim.waiting_room import WaitingRoom, ticket_number
from dagcache.reclaim.weak_references import WaitingReference
from tests.support import probe
from tests.support.caches import KIB, MIB, make_cache

pytestmark = [
    pytest.mark.usefixtures("only_our_objects", "no_collector"),
    pytest.mark.skipif(not EXACT_COUNTS, reason="nothing is taken apart"),
]


class Node:
    """A value with a cycle, and with a part that is not frozen along."""

    nbytes = 100 * KIB

    def __init__(self, part: object = None) -> None:
        self.me = self
        self.part = part

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing was taken from it."""
        return vars(self).get("me") is self


def same(cache: DagCache[Any, Any], value: Node) -> list[Node]:
    """Two keys of one object."""
    cache["a"] = cache["b"] = value
    return [value]


def part(cache: DagCache[Any, Any], value: Node) -> list[Node]:
    """A value, and another one that has it as a part."""
    whole = Node(value)
    cache["a"], cache["b"] = value, whole
    return [value, whole]


def again(cache: DagCache[Any, Any], value: Node) -> list[Node]:
    """A value that is assigned again while it waits."""
    cache["a"] = value
    cache.resize(10 * KIB)
    cache.resize(MIB)
    cache["a"] = value
    return [value]


@pytest.mark.parametrize("ways", [same, part, again])
def test_code_that_runs_while_a_value_is_taken_apart_does_not_get_it(ways: Any) -> None:
    """The frame of a generator, which no census enters, ends with its value, and looks a key up."""
    cache, _ = make_cache(max_bytes=MIB)
    found: list[Any] = []

    def suspended() -> Generator[None, None, None]:
        try:
            yield
        finally:
            found.append(cache.get("a"))

    generator = suspended()
    next(generator)
    value = Node(generator)
    del generator
    held = ways(cache, value)
    cache.resize(10 * KIB)
    assert cache.get("a") is value
    del value
    held.clear()
    for _ in range(3):
        cache.free_dropped()
    assert found
    assert all(each.is_whole for each in found)
    cache.check_invariants()


class Leaf:
    """A value without cycles."""


class Unbroken(defaultdict[str, Any]):
    """A value of which a cycle is left when all that can be emptied is empty."""

    nbytes = 100 * KIB

    def __init__(self) -> None:
        super().__init__(self.make)
        self["key"] = ["a part"]

    def make(self) -> int:
        """A default."""
        return 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


def test_a_value_that_was_emptied_in_vain_is_not_found_under_its_other_keys() -> None:
    """It exists until the collector finds it."""
    cache, _ = make_cache(max_bytes=MIB)
    keys = range(30)
    value = Unbroken()
    for key in keys:
        cache[key] = value
    cache.resize(80 * KIB)
    assert all(cache.get(key) is value for key in keys)
    number = id(value)
    del value
    while not cache.stats().unbroken_cycles:
        cache.free_dropped()
    assert any(id(item) == number for item in gc.get_objects()), "it is gone: the test shows nothing"
    assert cache.stats().waiting > 20
    assert all(cache[key]["key"] == ["a part"] for key in keys)


class Looking(GenericBreaker):
    """A breaker during whose work another thread looks a key up."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: DagCache[Any, Any] | None = None
        self.found: list[Any] = []

    def release(self, value_cell: list[object]) -> Any:
        """Before and after."""
        self.look()
        outcome = super().release(value_cell)
        self.look()
        return outcome

    def look(self) -> None:
        """Look up what waits."""
        if self.cache is not None:
            self.found.append(probe.find_waiting(self.cache, "a"))


def test_no_value_is_found_while_any_is_taken_apart_and_each_is_afterwards() -> None:
    """The release may be another cache's: an object may be in several."""
    breaker = Looking()
    cache, _ = make_cache(max_bytes=10 * KIB)
    other, _ = make_cache(max_bytes=10 * KIB, breaker=breaker)
    value = cache.get_or_load("a", lambda _: Node())
    breaker.cache = cache
    other.get_or_load("b", lambda _: Node())
    other.free_dropped()
    other.expire()
    assert breaker.found
    assert not any(breaker.found)
    assert cache.get("a") is value


class Started(WaitingReference):
    """A reference during whose use a release starts and ends, in another thread."""

    __slots__ = ()

    def __call__(self) -> Any:
        value = super().__call__()
        releases.release(lambda: None)
        return value


def test_a_value_is_not_found_if_a_release_started_while_its_reference_was_followed() -> None:
    """It may have found the value free."""
    value = Node()
    assert releases.follow(WaitingReference.to(value, print)) == ([value], True)
    assert releases.follow(Started.to(value, print)) == ([value], False)


def test_a_release_that_fails_or_is_interrupted_is_over() -> None:
    """Values are found again."""
    value = Node()
    reference = WaitingReference.to(value, print)

    def fail(error: type[BaseException]) -> None:
        assert releases.follow(reference) == ([], False)
        raise error

    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            releases.release(functools.partial(fail, error))
        assert releases.follow(reference) == ([value], True)


def test_a_breaker_that_is_used_without_a_cache_is_a_release() -> None:
    """The freezer takes its own copies apart, and they may have parts of waiting values."""
    value = Node()
    reference = WaitingReference.to(value, print)
    found = []

    def suspended() -> Generator[None, None, None]:
        try:
            yield
        finally:
            found.append(releases.follow(reference))

    generator = suspended()
    next(generator)
    copy: list[object] = [Node(generator)]
    del generator
    assert GenericBreaker().release(copy) is Outcome.FREED
    assert found == [([], False)]


class Finalised:
    """A value that looks itself up as it dies."""

    nbytes = 100 * KIB
    cache: DagCache[Any, Any] | None = None
    found: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        self.is_over = False

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    def __del__(self) -> None:
        self.is_over = True
        if self.cache is not None:
            self.found.append(self.cache.get("a"))


def test_a_value_with_a_finaliser_is_not_brought_back_to_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reference leads to it while the finaliser runs."""
    cache, _ = make_cache(max_bytes=10 * KIB)
    held = [cache.get_or_load("a", lambda _: Finalised())]
    cache.free_dropped()
    monkeypatch.setattr(Finalised, "cache", cache)
    held.clear()
    monkeypatch.setattr(Finalised, "cache", None)
    assert Finalised.found
    assert not any(each.is_over for each in (*Finalised.found, cache["a"]))
    Finalised.found.clear()


def test_a_value_that_is_met_during_a_release_does_not_die_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder may have dropped it meanwhile, and its death runs foreign code."""
    room = WaitingRoom(GenericBreaker())
    leaf = [Leaf()]
    died: list[bool] = []
    leaf[0].__dict__["part"] = part = Leaf()
    weakref.finalize(part, died.append, True)
    del part
    number = ticket_number()
    room.admit([leaf[0]], MIB * 3, 0, number)

    def overtaken(reference: WaitingReference) -> tuple[list[object], bool]:
        cell = [reference()]
        leaf.clear()
        return cell, False

    monkeypatch.setattr(releases, "follow", overtaken)
    assert room.find(number) == []
    assert not died
    room.look()
    assert died


def test_an_interrupt_between_two_steps_of_a_ticket_keeps_no_value_alive() -> None:
    """The value waits by both references; the next look drops the strong one."""
    room = WaitingRoom(GenericBreaker())
    value = Leaf()
    room.admit([value], MIB * 3, 0)
    ticket = room._weak[0]
    ticket._cell = [value]
    with pytest.raises(AssertionError):
        room.check_invariants()
    del value
    room.look()
    room.check_invariants()
    assert room.waiting == 0
