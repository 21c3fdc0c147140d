"""The budget under memory pressure."""

from __future__ import annotations

import gc
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcache import DagCache
from dagcache import pressure as pressure_module
from dagcache.pressure import FLOOR, GROW_SECONDS, SHRINK_SECONDS, STEP, TURN_SECONDS, MemoryPressure, PressureState
from tests.support.caches import KIB, MIB, fill, make_cache
from tests.support.clock import ManualClock

LIMIT = 1000 * MIB
HIGH, LOW = 900 * MIB, 800 * MIB
BUDGET = 100 * MIB


class Machine:
    """A process whose memory tests choose, with a full cache of a tenth of the limit."""

    def __init__(self, budget: int = BUDGET, held: int = BUDGET) -> None:
        self.cache, _ = make_cache(max_bytes=budget, name="scheduler")
        fill(self.cache, range(held // MIB), nbytes=MIB)
        self.clock = ManualClock()
        self.limit: Any = LIMIT
        self.resident: Any = 0
        self.pressure = MemoryPressure(
            self.cache, limit=self._asked_limit, resident=lambda: self.resident, clock=self.clock
        )

    def _asked_limit(self) -> int:
        if isinstance(self.limit, Exception):
            raise self.limit
        return int(self.limit) if not isinstance(self.limit, float) else self.limit  # type: ignore[return-value]

    def look(self, resident: int, seconds: float = SHRINK_SECONDS) -> PressureState:
        """Let time pass, use so much memory, step."""
        self.clock.advance(seconds)
        self.resident = resident
        return self.pressure.step()

    @property
    def held(self) -> int:
        """What the cache holds."""
        return self.cache.stats().total_bytes


@pytest.fixture(autouse=True)
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How often memory was given back to the system, without doing so."""
    calls: list[float] = []
    monkeypatch.setattr(pressure_module, "give_back", lambda: calls.append(1))
    return calls


def test_below_the_high_mark_nothing_happens(given_back: list[float]) -> None:
    """The configured budget is in force."""
    machine = Machine()
    assert machine.look(HIGH) is PressureState.CALM
    assert machine.look(0) is PressureState.CALM
    assert machine.cache.max_bytes == BUDGET
    assert given_back == []


def test_above_the_high_mark_the_budget_shrinks_by_a_step_below_what_is_held(given_back: list[float]) -> None:
    """And the memory is given back."""
    machine = Machine()
    held = machine.held
    assert machine.look(HIGH + 1) is PressureState.SHRINKING
    assert machine.cache.max_bytes == held - math.ceil(STEP * BUDGET)
    assert machine.held <= machine.cache.max_bytes
    assert given_back == [1]


def test_far_above_the_high_mark_it_shrinks_by_what_is_over_it() -> None:
    """A step would take too long."""
    machine = Machine()
    held = machine.held
    machine.look(HIGH + 30 * MIB)
    assert machine.cache.max_bytes == held - 30 * MIB


def test_shrinking_starts_from_what_is_held() -> None:
    """Taking away what is not used frees nothing."""
    machine = Machine(held=40 * MIB)
    held = machine.held
    machine.look(HIGH + 1)
    assert machine.cache.max_bytes == held - math.ceil(STEP * BUDGET)


def test_shrinking_ends_at_the_floor_and_keeps_every_version(caplog: pytest.LogCaptureFixture) -> None:
    """Live copies go, frozen ones stay; that more is used elsewhere is said once."""
    machine = Machine()
    before = len(machine.cache)
    states = [machine.look(LIMIT) for _ in range(10)]
    assert states == [PressureState.SHRINKING] + [PressureState.FLOOR] * 9
    assert machine.cache.max_bytes == FLOOR * BUDGET
    assert len(machine.cache) == before
    assert caplog.text.count("the memory is used elsewhere") == 1


def test_steps_down_are_apart(given_back: list[float]) -> None:
    """What was freed must be seen first."""
    machine = Machine()
    machine.look(HIGH + 1)
    budget = machine.cache.max_bytes
    assert machine.look(HIGH + 1, seconds=SHRINK_SECONDS - 0.1) is PressureState.SHRINKING
    assert machine.cache.max_bytes == budget
    assert machine.look(HIGH + 1, seconds=0.1) is PressureState.SHRINKING
    assert machine.cache.max_bytes < budget
    assert len(given_back) == 2


def test_between_the_marks_the_budget_is_held() -> None:
    """Neither down nor up."""
    machine = Machine()
    machine.look(HIGH + 1)
    budget = machine.cache.max_bytes
    for resident in (LOW, HIGH):
        assert machine.look(resident, seconds=1000) is PressureState.SHRUNK
    assert machine.cache.max_bytes == budget


def test_below_the_low_mark_the_budget_grows_back_slowly(given_back: list[float]) -> None:
    """A step at a time, after a minute, up to the configured budget exactly."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    budgets = [machine.cache.max_bytes]
    states = []
    while machine.cache.max_bytes < BUDGET:
        states.append(machine.look(LOW - 1, seconds=10))
        budgets.append(machine.cache.max_bytes)
    steps = [
        (number * 10, after - before) for number, (before, after) in enumerate(pairwise(budgets), 1) if after > before
    ]
    assert [when for when, _ in steps] == [TURN_SECONDS + GROW_SECONDS * number for number in range(len(steps))]
    assert {size for _, size in steps[:-1]} == {STEP * BUDGET}
    assert states[0] is PressureState.SHRUNK
    assert set(states[5:-1]) == {PressureState.GROWING}
    assert states[-1] is PressureState.CALM
    assert machine.cache.max_bytes == BUDGET
    assert len(given_back) == 1


@pytest.mark.parametrize("period", [1, 2, 5, 13])
def test_the_direction_changes_once_a_minute_at_most(period: int) -> None:
    """However the memory swings."""
    machine = Machine()
    moves = []
    for number in range(2000):
        before = machine.cache.max_bytes
        machine.look(0 if number // period % 2 else LIMIT)
        if machine.cache.max_bytes != before:
            moves.append((machine.clock.now, machine.cache.max_bytes > before))
    turns = [when for (_, before), (when, after) in pairwise(moves) if before != after]
    assert len(turns) > 10
    assert all(later - earlier >= TURN_SECONDS for earlier, later in pairwise(turns))


def test_a_resize_of_the_operators_is_the_new_configured_budget() -> None:
    """In every state, and it is what growing ends at."""
    machine = Machine()
    machine.look(HIGH + 1)
    machine.cache.resize(50 * MIB)
    assert machine.look(LOW, seconds=1000) is PressureState.CALM
    assert machine.pressure.configured == machine.cache.max_bytes == 50 * MIB
    machine.look(HIGH + 1)
    assert machine.cache.max_bytes < 50 * MIB
    for _ in range(100):
        machine.look(0, seconds=100)
    assert machine.cache.max_bytes == 50 * MIB


def test_an_unbounded_cache_shrinks_from_what_it_holds_and_becomes_unbounded_again() -> None:
    """What it held stands in for a budget."""
    machine = Machine(budget=0, held=100 * MIB)
    held = machine.held
    assert machine.look(HIGH + 1) is PressureState.SHRINKING
    assert machine.cache.max_bytes == held - math.ceil(STEP * held)
    for _ in range(10):
        machine.look(LIMIT)
    assert machine.cache.max_bytes == math.ceil(FLOOR * held)
    states = [machine.look(0, seconds=100) for _ in range(30)]
    assert machine.cache.max_bytes == 0
    assert states[-1] is PressureState.CALM
    machine.cache.check_invariants()


def test_an_unbounded_cache_that_holds_nothing_keeps_a_little_room() -> None:
    """It must not be shut for what others use."""
    machine = Machine(budget=0, held=0)
    machine.look(LIMIT)
    assert machine.cache.max_bytes == LIMIT // 200 == pytest.approx(FLOOR * STEP * LIMIT)


@pytest.mark.parametrize("limit", [0, -1, 1000, math.nan, OSError("no such file")])
def test_a_limit_that_cannot_be_read_is_said_once_and_changes_nothing(
    limit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it can be read again."""
    machine = Machine()
    machine.limit = limit
    assert {machine.look(LIMIT) for _ in range(5)} == {PressureState.OFF}
    assert machine.cache.max_bytes == BUDGET
    assert len(caplog.records) == 1
    machine.limit = LIMIT
    assert machine.look(LIMIT) is PressureState.SHRINKING


def test_a_huge_limit_is_never_reached() -> None:
    """As version 1 of control groups says "unlimited"."""
    machine = Machine()
    machine.limit = 2**63
    assert machine.look(LIMIT) is PressureState.CALM


def test_what_is_done_is_logged_when_the_direction_changes(caplog: pytest.LogCaptureFixture) -> None:
    """Not at every step."""
    caplog.set_level(logging.INFO)
    machine = Machine()
    for _ in range(3):
        machine.look(HIGH + 1)
    for _ in range(3):
        machine.look(0, seconds=100)
    assert [record.getMessage() for record in caplog.records] == [
        "memory pressure: the cache 'scheduler' is shrinking from 100.0 MiB",
        f"memory pressure: the cache 'scheduler' is growing from {caplog.records[1].args[-1]}",  # type: ignore[index]
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2 * LIMIT), st.floats(0, 200)), max_size=60))
def test_whatever_happens_the_budget_stays_between_floor_and_configuration(story: list[tuple[int, float]]) -> None:
    """And the state tells whether it is the configured one."""
    machine = Machine(budget=MIB, held=0)
    fill(machine.cache, range(30), nbytes=100 * KIB)
    for resident, seconds in story:
        state = machine.look(resident, seconds)
        assert FLOOR * MIB <= machine.cache.max_bytes <= MIB
        assert (state is PressureState.CALM) == (machine.cache.max_bytes == MIB)
    machine.cache.check_invariants()


# ---- the thread ----


def watchers() -> list[threading.Thread]:
    """The threads that look."""
    return [thread for thread in threading.enumerate() if thread.name == "dagcache-pressure"]


@pytest.fixture(autouse=True)
def no_watcher_is_left() -> Iterator[None]:
    """Each test ends its own."""
    yield
    for thread in watchers():
        thread.join(30)
    assert not watchers()


def watched(resident: Callable[[], int]) -> MemoryPressure:
    """A cache under watch, many times a second."""
    cache: DagCache[Any, Any] = make_cache(max_bytes=MIB)[0]
    pressure = MemoryPressure(cache, limit=lambda: LIMIT, resident=resident)
    pressure.watch(interval=0.001)
    return pressure


def test_the_thread_steps_until_it_is_stopped() -> None:
    """Started twice, it is one; it can be started again."""
    looked = threading.Event()

    def resident() -> int:
        looked.set()
        return 0

    pressure = watched(resident)
    pressure.watch(interval=0.001)
    (thread,) = watchers()
    for _ in range(2):
        looked.clear()
        assert looked.wait(30)
    assert thread.daemon
    pressure.stop()
    pressure.stop()
    thread.join(30)
    assert not watchers()
    looked.clear()
    pressure.watch(interval=0.001)
    assert looked.wait(30)
    pressure.stop()


def test_the_thread_ends_with_the_object() -> None:
    """At once, however long its interval."""
    pressure = watched(lambda: 0)
    pressure.stop()
    pressure.watch(interval=3600)
    thread = watchers()[-1]
    del pressure
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_a_thread_that_wakes_after_the_object_is_gone_ends() -> None:
    """Between its death and its finaliser."""
    pressure_module._watch(lambda: None, threading.Event(), 0.001)  # type: ignore[arg-type]


def test_a_forked_child_watches_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's thread is not there."""
    pressure, parent = watched(lambda: 0), os.getpid()
    watcher = pressure._watcher
    assert watcher is not None
    monkeypatch.setattr(os, "getpid", lambda: -1)
    pressure.stop()
    assert not watcher[1].is_set()
    pressure.watch(interval=0.001)
    assert len(watchers()) == 2
    pressure.stop()
    monkeypatch.setattr(os, "getpid", lambda: parent)
    watcher[1].set()


def test_no_more_threads_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """And can be tried again."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pressure = watched(lambda: 0)
    assert "is not watched: can't start new thread" in caplog.text
    assert pressure.state is PressureState.OFF
    pressure.watch(interval=0.001)
    assert watchers()
    pressure.stop()
