"""Values that are nested more deeply than pickle can follow: they freeze, by way of their hubs."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.errors import FreezeError
from dagcache.freezing.pickle_freezer import PickleFreezer
from tests.support.lockstep import assert_same_graph

LEVELS = (60, 150, 280)
TOO_DEEP = 10_000 if sys.version_info < (3, 14) else 25_000
"""Levels that pickle cannot follow: from CPython 3.14 on, it can as long as the stack lasts, usually of 8 MiB."""


class Group:
    """Groups within groups, each with a weak reference to the outer one."""

    def __init__(self, name: str, outer: Group | None = None) -> None:
        self.name = name
        self.inner: dict[str, Group] = {}
        self.leaves: list[Leaf] = []
        self.ids: set[int] = set()
        self.outer = None if outer is None else weakref.proxy(outer)
        if outer is not None:
            outer.inner[name] = self


class SlottedGroup(Group):
    """A group with an attribute beside its dict."""

    __slots__ = ("beside",)
    beside: Graph


class StatefulGroup(Group):
    """A group with a say in its state."""

    def __getstate__(self) -> tuple[str, dict[str, Any]]:
        return self.name, self.__dict__

    def __setstate__(self, state: tuple[str, dict[str, Any]]) -> None:
        name, attributes = state
        self.__dict__.update(attributes)
        assert self.name == name


class MadeGroup(Group):
    """A group that is made by a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return MadeGroup, (self.name,), self.__dict__


class Leaf:
    """The end of a path, which knows its group."""

    def __init__(self, group: Group) -> None:
        self.group = group
        group.leaves.append(self)


class Graph:
    """The value: all groups are within its root."""

    def __init__(self, root: Group) -> None:
        self.root = root


def nested(levels: int, *kinds: type[Group]) -> Graph:
    """So many groups within each other, of these classes in turn, every ninth with a leaf."""
    graph = Graph(Group("root"))
    group = graph.root
    for level in range(levels):
        group = kinds[level % len(kinds)](f"group {level}", group)
        if level % 9 == 0:
            Leaf(group)
        if isinstance(group, SlottedGroup):
            group.beside = graph
    return graph


def groups_of(graph: Graph) -> Iterator[Group]:
    """All groups."""
    pending = [graph.root]
    for group in pending:  # grows during the loop
        yield group
        pending += group.inner.values()


def at_depth(depth: int, call: Callable[[], Any]) -> Any:
    """The result of a call so many calls deeper."""
    return call() if depth == 0 else at_depth(depth - 1, call)


def assert_same_groups(one: Graph, other: Any) -> None:
    """As `assert_same_graph`, which takes too long for so many levels."""
    pairs: list[tuple[Any, Any]] = [(one.root, other.root)]
    for left, right in pairs:  # grows during the loop
        assert type(left) is type(right)
        assert left.name == right.name
        assert list(vars(left)) == list(vars(right))
        assert list(left.inner) == list(right.inner)
        assert [leaf.group for leaf in right.leaves] == [right] * len(left.leaves)
        assert all(inner.outer.__sizeof__.__self__ is right for inner in right.inner.values())
        assert getattr(right, "beside", other) is other
        pairs += zip(left.inner.values(), right.inner.values(), strict=True)


@pytest.fixture
def deep() -> PickleFreezer:
    """Knows the hubs of a graph."""
    return PickleFreezer(alike=[Leaf], hubs=groups_of)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("spare", [None, 150], ids=["at the top of the stack", "deep in the stack"])
def test_groups_freeze_at_any_depth(deep: PickleFreezer, levels: int, spare: int | None) -> None:
    """Their own, and that of the caller."""
    depth = 0 if spare is None else sys.getrecursionlimit() - spare - _present_depth()
    graph = nested(levels, Group)
    data = at_depth(depth, lambda: deep.freeze(graph).data)
    assert_same_graph(graph, at_depth(depth, lambda: deep.thaw(data)))


def test_groups_freeze_however_deep_they_are(deep: PickleFreezer) -> None:
    graph = nested(TOO_DEEP, Group)
    assert_same_groups(graph, deep.thaw(deep.freeze(graph).data))


def _present_depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


@pytest.mark.parametrize("kind", [Group, SlottedGroup, StatefulGroup])
def test_a_group_comes_back_whatever_its_state_consists_of(deep: PickleFreezer, kind: type[Group]) -> None:
    graph = nested(TOO_DEEP, Group, kind)
    assert_same_groups(graph, deep.thaw(deep.freeze(graph).data))


