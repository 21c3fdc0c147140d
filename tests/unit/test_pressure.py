"""The budget under memory pressure."""

from __future__ import annotations

import gc
import logging
import math
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcache import DagCache
from dagcache import config as config_module
from dagcache import pressure as pressure_module
from dagcache.errors import ConfigError
from dagcache.pressure import (
    FLOOR,
    GROW_SECONDS,
    MOST_DOUBT,
    PROBE_SECONDS,
    SHORTEST_INTERVAL,
    SHRINK_SECONDS,
    STALL_PERCENT,
    STALL_SECONDS,
    STEP,
    TURN_SECONDS,
    MemoryPressure,
    PressureState,
)
from dagcache.sizing.cgroups import Stall
from dagcache.sizing.memory import MemoryLimit, MemoryUse, resident_bytes, unreclaimable_bytes
from tests.support.caches import KIB, MIB, fill, make_cache
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE

LIMIT = 1000 * MIB
HIGH, LOW = 900 * MIB, 800 * MIB
MOST_LOOKS = 1000
"""A test that needs more looks fails."""
BUDGET = 100 * MIB


class Machine:
    """A process with memory that the test sets, and a full cache of a tenth of the limit."""

    def __init__(self, budget: int | str = BUDGET, held: int = BUDGET) -> None:
        self.cache, _ = make_cache(max_bytes=budget, name="scheduler")
        fill(self.cache, range(held // MIB), nbytes=MIB)
        self.clock = ManualClock()
        self.limit: Any = LIMIT
        self.resident: Any = 0
        self.container: list[MemoryUse] = []
        self.stall = Stall()
        self.pressure = MemoryPressure(
            self.cache,
            limit=self._asked_limit,
            resident=lambda: self.resident,
            container=lambda: self.container,
            stall=lambda: self.stall,
            clock=self.clock,
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

    def look_until_calm(self, resident: int, seconds: float) -> None:
        """Look again and again, each time after so long."""
        for _ in range(MOST_LOOKS):
            if self.look(resident, seconds) is PressureState.CALM:
                return
        pytest.fail(f"not calm after {MOST_LOOKS} looks: {self.pressure.state}")

    @property
    def held(self) -> int:
        """The bytes that the cache holds."""
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
    """Taking away unused budget frees nothing."""
    machine = Machine(held=40 * MIB)
    held = machine.held
    machine.look(HIGH + 1)
    assert machine.cache.max_bytes == held - math.ceil(STEP * BUDGET)


def test_shrinking_ends_at_the_floor_and_keeps_every_version(caplog: pytest.LogCaptureFixture) -> None:
    """Live copies go, frozen ones stay; the line about use elsewhere appears once."""
    machine = Machine()
    before = len(machine.cache)
    states = [machine.look(LIMIT) for _ in range(10)]
    assert states == [PressureState.SHRINKING] + [PressureState.FLOOR] * 9
    assert machine.cache.max_bytes == FLOOR * BUDGET
    assert len(machine.cache) == before
    assert caplog.text.count("memory is used elsewhere") == 1


def test_steps_down_are_apart(given_back: list[float]) -> None:
    """The effect of the first must be visible."""
    machine = Machine()
    machine.look(HIGH + 1)
    budget = machine.cache.max_bytes
    assert machine.look(HIGH + 1, seconds=SHRINK_SECONDS - 0.1) is PressureState.SHRINKING
    assert machine.cache.max_bytes == budget
    assert machine.look(HIGH + 1, seconds=0.1) is PressureState.SHRINKING
    assert machine.cache.max_bytes < budget
    assert len(given_back) == 2


def test_between_the_marks_the_budget_is_held_for_five_minutes_and_then_grows_a_step_every_five() -> None:
    """From when the high mark was last exceeded."""
    machine = Machine()
    machine.look(HIGH + 1)
    budget = machine.cache.max_bytes
    assert machine.look(LOW, seconds=PROBE_SECONDS - 1) is PressureState.SHRUNK
    machine.look(HIGH + 1, seconds=0)
    budget = machine.cache.max_bytes
    assert machine.look(LOW, seconds=PROBE_SECONDS - 1) is PressureState.SHRUNK
    assert machine.cache.max_bytes == budget
    assert machine.look(LOW, seconds=1) is PressureState.GROWING
    assert machine.cache.max_bytes == budget + STEP * BUDGET
    assert machine.look(LOW, seconds=PROBE_SECONDS - 1) is PressureState.GROWING
    assert machine.cache.max_bytes == budget + STEP * BUDGET
    machine.look(LOW, seconds=1)
    assert machine.cache.max_bytes == min(BUDGET, budget + 2 * STEP * BUDGET)


def test_between_the_marks_the_budget_grows_only_if_a_step_fits_below_the_high_mark() -> None:
    """Otherwise it would swing about the mark."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    budget, step = machine.cache.max_bytes, math.ceil(STEP * BUDGET)
    for _ in range(10):
        assert machine.look(HIGH - step + 1, seconds=10 * PROBE_SECONDS) is PressureState.SHRUNK
    assert machine.cache.max_bytes == budget
    assert machine.look(HIGH - step) is PressureState.GROWING
    assert machine.cache.max_bytes == budget + step


def test_a_day_between_the_marks_after_a_minute_above_gives_the_whole_budget_back() -> None:
    """It once stayed at a tenth."""
    machine = Machine()
    for _ in range(12):
        machine.look(95 * LIMIT // 100)
    assert machine.cache.max_bytes == FLOOR * BUDGET
    looks = 0
    while machine.look(81 * LIMIT // 100) is not PressureState.CALM:
        looks += 1
        assert looks * SHRINK_SECONDS < 24 * 3600
    assert machine.cache.max_bytes == BUDGET
    assert looks * SHRINK_SECONDS == pytest.approx(18 * PROBE_SECONDS, abs=2 * SHRINK_SECONDS)


def test_growth_that_was_wrong_doubles_the_waits_up_to_eight_times() -> None:
    """And is made good at once: the budget shrinks at the next look."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    for doubt in (1, 2, 4, 8, 8, 8):
        budget = machine.cache.max_bytes
        assert machine.look(LOW, seconds=doubt * PROBE_SECONDS - 1) is PressureState.SHRUNK
        machine.look(LOW, seconds=1)
        assert machine.cache.max_bytes == budget + STEP * BUDGET
        assert machine.look(HIGH + 1, seconds=SHRINK_SECONDS) is PressureState.SHRINKING
        assert machine.cache.max_bytes <= budget
    assert machine.look(0, seconds=8 * TURN_SECONDS - 1) is PressureState.SHRUNK
    assert machine.look(0, seconds=1) is PressureState.GROWING


def test_one_step_up_is_wrong_once_however_long_the_high_mark_is_exceeded_after_it() -> None:
    """The waits double once."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    machine.look(LOW, seconds=PROBE_SECONDS)
    for _ in range(3):
        assert machine.look(HIGH + 1) is PressureState.SHRINKING
    assert machine.look(LOW, seconds=2 * PROBE_SECONDS - 1) is PressureState.SHRUNK
    assert machine.look(LOW, seconds=1) is PressureState.GROWING


def test_growth_is_wrong_only_if_the_high_mark_follows_soon() -> None:
    """A peak an hour after the last step has another cause."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    for _ in range(5):
        machine.look(LOW, seconds=PROBE_SECONDS)
        budget = machine.cache.max_bytes
        machine.look(HIGH, seconds=PROBE_SECONDS)  # a step does not fit
        machine.look(HIGH + 1)
        assert machine.cache.max_bytes < budget
    machine.look(LOW, seconds=PROBE_SECONDS - 1)
    before = machine.cache.max_bytes
    machine.look(LOW, seconds=1)
    assert machine.cache.max_bytes > before


def test_the_waits_are_short_again_once_the_configured_budget_has_lasted() -> None:
    """For as long as the wait had become."""
    machine = Machine()
    machine.look(HIGH + 20 * MIB)
    machine.look(LOW, seconds=PROBE_SECONDS)
    machine.look(HIGH + 1)  # wrong: the waits are twice as long
    machine.look_until_calm(LOW, seconds=2 * PROBE_SECONDS)
    for wait, doubt in ((2 * PROBE_SECONDS - 1, 2), (2 * PROBE_SECONDS, 1)):
        machine.look(LOW, seconds=wait)
        machine.look(HIGH + 1)
        budget = machine.cache.max_bytes
        machine.look(LOW, seconds=doubt * PROBE_SECONDS - 1)
        assert machine.cache.max_bytes == budget
        machine.look(LOW, seconds=1)
        assert machine.cache.max_bytes > budget
        machine.look_until_calm(LOW, seconds=1 + doubt * PROBE_SECONDS)
        assert machine.cache.max_bytes == BUDGET


def test_below_the_low_mark_the_budget_grows_back_slowly(given_back: list[float]) -> None:
    """A step at a time, after a minute, up to the configured budget exactly."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    budgets = [machine.cache.max_bytes]
    states: list[PressureState] = []
    while machine.cache.max_bytes < BUDGET:
        assert len(states) < MOST_LOOKS
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


@pytest.mark.parametrize("period", [1, 2, 5, 13, 100])
def test_a_step_up_is_a_minute_from_the_high_mark_and_a_step_down_waits_for_none(period: int) -> None:
    """However the memory swings."""
    machine = Machine()
    exceeded = -math.inf
    ups = 0
    for number in range(2000):
        before = machine.cache.max_bytes
        is_high = number // period % 2 == 0
        state = machine.look(LIMIT if is_high else 0)
        after = machine.cache.max_bytes
        exceeded = machine.clock.now if is_high else exceeded
        ups += after > before
        assert after <= before or machine.clock.now - exceeded >= TURN_SECONDS
        assert not is_high or state in (PressureState.SHRINKING, PressureState.FLOOR)
        assert not is_high or after < before or after <= FLOOR * BUDGET
    assert bool(ups) == (period >= TURN_SECONDS // SHRINK_SECONDS)


def test_a_resize_of_the_operators_is_the_new_configured_budget() -> None:
    """In every state; growth ends at it."""
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
    """Memory used by others must not close it."""
    machine = Machine(budget=0, held=0)
    machine.look(LIMIT)
    assert machine.cache.max_bytes == LIMIT // 200 == pytest.approx(FLOOR * STEP * LIMIT)


def test_an_operators_resize_to_the_shrunken_budget_is_a_new_configuration() -> None:
    """The request counts, even if that budget is in force already."""
    machine = Machine()
    machine.look(HIGH + 1)
    budget = machine.cache.max_bytes
    machine.cache.resize(budget)
    assert machine.look(0, seconds=1000) is PressureState.CALM
    assert machine.cache.max_bytes == machine.pressure.configured == budget


def test_an_operators_resize_to_what_was_asked_for_before_lifts_the_budget_at_once() -> None:
    """And the waits that wrong growth has made long are short again."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    machine.look(LOW, seconds=PROBE_SECONDS)
    machine.look(HIGH + 1)
    machine.cache.resize(machine.cache.requested)
    assert machine.look(LOW) is PressureState.CALM
    assert machine.cache.max_bytes == machine.pressure.configured == BUDGET
    machine.look(HIGH + 1, seconds=PROBE_SECONDS)
    assert machine.look(LOW, seconds=PROBE_SECONDS) is PressureState.GROWING


def test_an_operators_resize_during_a_step_is_taken_over_at_the_next() -> None:
    """The step that was under way still applies its own budget."""
    machine = Machine()
    machine.stall = Stall()
    machine.pressure._stall = lambda: machine.cache.resize(50 * MIB) or Stall()  # type: ignore[func-returns-value]
    machine.look(HIGH + 1)
    machine.pressure._stall = Stall
    assert machine.look(0) is PressureState.CALM
    assert machine.cache.max_bytes == machine.pressure.configured == 50 * MIB


def test_a_watch_that_starts_over_a_shrunken_cache_grows_to_what_was_asked_for() -> None:
    """As a forked child does, which has a watch of its own."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    machine.pressure = MemoryPressure(machine.cache, limit=lambda: LIMIT, resident=lambda: 0, clock=machine.clock)
    assert machine.pressure.configured == BUDGET
    for _ in range(20):
        machine.look(0, seconds=GROW_SECONDS)
    assert machine.cache.max_bytes == BUDGET


# ---- a container that is resized in place ----


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The memory limit that is found, in its last element."""
    found = [2048 * MIB]
    monkeypatch.setattr(config_module, "memory_limit", lambda: MemoryLimit(found[-1], "cgroup2"))
    return found


def test_a_percentage_follows_the_memory_limit(memory: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """From 2 GiB to 8 and to 1: at the next step, with a line in the log."""
    caplog.set_level(logging.INFO)
    machine = Machine(budget="25%", held=0)
    for limit in (2048 * MIB, 8192 * MIB, 1024 * MIB):
        memory.append(limit)
        machine.limit = limit
        assert machine.look(0) is PressureState.CALM
        assert machine.cache.max_bytes == machine.pressure.configured == limit // 4
    assert [record.getMessage() for record in caplog.records] == [
        "the memory limit has changed: max_bytes = 25% of cache 'scheduler' is now 2.0 GiB, was 512.0 MiB",
        "the memory limit has changed: max_bytes = 25% of cache 'scheduler' is now 256.0 MiB, was 2.0 GiB",
    ]


def test_an_operators_percentage_follows_the_memory_limit_too(memory: list[int]) -> None:
    machine = Machine(budget=MIB, held=0)
    machine.cache.resize("50%")
    assert machine.look(0) is PressureState.CALM
    assert machine.cache.max_bytes == 1024 * MIB
    memory.append(1024 * MIB)
    assert machine.look(0) is PressureState.CALM
    assert machine.cache.max_bytes == machine.pressure.configured == 512 * MIB


@pytest.mark.parametrize("limit", [512 * MIB, 0])
def test_an_absolute_limit_stays_when_the_memory_limit_changes(memory: list[int], limit: int) -> None:
    """Also one that an operator has set in the place of a percentage."""
    machine = Machine(budget="25%", held=0)
    machine.cache.resize(limit)
    memory.append(8192 * MIB)
    assert machine.look(0) is PressureState.CALM
    assert machine.cache.max_bytes == machine.pressure.configured == limit


def test_a_shrunken_budget_grows_from_where_it_is_to_the_new_percentage(memory: list[int]) -> None:
    """In steps of the new configured budget."""
    memory.append(400 * MIB)
    machine = Machine(budget="25%", held=100 * MIB)
    machine.look(HIGH + 50 * MIB)
    shrunken = machine.cache.max_bytes
    memory.append(800 * MIB)
    assert machine.look(LOW) is PressureState.SHRUNK
    assert (machine.cache.max_bytes, machine.pressure.configured) == (shrunken, 200 * MIB)
    machine.look(0, seconds=TURN_SECONDS)
    assert machine.cache.max_bytes == shrunken + STEP * 200 * MIB


@pytest.mark.parametrize(("smaller", "state"), [(320, PressureState.SHRUNK), (40, PressureState.CALM)])
def test_a_shrunken_budget_is_never_above_the_new_percentage(
    memory: list[int], smaller: int, state: PressureState
) -> None:
    """Then it is the configured one."""
    memory.append(400 * MIB)
    machine = Machine(budget="25%", held=100 * MIB)
    machine.look(HIGH + 50 * MIB)
    shrunken = machine.cache.max_bytes
    memory.append(smaller * MIB)
    assert machine.look(LOW) is state
    assert machine.pressure.configured == smaller * MIB // 4
    assert machine.cache.max_bytes == min(shrunken, smaller * MIB // 4)
    machine.cache.check_invariants()


# ---- the container, and stalls ----


def test_a_full_container_shrinks_the_budget_of_a_small_process() -> None:
    """LocalExecutor's children, or another component, may fill it."""
    machine = Machine()
    held = machine.held
    machine.container = [MemoryUse(930 * MIB, 1000 * MIB), MemoryUse(10 * MIB, 5000 * MIB)]
    assert machine.look(50 * MIB) is PressureState.SHRINKING
    assert machine.cache.max_bytes == held - 30 * MIB


def test_the_level_that_is_furthest_over_its_mark_counts() -> None:
    """The process's own, too."""
    machine = Machine()
    held = machine.held
    machine.container = [MemoryUse(920 * MIB, 1000 * MIB), MemoryUse(4540 * MIB, 5000 * MIB)]
    machine.look(HIGH + 10 * MIB)
    assert machine.cache.max_bytes == held - 40 * MIB


def test_the_budget_grows_soon_only_if_all_uses_are_below_the_low_mark() -> None:
    """One between the marks leaves the slow growth."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    budget = machine.cache.max_bytes
    machine.container = [MemoryUse(850 * MIB, 1000 * MIB)]
    machine.look(0, seconds=PROBE_SECONDS - 1)
    assert machine.cache.max_bytes == budget
    machine.look(0, seconds=1)
    assert machine.cache.max_bytes == budget + STEP * BUDGET
    machine.container = [MemoryUse(790 * MIB, 1000 * MIB)]
    machine.look(0, seconds=GROW_SECONDS)
    assert machine.cache.max_bytes == budget + 2 * STEP * BUDGET


def test_a_stall_shrinks_the_budget_below_the_marks() -> None:
    """A step every ten seconds: over that time the kernel averages."""
    machine = Machine()
    held = machine.held
    machine.stall = Stall(some=20.0, full=STALL_PERCENT)
    assert machine.look(0) is PressureState.SHRINKING
    assert machine.cache.max_bytes == held - STEP * BUDGET
    budget = machine.cache.max_bytes
    assert machine.look(0, seconds=STALL_SECONDS - 1) is PressureState.SHRINKING
    assert machine.cache.max_bytes == budget
    machine.look(0, seconds=1)
    assert machine.cache.max_bytes < budget
    for _ in range(30):
        machine.look(0, seconds=STALL_SECONDS)
    assert machine.pressure.state is PressureState.FLOOR


def test_while_any_task_stalls_the_budget_does_not_grow() -> None:
    """Nor does it shrink: others make progress."""
    machine = Machine()
    machine.look(HIGH + 50 * MIB)
    budget = machine.cache.max_bytes
    machine.stall = Stall(some=STALL_PERCENT, full=STALL_PERCENT - 0.01)
    assert machine.look(0, seconds=1000) is PressureState.SHRUNK
    assert machine.cache.max_bytes == budget
    machine.stall = Stall(some=STALL_PERCENT - 0.01)
    assert machine.look(0) is PressureState.GROWING


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts pages of files apart")
def test_a_mapped_file_is_no_pressure(tmp_path: Path) -> None:
    """Its pages are resident and may be dropped: they once took a cache to its floor."""
    size = 64 * MIB
    (tmp_path / "mapped").write_bytes(bytes(size))
    limit = int((unreclaimable_bytes() + size // 4) / 0.9)
    pressure = MemoryPressure(make_cache(max_bytes=MIB)[0], limit=lambda: limit)
    with (tmp_path / "mapped").open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        assert resident_bytes() > 0.9 * limit
        assert pressure.step() is PressureState.CALM


@pytest.mark.parametrize("settings", [{}, {"memory_limit": "1GiB"}])
def test_by_default_all_that_is_found_counts_and_what_is_set_replaces_it(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With memory_limit, only the process's own use is compared."""
    monkeypatch.setattr(pressure_module, "container_use", lambda: [MemoryUse(99 * MIB, 100 * MIB)])
    monkeypatch.setattr(pressure_module, "memory_stall", lambda: Stall(full=99.0))
    monkeypatch.setattr(pressure_module, "memory_limit", lambda: MemoryLimit(1024 * MIB, "cgroup2"))
    cache, _ = make_cache(max_bytes=MIB, workers=2, **settings)
    pressure = MemoryPressure(cache, resident=lambda: 460 * MIB)
    assert pressure.step() is (PressureState.CALM if settings else PressureState.SHRINKING)
    pressure = MemoryPressure(cache, resident=lambda: 462 * MIB)
    pressure.step()
    assert pressure.state is not PressureState.CALM
    assert MemoryPressure(cache, limit=lambda: LIMIT, resident=lambda: 0)._container() == ()


# ---- refused settings ----


@pytest.mark.parametrize("share", [0, -0.1, 1.01, 90, math.nan, math.inf, True, "0.9", None])
@pytest.mark.parametrize("name", ["high", "low"])
def test_a_mark_that_is_no_share_is_refused(name: str, share: Any) -> None:
    """By its name and value, with the accepted forms."""
    cache, _ = make_cache()
    with pytest.raises(ConfigError, match=f"{name} = .* accepted: a share of the memory limit above 0 and at most 1"):
        MemoryPressure(cache, **{name: share})


def test_a_low_mark_above_the_high_one_is_refused() -> None:
    """Equal ones are accepted."""
    cache, _ = make_cache()
    with pytest.raises(ConfigError, match=r"low = 0\.8 is not understood; accepted: at most high = 0\.7"):
        MemoryPressure(cache, high=0.7)
    MemoryPressure(cache, high=1, low=1)


@pytest.mark.parametrize("interval", [0, -1, 0.09, math.nan, math.inf, 1e12, "5", None, False, 10**400])
def test_an_interval_that_burns_a_core_or_never_ends_is_refused(interval: Any) -> None:
    """No thread is started for it."""
    machine = Machine(held=0)
    with pytest.raises(ConfigError, match=r"interval = .* accepted: a number of seconds from 0\.1 to"):
        machine.pressure.watch(interval)
    assert not watchers()


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
        "memory pressure: cache 'scheduler' is shrinking from 100.0 MiB",
        f"memory pressure: cache 'scheduler' is growing from {caplog.records[1].args[-1]}",  # type: ignore[index]
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


class SmallMachine(Machine):
    """The same with a cache that fills quickly; the test scripts the use of other processes."""

    def __init__(self) -> None:
        super().__init__(budget=MIB, held=0)
        self.limit = 10 * MIB
        self.exceeded = self.stepped = -math.inf
        self.refill()

    def refill(self) -> None:
        """Fill the cache up to its budget."""
        fill(self.cache, range(30), nbytes=100 * KIB)

    def stay(self, others: int, looks: int, *, full: bool) -> None:
        """Look every five seconds while others use so much, and check each step against the documented limits."""
        for _ in range(looks):
            before, since_high = self.cache.max_bytes, self.clock.now - self.exceeded
            resident = others + (self.held if full else 0)
            state = self.look(resident)
            after, portion = self.cache.max_bytes, math.ceil(STEP * MIB)
            is_high = resident > 0.9 * self.limit
            if after > before:
                assert not is_high
                assert after <= before + portion
                assert since_high + SHRINK_SECONDS >= TURN_SECONDS
                is_low = resident < 0.8 * self.limit
                assert is_low or resident + portion <= 0.9 * self.limit
                assert is_low or self.clock.now - max(self.exceeded, self.stepped) >= PROBE_SECONDS
            if is_high:  # growth above the mark is made good by the very next look
                assert after < before or after <= math.ceil(FLOOR * MIB)
                self.exceeded = self.clock.now
            if after != before:
                self.stepped = self.clock.now
            assert FLOOR * MIB <= after <= MIB
            assert (state is PressureState.CALM) == (after == MIB)
            if full and after > before:
                self.refill()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(60, 110), st.integers(1, 200), st.booleans()), max_size=10))
def test_whatever_happens_no_swing_is_faster_than_documented_and_81_percent_gives_all_back(
    story: list[tuple[int, int, bool]],
) -> None:
    """Even after the longest waits, within 12 hours; the budget stays between floor and configuration."""
    machine = SmallMachine()
    for percent, looks, full in story:
        machine.stay(percent * machine.limit // 100, looks, full=full)
    machine.cache.check_invariants()
    for _ in range(math.ceil(19 * MOST_DOUBT * PROBE_SECONDS / 60)):
        machine.look(81 * machine.limit // 100, seconds=60)
    assert machine.pressure.state is PressureState.CALM
    assert machine.cache.max_bytes == MIB


@pytest.mark.parametrize("minutes", [2, 7, 60, 300])
def test_days_of_peaks_cost_few_wrong_steps(minutes: int) -> None:
    """A minute at 95 % every so often, 81 % between: once the waits are long, one step up in 40 minutes at most."""
    machine = SmallMachine()
    ups = []
    for second in range(0, 3 * 86_400, 20):
        before = machine.cache.max_bytes
        is_peak = second % (60 * minutes) < 60
        machine.look((95 if is_peak else 81) * machine.limit // 100, seconds=20)
        if machine.cache.max_bytes > before:
            ups.append(second)
    last_day = [second for second in ups if second >= 2 * 86_400]
    assert len(last_day) <= 86_400 / (MOST_DOUBT * PROBE_SECONDS) if minutes < 300 else len(last_day) > 18
    assert not last_day if minutes < 40 else last_day


# ---- the thread ----


def watchers() -> list[threading.Thread]:
    """The threads that look."""
    return [thread for thread in threading.enumerate() if thread.name == "dagcache-pressure"]


@pytest.fixture(autouse=True)
def no_watcher_is_left() -> Iterator[None]:
    """Each test ends its own."""
    yield
    for thread in watchers():
        thread.join(PATIENCE)
    assert not watchers()


def watched(resident: Callable[[], int]) -> MemoryPressure:
    """A cache under watch, many times a second."""
    cache: DagCache[Any, Any] = make_cache(max_bytes=MIB)[0]
    pressure = MemoryPressure(cache, limit=lambda: LIMIT, resident=resident)
    pressure.watch(interval=SHORTEST_INTERVAL)
    return pressure


def test_the_thread_steps_until_it_is_stopped() -> None:
    """Started twice, it is one; it can be started again."""
    looked = threading.Event()

    def resident() -> int:
        looked.set()
        return 0

    pressure = watched(resident)
    pressure.watch(interval=SHORTEST_INTERVAL)
    (thread,) = watchers()
    for _ in range(2):
        looked.clear()
        assert looked.wait(PATIENCE)
    assert thread.daemon
    pressure.stop()
    pressure.stop()
    thread.join(PATIENCE)
    assert not watchers()
    looked.clear()
    pressure.watch(interval=SHORTEST_INTERVAL)
    assert looked.wait(PATIENCE)
    pressure.stop()


def test_the_thread_ends_with_the_object() -> None:
    """At once, however long its interval."""
    pressure = watched(lambda: 0)
    pressure.stop()
    pressure.watch(interval=3600)
    thread = watchers()[-1]
    del pressure
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_forked_child_watches_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's thread is not there."""
    pressure, parent = watched(lambda: 0), os.getpid()
    repetition = pressure._repetition
    assert repetition is not None
    monkeypatch.setattr(os, "getpid", lambda: -1)
    pressure.stop()
    pressure.watch(interval=SHORTEST_INTERVAL)
    assert len(watchers()) == 2
    pressure.stop()
    monkeypatch.setattr(os, "getpid", lambda: parent)
    repetition.end()


def test_no_more_threads_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """And can be tried again."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pressure = watched(lambda: 0)
    assert "is not monitored: can't start new thread" in caplog.text
    assert pressure.state is PressureState.OFF
    pressure.watch(interval=SHORTEST_INTERVAL)
    assert watchers()
    pressure.stop()
