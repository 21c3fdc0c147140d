"""The first steps of a forked child, run here: coverage and debuggers do not see into a child."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from dagcache import forks
from dagcache.core.parts import ORPHANS
from dagcache.reclaim import gc_pause
from dagcache.reclaim.gc_pause import gc_paused, gc_relaxed
from tests.support import probe
from tests.support.caches import MIB, Weighted, automatic_gc_off, fill, make_cache, never
from tests.support.patience import PATIENCE


def test_a_childs_caches_start_empty_with_the_budget_in_force() -> None:
    """Inherited values are neither served nor destroyed, because that would copy their pages."""
    (first, _), (second, _) = make_cache(max_bytes=0, name="first"), make_cache(max_bytes=MIB, name="second")
    fill(first, range(3))
    fill(second, range(3))
    first.resize(2 * MIB)
    old_get, entries, inherited = first.get, probe.entries(first), probe.parts(first)
    forks.run_steps()
    assert (len(first), len(second)) == (0, 0)
    assert (first.max_bytes, second.max_bytes) == (2 * MIB, MIB)
    assert old_get(0) is None
    assert len(entries) == 3
    assert all(part in ORPHANS for part in inherited)
    fill(first, [0])
    assert first.get_or_load(0, never) == old_get(0) == Weighted(0)
    assert first.stats().lookups == 4
    first.check_invariants()
    for part in inherited:
        ORPHANS.remove(part)


def test_a_child_ends_all_pauses_of_the_collector() -> None:
    """With a lock of its own; blocks that end later in the child change nothing."""
    inside, release = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        release.wait(PATIENCE)

    with gc_paused():
        holder = threading.Thread(target=gc_pause._off._lock.run, args=(hold,))
        holder.start()
        assert inside.wait(PATIENCE)
        gc_pause._restart_in_child()
        release.set()
        holder.join(PATIENCE)
        assert gc.isenabled()
        gc.disable()
        assert gc_pause.collector_is_off()
    assert not gc.isenabled()
    gc.enable()


def test_a_child_without_pauses_leaves_the_collector_as_it_is() -> None:
    """Off by the host's wish, it stays off."""
    with automatic_gc_off():
        gc_pause._restart_in_child()
        assert gc_pause.collector_is_off()


def test_a_child_of_a_fork_in_a_load_collects_as_often_as_before() -> None:
    """The thread that loads may not exist in the child."""
    before = gc.get_threshold()
    with gc_relaxed():
        gc_pause._restart_in_child()
        assert gc.get_threshold() == before
    assert gc.get_threshold() == before


def test_ending_a_pause_twice_ends_it_once() -> None:
    """The second time there is nothing to end."""
    pause = gc_paused()
    with gc_paused():
        pause.__enter__()
        pause.__exit__()
        pause.__exit__()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_steps_run_in_the_order_of_their_registration() -> None:
    """Functions and methods alike."""
    ran: list[object] = []
    steps = [Stepping(ran, 1), Stepping(ran, 2)]
    for step in steps:
        forks.after_fork_in_child(step.step)
    forks.run_steps()
    assert ran == [1, 2]


def test_a_step_does_not_keep_its_object_alive() -> None:
    """It ends with the object; a thousand of them leave no thousand places in the registry."""
    ran: list[object] = []
    gc.collect()
    for number in range(1000):
        forks.after_fork_in_child(Stepping(ran, number).step)
    assert len(forks._steps) < 100
    forks.run_steps()
    assert not ran


def test_an_end_of_an_object_runs_no_code_of_the_registry() -> None:
    """An interrupt there would be lost, and a callback may fail in an interpreter that ends."""
    step = Stepping([], 1)
    forks.after_fork_in_child(step.step)
    assert [reference.__callback__ for reference in weakref.getweakrefs(step)] == [None]


def test_a_step_that_fails_is_a_line_in_the_log_and_the_next_ones_run(caplog: pytest.LogCaptureFixture) -> None:
    """Not the text of the error: it may hold content of a DAG."""
    ran: list[object] = []
    failing, sound = Stepping(ran, ValueError("secret")), Stepping(ran, 2)
    forks.after_fork_in_child(failing.step)
    forks.after_fork_in_child(sound.step)
    forks.run_steps()
    assert ran == [2]
    assert [record.getMessage() for record in caplog.records] == ["a step of a forked child failed: ValueError"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_runs_the_steps_and_its_parent_does_not() -> None:
    """The interpreter calls them."""
    ran: list[object] = []
    step = Stepping(ran, 1)
    forks.after_fork_in_child(step.step)
    child = os.fork()
    if not child:
        os._exit(0 if ran == [1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not ran


class Stepping:
    """An object with a step."""

    def __init__(self, ran: list[object], outcome: object) -> None:
        self._ran = ran
        self._outcome = outcome

    def step(self) -> None:
        """Note that it ran, or fail."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        self._ran.append(self._outcome)


class Owner:
    """An object with a step that drops another one."""

    def __init__(self, owned: Stepping) -> None:
        self._owned: Stepping | None = owned

    def step(self) -> None:
        """Drop it."""
        self._owned = None


def test_a_step_runs_although_an_earlier_one_drops_the_last_reference_to_its_object() -> None:
    """A component drops its endpoint, and the child must still close the endpoint's socket."""
    ran: list[object] = []
    owned = Stepping(ran, 1)
    owner = Owner(owned)
    forks.after_fork_in_child(owner.step)
    forks.after_fork_in_child(owned.step)
    del owned
    forks.run_steps()
    assert ran == [1]
