"""Freezes of the heap: their moments, and that garbage is found in the end."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from dagcache.reclaim.gc_freeze import LOADS_PER_FREEZE, SECONDS_PER_THAW, HeapFreeze
from tests.support.clock import ManualClock


@pytest.fixture(autouse=True)
def _thawed_afterwards() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


class Node:
    """Something the collector visits."""


def visible(node: Node) -> bool:
    """Whether the collector would visit it."""
    return any(item is node for item in gc.get_objects())


def test_what_is_there_at_the_start_is_frozen() -> None:
    """The base heap of the process, above all."""
    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    assert visible(node)
    HeapFreeze()
    assert not visible(node)


def test_what_was_loaded_is_frozen_after_enough_loads() -> None:
    """Not after each: a freeze needs a collection first."""
    heap = HeapFreeze(ManualClock())
    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    for _ in range(LOADS_PER_FREEZE - 1):
        heap.after_load()
    assert visible(node)
    heap.after_load()
    assert not visible(node)


def test_garbage_is_not_frozen() -> None:
    """It would never be freed."""
    heap = HeapFreeze(ManualClock())
    before = gc.get_freeze_count()
    for _ in range(LOADS_PER_FREEZE):
        cycle = Node()
        cycle.itself = cycle  # type: ignore[attr-defined]
        heap.after_load()
    del cycle
    assert gc.get_freeze_count() < before + LOADS_PER_FREEZE


def test_what_becomes_garbage_in_the_frozen_heap_is_found_by_the_hourly_thaw() -> None:
    """Until then it is invisible."""
    clock = ManualClock()
    died: list[str] = []

    class Mourned(Node):
        def __del__(self) -> None:
            died.append("at last")

    cycle = Mourned()
    cycle.itself = cycle  # type: ignore[attr-defined]
    heap = HeapFreeze(clock)
    del cycle
    for _ in range(LOADS_PER_FREEZE):
        heap.after_load()
    assert not died
    clock.advance(SECONDS_PER_THAW)
    for _ in range(LOADS_PER_FREEZE):
        heap.after_load()
    assert died == ["at last"]


def test_a_thread_does_not_wait_for_another_that_freezes() -> None:
    """Two loads may end at once."""
    heap = HeapFreeze(ManualClock())
    node = Node()
    node.itself = node  # type: ignore[attr-defined]

    def load() -> None:
        for _ in range(LOADS_PER_FREEZE):
            heap.after_load()
        assert visible(node)

    heap._lock.run(load)
    heap.after_load()
    assert not visible(node)
