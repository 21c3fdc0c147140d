"""Instances that are their ``__dict__``: quicker to thaw, and not different."""

from __future__ import annotations

from typing import Any

import pytest

from dagcache.freezing import PickleFreezer
from dagcache.reducers import dict_reducer
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
    """A say in what is stored."""

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
    found = dict_reducer(kind)
    assert found is not None
    reducer, shared = found
    return PickleFreezer([shared], {kind: reducer})


def couple(kind: type[Plain]) -> Plain:
    """Two that know each other."""
    one, other = kind("one"), kind("other")
    one.friends.append(other)
    other.friends.append(one)
    return one


@pytest.mark.parametrize("kind", [Plain, Deaf, Slotless])
def test_what_is_thawed_is_the_same_graph(kind: type[Plain]) -> None:
    """Cycles, order of attributes and all."""
    value = couple(kind)
    freezer = freezer_for(kind)
    thawed = freezer.thaw(freezer.freeze(value).data)
    assert_same_graph(value, thawed)
    assert isinstance(thawed, kind)
    thawed.name = "changed"
    assert value.name == "one"


def test_the_class_is_not_asked_for_anything() -> None:
    """What a ``__getattr__`` costs for each instance is what this saves, among other things."""
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
    assert dict_reducer(kind) is None


def test_a_subclass_is_not_taken_for_its_base() -> None:
    """The reducer is for exactly one class; pickle looks it up by type."""
    freezer = freezer_for(Plain)
    value = couple(WithReduce)
    thawed = freezer.thaw(freezer.freeze(value).data)
    assert type(thawed) is Plain
    assert thawed.friends == []
