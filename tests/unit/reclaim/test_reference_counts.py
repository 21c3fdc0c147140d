"""References from outside are distinguished from those of the parts themselves."""

from __future__ import annotations

import weakref

import pytest

from dagcache.reclaim.reference_counts import held_parts, own_references

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")


class Node:
    """An instance with attributes."""

    first: object = None


def test_a_weak_reference_that_was_used_and_dropped_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the counting and the looking, its user may have got hold of the part."""
    node = Node()
    references = [weakref.ref(node)]
    parts = (node,)
    del node
    taken: list[object] = []

    def use_and_drop(part: object) -> list[object]:
        if references:
            taken.append(references.pop()())
        return []

    monkeypatch.setattr(weakref, "getweakrefs", use_and_drop)
    held = held_parts(parts)
    assert taken
    assert held
    assert all(part is taken[0] for part in held)


def test_references_of_a_values_own_parts_are_counted_without_a_walk() -> None:
    """All that are not of its holders."""
    node = Node()
    assert own_references(node) == 0
    node.first = [node, node]
    again = node
    assert own_references(node, holders=2) == 2
    del again
