"""Collections are rare from one load to the next, and the host has its own again soon after the last one."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcache.core.cache import DagCache
from dagcache.pressure import MemoryPressure
from dagcache.reclaim import gc_lap, gc_pause
from dagcache.reclaim.gc_lap import end_lap_if_over, gc_relaxed_lap
from dagcache.reclaim.gc_pause import LONGEST_WAIT, SELDOM, gc_relaxed
from tests.support.builds import with_global_lock
from tests.support.caches import MIB, Weighted, automatic_gc_off, fill, make_cache, never
from tests.support.clock import ManualClock
from tests.support.strikes import Stop, no_stop_reported, strike_until_dead

_OF_A_LOAD = 5_000
"""Objects of a DAG of some seventy tasks."""
_DUE = 20_000
"""Objects after which any host's thresholds call for a collection."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The clock of laps, and of the time for which a collection has been due."""
    clock = ManualClock()
    monkeypatch.setattr(gc_lap._lap, "clock", clock)
    monkeypatch.setattr(gc_pause._turns, "clock", clock)
    monkeypatch.setattr(gc_pause._turns, "_due_since", None)
    return clock


@pytest.fixture(autouse=True)
def _laps_are_allowed() -> None:
    """As in a component with a thread."""
    gc_lap.allow_laps()


def load(objects: int = 0) -> list[Any]:
    """A load whose objects stay."""
    with gc_relaxed_lap():
        return [[] for _ in range(objects)]


def is_over() -> bool:
    """Whether the collector works as the host has it."""
    return gc.get_threshold()[0] != SELDOM


@with_global_lock
@pytest.mark.usefixtures("clock")
def test_no_collection_follows_each_load_of_a_lap(collections: list[int]) -> None:
    """One for so many new objects."""
    kept = [load(_OF_A_LOAD) for _ in range(100)]
    assert len(collections) <= len(kept) * _OF_A_LOAD / SELDOM + 1
    assert not is_over()


def test_a_lap_is_over_when_no_load_has_ended_for_long(clock: ManualClock) -> None:
    load()
    clock.advance(LONGEST_WAIT * 0.9)
    end_lap_if_over()
    assert not is_over()
    clock.advance(LONGEST_WAIT * 0.2)
    end_lap_if_over()
    assert is_over()


@with_global_lock
def test_a_lap_that_nothing_ends_does_not_stop_collections(clock: ManualClock, collections: list[int]) -> None:
    """They are rare, as in a block that hangs."""
    kept = load(_OF_A_LOAD)
    clock.advance(LONGEST_WAIT)
    kept += [[] for _ in range(3 * SELDOM)]
    assert len(collections) >= 3


@with_global_lock
def test_a_collection_within_a_lap_does_not_end_it(clock: ManualClock, collections: list[int]) -> None:
    """The next load is expected."""
    kept = load(_OF_A_LOAD)
    clock.advance(LONGEST_WAIT * 0.9)
    kept += [[] for _ in range(SELDOM)]
    assert len(collections) >= 1
    assert not is_over()


def test_the_next_load_continues_a_lap(clock: ManualClock) -> None:
    """The time counts from the end of the last one."""
    for _ in range(5):
        load()
        clock.advance(LONGEST_WAIT * 0.9)
        end_lap_if_over()
    assert not is_over()
    clock.advance(LONGEST_WAIT)
    end_lap_if_over()
    assert is_over()


def test_a_load_that_fails_begins_no_lap() -> None:
    """It leaves no objects that stay."""
    with pytest.raises(Stop), gc_relaxed_lap():
        raise Stop
    assert is_over()


LOADS: dict[str, Callable[[DagCache[int, Weighted]], object]] = {
    "one": lambda cache: cache.get_or_load(1, Weighted),
    "many": lambda cache: cache.get_or_load_many([1, 2], lambda keys: {key: Weighted(key) for key in keys}),
    "async": lambda cache: asyncio.run(cache.aget_or_load(1, load_async)),
}


