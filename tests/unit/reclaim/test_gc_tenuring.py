"""Objects that stay grow old without a collection; the host's garbage does not pile up meanwhile."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.core.cache import DagCache
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim import gc_lap, gc_pause, gc_tenuring
from dagcache.reclaim.gc_lap import gc_relaxed_lap
from dagcache.reclaim.gc_pause import LONGEST_WAIT, gc_relaxed
from dagcache.reclaim.gc_tenuring import BYTES_PER_OBJECT, Tenuring
from tests.support.builds import with_global_lock
from tests.support.caches import automatic_gc_off
from tests.support.clock import ManualClock
from tests.support.strikes import Stop, strike_until_dead

pytestmark = with_global_lock
_OBJECTS = 5_000
_BYTES = 240 * _OBJECTS
_OLDEST = 2
_MISCOUNTED = 100
"""Older objects that die meanwhile: the collector subtracts them from its count of new ones."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[ManualClock]:
    """The clock of laps, and of the time for which a collection has been due. Laps are allowed."""
    clock = ManualClock()
    monkeypatch.setattr(gc_lap._lap, "clock", clock)
    monkeypatch.setattr(gc_pause._turns, "clock", clock)
    monkeypatch.setattr(gc_pause._turns, "_due_since", None)
    gc_lap.allow_laps()
    yield clock
    gc_lap.forbid_laps()


def value_of(objects: int = _OBJECTS) -> list[Any]:
    """A value of so many objects, with 240 bytes each, and one that refers to them."""
    return [[bytes(150)] for _ in range(objects)]


def make_cache(max_bytes: str = "64MiB") -> DagCache[int, list[Any]]:
    """A cache that keeps lists."""
    return DagCache(max_bytes=max_bytes, freezer=PickleFreezer())


def fill(cache: DagCache[int, list[Any]], clock: ManualClock, keys: range) -> None:
    """Load a value under each key, so that a collection is due from time to time."""
    for key in keys:
        cache.get_or_load(key, lambda _: value_of())
        clock.advance(LONGEST_WAIT / 2)


def is_old(item: object) -> bool:
    """Whether an object is in the oldest generation."""
    return any(each is item for each in gc.get_objects(generation=_OLDEST))


def test_values_that_stay_grow_old_without_a_collection(clock: ManualClock, collections: list[int]) -> None:
    cache = make_cache()
    fill(cache, clock, range(20))
    assert collections == []
    assert is_old(cache.get_or_load(0, lambda _: value_of())[0])


def test_a_value_that_the_cache_does_not_keep_does_not_grow_old(clock: ManualClock, collections: list[int]) -> None:
    """Its objects may be garbage soon."""
    held = []
    for _ in range(20):
        held.append(make_cache("1KiB").get_or_load(0, lambda _: value_of()))
        clock.advance(LONGEST_WAIT)
    assert collections


def test_nothing_is_moved_once_the_cache_has_given_up_a_value(clock: ManualClock, collections: list[int]) -> None:
    """Old values that leave may be garbage that only a collection of all objects finds; moves would put that off."""
    cache = make_cache()
    fill(cache, clock, range(5))
    assert collections == []
    cache.invalidate(0)
    fill(cache, clock, range(5, 25))
    assert collections


def garbage_of_the_host() -> None:
    """As many cycles as a value has objects."""
    for _ in range(_OBJECTS):
        cycle: list[Any] = []
        cycle.append(cycle)


def test_no_more_of_the_hosts_garbage_waits_than_a_block_may_leave(clock: ManualClock) -> None:
    """Ten thousand objects were moved; the others were made since the last collection, which is due at each load."""
    cache = make_cache("1GiB")
    gc.collect()
    before = len(gc.get_objects())
    for key in range(45):
        cache.get_or_load(key, lambda _: value_of())
        garbage_of_the_host()
        clock.advance(LONGEST_WAIT)
        waiting = len(gc.get_objects()) - before - (key + 1) * _OBJECTS
        assert waiting <= 10_000 + 2 * _OBJECTS


def test_a_full_collection_allows_further_moves(clock: ManualClock) -> None:
    """It has looked at the objects that were moved."""
    tenuring, held = Tenuring(most_others=200), []
    gc.collect()
    with automatic_gc_off():
        for _ in range(2):
            for expected in (True, False):
                tenuring.note(1_000, 1_000 * BYTES_PER_OBJECT)
                held.append(value_of(1_150))
                assert tenuring.move() is expected
            gc.collect()


