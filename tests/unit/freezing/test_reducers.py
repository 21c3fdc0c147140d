"""Instances that are their ``__dict__``: quicker to thaw, and not different."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.reducers import dict_setter, plain_reducer, slots_reducer
from tests.support.lockstep import assert_same_graph


class Plain:
    """Nothing special."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.itself = self
        self.friends: list[Plain] = []


class Deaf(Plain):
    """One that pickle would ask for ``__setstate__`` in vain."""

    def __getattr__(self, name: str) -> Any:
        asked.append(name)
        raise AttributeError(name)


class Slotless(Plain):
    """Empty slots are none."""

    __slots__ = ()


class Slotted(Plain):
    """State beside the dict."""

    __slots__ = ("beside",)


class WithSetState(Plain):
    """A say in how it is restored."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)


class WithGetState(Plain):
    """A custom form of the stored state."""

    def __getstate__(self) -> Any:
        return {}


class WithReduce(Plain):
    """A way of its own."""

    def __reduce__(self) -> Any:
        return Plain, (self.name,)


class WithNewArguments(Plain):
    """Another way of its own."""

    def __getnewargs__(self) -> Any:
        return ("name",)


asked: list[str] = []


def freezer_for(kind: type) -> PickleFreezer:
    """One that reduces this class by its dict."""
    return PickleFreezer(alike=[kind])


def plain_freezer_for(kind: type) -> PickleFreezer:
    """One that leaves the attributes of this class to pickle."""
    reduce = plain_reducer(kind)
    assert reduce is not None
    return PickleFreezer(reducers={kind: reduce})


def couple(kind: type[Plain]) -> Plain:
    """Two that know each other."""
    one, other = kind("one"), kind("other")
    one.friends.append(other)
    other.friends.append(one)
    return one


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (freezer_for, Plain),
        (freezer_for, Deaf),
        (freezer_for, Slotless),
        (plain_freezer_for, Plain),
        (plain_freezer_for, Slotless),
    ],
)
def test_what_is_thawed_is_the_same_graph(make: Callable[[type], PickleFreezer], kind: type[Plain]) -> None:
    """Cycles, order of attributes and all."""
    value = couple(kind)
    freezer = make(kind)
    thawed = freezer.thaw(freezer.freeze(value).data)
    assert_same_graph(value, thawed)
    assert isinstance(thawed, kind)
    thawed.name = "changed"
    assert value.name == "one"


def test_the_class_is_not_asked_for_anything() -> None:
    """It saves the cost of a ``__getattr__`` for each instance, among other things."""
    freezer = freezer_for(Deaf)
    data = freezer.freeze(couple(Deaf)).data
    asked.clear()
    freezer.thaw(data)
    assert not asked


@pytest.mark.parametrize(
    "kind", [Slotted, WithSetState, WithGetState, WithReduce, WithNewArguments, int, object, dict, Exception]
)
def test_classes_that_are_more_than_their_dict_are_left_to_pickle(kind: type) -> None:
    """They have a say in it, or state elsewhere."""
    assert dict_setter(kind) is None
    assert plain_reducer(kind) is None


def test_a_class_that_would_be_asked_for_a_setter_has_no_plain_reducer() -> None:
    """Pickle asks for ``__setstate__``, and ``__getattr__`` may do anything."""
    assert plain_reducer(Deaf) is None


@pytest.mark.parametrize("make", [freezer_for, plain_freezer_for])
def test_a_subclass_is_not_taken_for_its_base(make: Callable[[type], PickleFreezer]) -> None:
    """The reducer is for exactly one class; pickle looks it up by type."""
    freezer = make(Plain)
    value = couple(WithReduce)
    thawed = freezer.thaw(freezer.freeze(value).data)
    assert type(thawed) is Plain
    assert thawed.friends == []


class Caching:
    """As `attrs` makes a class with slots and a cached property: an empty slot is filled when it is asked for."""

    __slots__ = ("__dict__", "__weakref__", "_private", "name", "neighbours")

    def __init__(self, name: str) -> None:
        self.name = name
        self._private = [name]
        self.note = "in the dict"

    neighbours: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        if name != "neighbours":
            raise AttributeError(name)
        self.neighbours = {"computed": self.name}
        return self.neighbours


class CachingWithoutDict:
    """Slots only."""

    __slots__ = ("neighbours",)

    __getattr__ = Caching.__getattr__
    name = "of the class"


@pytest.mark.parametrize("make", [lambda: Caching("one"), CachingWithoutDict])
def test_freezing_fills_no_empty_slot(make: Any) -> None:
    """Neither of the value nor of its thawed copies: both would be heavier."""
    value = make()
    freezer = PickleFreezer()
    thawed = freezer.thaw(freezer.freeze(value).data)
    slot = type(value).neighbours
    for each in value, thawed:
        with pytest.raises(AttributeError):
            slot.__get__(each)
    assert getattr(thawed, "__dict__", None) == getattr(value, "__dict__", None)
    assert_same_graph(value, thawed)


def test_slots_that_are_filled_are_frozen() -> None:
    """With the identity of their contents."""
    value = Caching("one")
    value.neighbours = {"me": value}
    freezer = PickleFreezer()
    thawed: Any = freezer.thaw(freezer.freeze([value, value.neighbours]).data)
    again, neighbours = thawed
    assert again.neighbours is neighbours
    assert neighbours["me"] is again
    assert (again.name, again._private, again.note) == ("one", ["one"], "in the dict")


def test_what_is_read_by_slot_is_what_pickle_reads() -> None:
    """The same call as `object` makes, where no slot is empty."""
    value = Caching("one")
    value.neighbours = {}
    reduce = slots_reducer(Caching)
    assert reduce is not None
    ours, pickles = reduce(value), value.__reduce_ex__(5)
    assert ours == pickles[:3]
    assert list(ours[2][1]) == list(pickles[2][1])


class CachingWithGetState(Caching):
    """A custom form of the stored state."""

    def __getstate__(self) -> Any:
        return {}


class CachingWithNewArguments(Caching):
    """A say in how it is made."""

    def __getnewargs__(self) -> Any:
        return ("name",)


class CachingList(list):  # type: ignore[type-arg]
    """State beside the slots."""

    __slots__ = ("neighbours",)
    __getattr__ = Caching.__getattr__


@pytest.mark.parametrize(
    "kind", [Plain, Deaf, Slotted, CachingWithGetState, CachingWithNewArguments, CachingList, int, object, Exception]
)
def test_classes_without_such_slots_are_left_to_pickle(kind: type) -> None:
    """Nothing is gained there, or the class has a say in it."""
    assert slots_reducer(kind) is None