async def load_async(key: int) -> Weighted:
    """A loader."""
    return Weighted(key)


@pytest.mark.parametrize("kind", LOADS)
def test_a_load_of_a_cache_begins_a_lap_and_a_hit_does_not(kind: str, clock: ManualClock) -> None:
    cache, _ = make_cache()
    LOADS[kind](cache)
    assert not is_over()
    gc_lap._lap.end()
    LOADS[kind](cache)
    assert is_over()


VIEWS: dict[str, Callable[[DagCache[int, Weighted]], object]] = {
    "a thaw": lambda cache: cache.get_or_load(0, never),
    "a private thaw": lambda cache: cache.fetch(0, never, private=True),
    "statistics": lambda cache: cache.stats(),
    "the number of entries": len,
}


@pytest.mark.parametrize("kind", VIEWS)
def test_thaws_and_views_of_a_cache_end_a_lap_that_is_over(kind: str, clock: ManualClock) -> None:
    cache, _ = make_cache(max_bytes=MIB)
    fill(cache, range(60))
    assert cache.stats().demotions
    VIEWS[kind](cache)
    assert not is_over()
    clock.advance(LONGEST_WAIT)
    fill(cache, range(60)) if kind == "a thaw" else VIEWS[kind](cache)
    assert is_over()


def test_a_threshold_that_the_host_sets_during_a_lap_survives_it(clock: ManualClock) -> None:
    """As one that it sets in a block."""
    usual = gc.get_threshold()
    load()
    gc.set_threshold(5_000, *usual[1:])
    try:
        load()
        clock.advance(LONGEST_WAIT)
        end_lap_if_over()
        assert gc.get_threshold() == (5_000, *usual[1:])
    finally:
        gc.set_threshold(*usual)


def test_a_collector_that_the_host_has_switched_off_stays_off(clock: ManualClock) -> None:
    """A lap does not switch it on."""
    with automatic_gc_off():
        load()
        clock.advance(LONGEST_WAIT)
        load()
        assert not gc.isenabled()


def test_the_end_of_a_lap_never_waits_for_a_block_that_is_being_opened(clock: ManualClock) -> None:
    """The lap is left to the next look. A finaliser may look while this very thread opens a block."""
    load()
    clock.advance(LONGEST_WAIT)
    gc_pause._seldom._lock.run(end_lap_if_over)
    assert not is_over()
    end_lap_if_over()
    assert is_over()


def test_a_child_starts_without_a_lap(clock: ManualClock) -> None:
    """And can begin one."""
    usual = gc.get_threshold()
    load()
    gc_pause._restart_in_child()
    gc_lap._lap.restart_in_child()
    assert gc.get_threshold() == usual
    load()
    assert is_over()  # its thread does not exist
    gc_lap.allow_laps()
    load()
    assert not is_over()
    clock.advance(LONGEST_WAIT)
    end_lap_if_over()
    assert gc.get_threshold() == usual


def test_without_leave_there_are_no_laps() -> None:
    """A process that looks no more would keep the threshold."""
    load()
    gc_lap.forbid_laps()
    assert is_over()
    load()
    assert is_over()


def test_the_thread_of_the_memory_watch_ends_a_lap_that_is_over(clock: ManualClock) -> None:
    """Although nothing is looked up any more."""
    cache, _ = make_cache()
    pressure = MemoryPressure(cache)
    load()
    pressure.step()
    assert not is_over()
    clock.advance(LONGEST_WAIT)
    pressure.step()
    assert is_over()