def test_objects_that_have_survived_a_collection_count_as_others(clock: ManualClock) -> None:
    """A move takes the middle generation along."""
    tenuring, held = Tenuring(most_others=_OBJECTS // 2), []
    gc.collect()
    with automatic_gc_off():
        survivors = value_of()
        gc.collect(0)
        tenuring.note(_OBJECTS, _BYTES)
        held.append(value_of())
        assert not tenuring.move()
        gc.collect(1)
        tenuring.note(_OBJECTS, _BYTES)
        held.append(value_of())
        assert tenuring.move()
    assert len(survivors) == _OBJECTS


def test_garbage_of_the_host_that_was_moved_is_freed_by_the_next_full_collection(clock: ManualClock) -> None:
    class Garbage:
        pass

    garbage = Garbage()
    garbage.itself = garbage  # type: ignore[attr-defined]
    freed: list[str] = []
    weakref.finalize(garbage, freed.append, "freed")
    del garbage
    fill(make_cache(), clock, range(20))
    assert freed == []
    gc.collect()
    assert freed == ["freed"]


def test_objects_that_the_host_has_frozen_stay_frozen(clock: ManualClock) -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        fill(make_cache(), clock, range(20))
        assert gc.get_freeze_count() > frozen / 2  # some have died
    finally:
        gc.unfreeze()


def test_without_laps_nothing_is_moved(clock: ManualClock, collections: list[int]) -> None:
    gc_lap.forbid_laps()
    fill(make_cache(), clock, range(20))
    assert collections


def test_objects_of_other_threads_do_not_count_as_the_values() -> None:
    """A load of few bytes during which others make many objects."""
    tenuring = Tenuring()
    tenuring.note(made=50_000, nbytes=100 * BYTES_PER_OBJECT)
    assert tenuring._kept == 100


def test_a_collection_during_a_load_leaves_nothing_to_move() -> None:
    """The count starts again."""
    tenuring = Tenuring()
    tenuring.note(made=-300, nbytes=_BYTES)
    assert not tenuring.is_expected
    assert not tenuring.move()


def test_a_collection_after_a_load_leaves_nothing_to_move() -> None:
    """Objects that are made after it are others, not the value's."""
    tenuring = Tenuring()
    tenuring.note(_OBJECTS, _BYTES)
    gc.collect(0)
    held = value_of()
    assert not tenuring.move()
    assert len(held) == _OBJECTS


def test_without_a_global_lock_nothing_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """There ``gc.freeze`` stops all threads and goes through all objects."""
    monkeypatch.setattr(gc_tenuring, "has_global_lock", lambda: False)
    tenuring = Tenuring()
    tenuring.note(_OBJECTS, _BYTES)
    assert not tenuring.move()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=20))
def test_in_any_order_the_moved_objects_of_others_are_bounded(steps: list[tuple[int, int]]) -> None:
    """Kept and other objects, and a move after each step."""
    most = 500
    tenuring, held = Tenuring(most), []
    gc.collect(0)
    moved = 0
    with automatic_gc_off():
        for kept, others in steps:
            held += [value_of(kept), value_of(others)]
            tenuring.note(kept, kept * BYTES_PER_OBJECT)
            if tenuring.move():
                moved += others
            assert moved <= most + _MISCOUNTED


def test_a_relaxed_block_moves_what_a_lap_has_left(clock: ManualClock, collections: list[int]) -> None:
    """A thaw, for example, opens one."""
    cache = make_cache()
    cache.get_or_load(0, lambda _: value_of(20_000))
    with gc_relaxed():
        clock.advance(LONGEST_WAIT)
    with gc_relaxed():
        pass
    assert collections == []
    assert is_old(cache.get_or_load(0, lambda _: value_of())[0])


def test_a_load_that_fails_leaves_nothing_to_move() -> None:
    with pytest.raises(ZeroDivisionError), gc_relaxed_lap():
        raise ZeroDivisionError
    assert not gc_pause.tenuring.is_expected


def test_an_interrupt_never_leaves_the_hosts_heap_frozen(clock: ManualClock) -> None:
    """It would strike between two instructions; both calls are one."""
    frozen = gc.get_freeze_count()

    def work() -> None:
        with suppress(Stop):
            while True:
                tenuring = Tenuring()
                tenuring.note(_OBJECTS, _BYTES)
                tenuring.move()

    for _ in range(50):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        strike_until_dead(thread)
        assert gc.get_freeze_count() <= frozen
