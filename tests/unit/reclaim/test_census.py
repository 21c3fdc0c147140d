"""The walk to the parts of a value, and the comparison of their counts."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from dagcache.reclaim.census import Census
from dagcache.reclaim.reference_counts import held_parts

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")


class Leaf:
    """May be referred to weakly although the collector does not track it."""

    __slots__ = ("__weakref__",)


def test_a_part_taken_out_while_the_parts_are_gathered_is_noticed() -> None:
    """Another thread takes a part and drops the container, so the references seen before no longer count."""
    inner: list[object] = [Leaf()]
    value: list[Any] = [inner, []]
    value[1].append(value)
    inner.append(value[1])
    del inner
    cell: list[object] = [value]
    parts = Census((), 1_000).parts(cell)
    taken = value.pop(0)
    del value
    held = held_parts(parts)
    assert held is not None
    assert [item is taken for item in held] == [True]


def test_the_walk_ends_at_the_limit() -> None:
    """A value that leads to half of the process costs no more than the limit says."""
    value: list[object] = []
    for _ in range(1_000):
        value = [value]
    parts = Census((), 10).parts([value])
    assert len(parts) == 11


def test_shared_objects_are_not_entered() -> None:
    """They may lead to half of the process."""
    shared: list[object] = [[], [[]]]
    parts = Census([shared], 1_000).parts([[shared, [shared]]])
    assert len(parts) == 2


class Node:
    """An instance with omitted attributes."""

    def __init__(self) -> None:
        self.words = {"a": "b"}


@pytest.mark.parametrize("closed", [frozenset[type](), frozenset({Node})], ids=["nothing closed", "closed"])
def test_parts_that_the_collector_does_not_track_are_left_out(closed: frozenset[type]) -> None:
    """They cannot lead to a cycle, such as a dict of strings before CPython 3.14."""
    parts = Census((), 1_000).parts([[Node(), Node()]], closed)
    assert [type(part) for part in parts[:3]] == [list, Node, Node]
    assert all(map(gc.is_tracked, parts))