def test_a_group_that_is_made_by_a_call_is_entered_from_its_neighbours(deep: PickleFreezer) -> None:
    """It is not a hub, so as many of them as pickle can follow may stand between two others."""
    graph = nested(TOO_DEEP, *[Group] * 9, MadeGroup)
    assert_same_groups(graph, deep.thaw(deep.freeze(graph).data))
    with pytest.raises(FreezeError) as caught:
        deep.freeze(nested(TOO_DEEP, MadeGroup))
    assert isinstance(caught.value.__cause__, RecursionError)


def test_without_hubs_a_deep_value_has_no_frozen_form() -> None:
    with pytest.raises(FreezeError, match="cannot be frozen") as caught:
        PickleFreezer().freeze(nested(TOO_DEEP, Group))
    assert isinstance(caught.value.__cause__, RecursionError)


def test_a_deep_part_without_hubs_has_no_frozen_form(deep: PickleFreezer) -> None:
    """The hubs are no help there."""
    graph = nested(3, Group)
    deepest: list[Any] = []
    for _ in range(200_000):
        deepest = [deepest]
    graph.root.name = deepest  # type: ignore[assignment]
    with pytest.raises(FreezeError) as caught:
        deep.freeze(graph)
    assert isinstance(caught.value.__cause__, RecursionError)


def test_what_pickle_can_follow_is_pickled_as_without_hubs(deep: PickleFreezer) -> None:
    """Hubs are asked for only after a failure."""
    asked: list[object] = []

    def ask(graph: Graph) -> Iterator[Group]:
        asked.append(graph)
        return groups_of(graph)

    freezer = PickleFreezer(hubs=ask)
    freezer.freeze(nested(10, Group))
    assert not asked
    freezer.freeze(nested(TOO_DEEP, Group))
    assert len(asked) == 1


def test_hubs_may_include_the_value_and_shared_objects_and_name_a_part_twice() -> None:
    """The value's own state is pickled last, and shared objects stay the process's."""
    shared = Group("one for all")
    graph = nested(TOO_DEEP, Group)
    graph.root.leaves = [shared]  # type: ignore[list-item]
    freezer = PickleFreezer([shared], hubs=lambda value: [value, *groups_of(value), *groups_of(value)])
    thawed: Any = freezer.thaw(freezer.freeze(graph).data)
    assert thawed.root.leaves == [shared]
    assert thawed.root.inner["group 0"].outer.__sizeof__.__self__ is thawed.root


def test_sets_in_deep_values_keep_their_order(deep: PickleFreezer) -> None:
    """Those are rebuilt by calls, as in shallow ones."""
    graph = nested(TOO_DEEP, Group)
    for group in groups_of(graph):
        group.ids = {7, 15}  # 15 comes first
    thawed: Any = deep.thaw(deep.freeze(graph).data)
    assert_same_groups(graph, thawed)
    assert list({7, 15}) != list({15, 7}), "the order of insertion makes no difference: the test shows nothing"
    assert all(list(group.ids) == [15, 7] for group in groups_of(thawed))


def test_the_rule_over_classes_holds_for_hubs() -> None:
    """A refusal is a refusal."""

    def refuse(kind: type) -> None:
        if kind is SlottedGroup:
            raise FreezeError("not this one", kind)

    freezer = PickleFreezer(rule=refuse, hubs=groups_of)
    assert freezer.freeze(nested(TOO_DEEP, Group)).data
    with pytest.raises(FreezeError) as caught:
        freezer.freeze(nested(TOO_DEEP, Group, SlottedGroup))
    assert caught.value.kind is SlottedGroup


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([Group, SlottedGroup, StatefulGroup, MadeGroup]))))
def test_any_tree_of_groups_comes_back(tree: list[tuple[int, type[Group]]]) -> None:
    """With hubs from the start: as if pickle could not follow it."""
    graph = Graph(Group("root"))
    made = [graph.root]
    for outer, kind in tree:
        made.append(kind(f"group {len(made)}", made[outer % len(made)]))
        Leaf(made[-1])
    failures = iter([RecursionError()])

    def stumble(_kind: type) -> None:
        for error in failures:
            raise error

    freezer = PickleFreezer(alike=[Leaf], hubs=groups_of, rule=stumble)
    assert_same_graph(graph, freezer.thaw(freezer.freeze(graph).data))
    assert not [*failures], "pickle was not made to fail: the test shows nothing"