def test_two_threads_that_end_a_lap_end_no_other_block(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them finds it ended."""
    load()
    block = gc_lap._lap._block
    assert block is not None
    with gc_relaxed():
        assert block.try_end()
        assert block.try_end()
        assert len(gc_pause._seldom._blocks) == 1
    gc_lap._lap.end()
    assert is_over()


@pytest.mark.parametrize("other", [0, 5_000])
def test_a_host_that_changes_the_threshold_for_a_while_within_a_lap_gets_its_own_back(
    other: int, clock: ManualClock
) -> None:
    """It has read ours before, and sets that in the end."""
    usual = gc.get_threshold()
    load()
    found = gc.get_threshold()
    gc.set_threshold(other, *usual[1:])
    clock.advance(LONGEST_WAIT)
    end_lap_if_over()
    assert gc.get_threshold()[0] == other
    gc.set_threshold(*found)
    for _ in range(3):
        with gc_relaxed():
            pass
    assert gc.get_threshold() == usual


def test_laps_add_no_callback_to_the_collector(clock: ManualClock) -> None:
    """The exception of a signal's handler would be lost in it."""
    before = list(gc.callbacks)
    load()
    assert gc.callbacks == before


OPERATIONS = st.lists(
    st.sampled_from(["load", "time", "look", "block", "leave", "garbage", "child"]), min_size=1, max_size=40
)


@settings(max_examples=200)
@given(OPERATIONS)
def test_in_any_order_the_collector_is_the_hosts_after_the_last_load(operations: list[str]) -> None:
    """Loads, other blocks, collections and time."""
    usual, clock = gc.get_threshold(), ManualClock()
    open_blocks: list[gc_relaxed] = []
    previous = gc_lap._lap.clock, gc_pause._turns.clock
    gc_lap._lap.clock = gc_pause._turns.clock = clock
    try:
        for name in operations:
            if name == "load":
                load(100)
                assert not is_over()
            elif name == "time":
                clock.advance(LONGEST_WAIT / 2)
            elif name == "look":
                end_lap_if_over()
            elif name == "block":
                open_blocks.append(gc_relaxed())
                open_blocks[-1].__enter__()
            elif name == "leave" and open_blocks:
                open_blocks.pop(0).__exit__()
            elif name == "garbage":
                load(_DUE)
            elif name == "child":
                gc_pause._restart_in_child()
                gc_lap._lap.restart_in_child()
                gc_lap.allow_laps()
        while open_blocks:
            open_blocks.pop().__exit__()
        clock.advance(LONGEST_WAIT)
        end_lap_if_over()
        assert gc.get_threshold() == usual
        assert not gc_pause._seldom._blocks
    finally:
        gc_lap._lap.clock, gc_pause._turns.clock = previous
        gc.set_threshold(*usual)


def use_a_lap(clock: ManualClock) -> None:
    """A lap of two loads, and the look that ends it."""
    load()
    load()
    clock.advance(LONGEST_WAIT)
    end_lap_if_over()


def test_an_interrupt_before_any_line_leaves_the_collector_to_the_next_lap(clock: ManualClock) -> None:
    """The lap that is struck may last until the next one has ended; that one ends as usual."""
    usual, number, struck = gc.get_threshold(), 0, True
    files = {gc_lap.__file__, gc_pause.__file__}

    def striking_at(line: int) -> Callable[[FrameType, str, Any], Any]:
        left = line

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left, struck
            if frame.f_code.co_filename not in files:
                return None
            if event == "line":
                left -= 1
                if not left:
                    struck = True
                    raise Stop
            return trace

        return trace

    while struck:
        number += 1
        struck = False
        previous = sys.gettrace()
        with no_stop_reported(), suppress(Stop):
            sys.settrace(striking_at(number))
            try:
                use_a_lap(clock)
            finally:
                sys.settrace(previous)
        use_a_lap(clock)
        assert gc.get_threshold() == usual
        assert not gc_pause._seldom._blocks
    assert number > 40


def test_interrupts_leave_the_collector_to_the_next_lap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thrown into threads that load."""
    usual = gc.get_threshold()

    def work(act: Callable[[], object]) -> None:
        try:
            sys.settrace(None)
            while True:
                act()
        except Stop:
            pass

    for _ in range(20):
        threads = [threading.Thread(target=work, args=(load,), daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        strike_until_dead(*threads)
    clock = ManualClock()
    monkeypatch.setattr(gc_lap._lap, "clock", clock)
    use_a_lap(clock)
    assert gc.get_threshold() == usual
