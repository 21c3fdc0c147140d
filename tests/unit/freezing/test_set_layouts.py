"""Layouts explain the order of sets that are as full as their tables allow."""

from __future__ import annotations

import random

import pytest

from dagcache.freezing.set_layouts import layouts
from dagcache.freezing.set_order import comes_back, recipe_for

UNUSUAL = [(18, 1206), (18, 3108), (18, 5587), (76, 19035), (76, 22956), (76, 26999)]
"""Elements and seeds. One of 15,000 such sets has an element that few layouts explain."""
SLOTS = {4: 8, 18: 32, 76: 128}
"""With one element more, as an obstacle, the table would grow."""


def full(count: int, seed: int) -> set[int]:
    """Integers hash alike in every process."""
    draw = random.Random(seed)
    return {draw.getrandbits(60) for _ in range(count)}


@pytest.mark.parametrize(("count", "seed"), UNUSUAL)
def test_a_full_set_that_few_layouts_explain_has_a_recipe(count: int, seed: int) -> None:
    """It builds the same order."""
    original = full(count, seed)
    assert not comes_back(original)
    recipe = recipe_for(original)
    assert recipe is not None
    build, arguments = recipe
    assert list(build(*arguments)) == list(original)


@pytest.mark.parametrize("count", SLOTS)
def test_a_layout_without_obstacles_gives_the_order_of_the_set(count: int) -> None:
    """The last one that is offered, for each of many sets."""
    for seed in range(100):
        original = full(count, seed)
        order = list(original)
        *_, (places, sequence, obstacles) = layouts([hash(item) for item in order], SLOTS[count])
        assert obstacles == []
        assert places == sorted(set(places))
        assert list({order[index] for index in sequence}) == order
