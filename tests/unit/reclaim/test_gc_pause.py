"""The host's collections are not held up for long, and its settings survive."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcache.reclaim import gc_pause
from dagcache.reclaim.gc_pause import LONGEST_WAIT, SELDOM, collector_is_off, gc_paused, gc_relaxed
from tests.support.builds import with_global_lock
from tests.support.caches import automatic_gc_off
from tests.support.clock import ManualClock
from tests.support.strikes import Stop, strike_until_dead

KINDS = [gc_paused, gc_relaxed]
_DUE = 20_000
"""Objects after which any host's thresholds call for a collection."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The clock that measures the time for which a collection has been due."""
    clock = ManualClock()
    monkeypatch.setattr(gc_pause._turns, "clock", clock)
    monkeypatch.setattr(gc_pause._turns, "_due_since", None)
    return clock


def cycles(number: int) -> None:
    """Leave so much to the collector: two objects each."""
    for _ in range(number):
        cycle: list[Any] = [[]]
        cycle[0].append(cycle)


def open_and_close(kind: Any) -> None:
    """A block that takes no time."""
    with kind():
        pass


@with_global_lock
@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("outer", KINDS)
def test_a_collection_that_has_been_due_for_long_runs_although_a_block_is_open(
    outer: Any, inner: Any, clock: ManualClock, collections: list[int]
) -> None:
    """When the next block opens; that block and the one around it are in force again afterwards."""
    with outer():
        cycles(_DUE)
        open_and_close(inner)
        clock.advance(LONGEST_WAIT * 0.9)
        open_and_close(inner)
        assert not collections
        clock.advance(LONGEST_WAIT * 0.2)
        before = gc.isenabled(), gc.get_threshold()
        with inner():
            assert len(collections) == 1
            cycles(_DUE)
            assert len(collections) == 1
        assert (gc.isenabled(), gc.get_threshold()) == before


@with_global_lock
@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_that_is_not_due_does_not_run(kind: Any, clock: ManualClock, collections: list[int]) -> None:
    """However long a block has been open."""
    with kind():
        for _ in range(10):
            clock.advance(LONGEST_WAIT)
            open_and_close(kind)
    assert not collections


@with_global_lock
@pytest.mark.parametrize("kind", KINDS)
def test_a_collection_waits_for_a_hundred_thousand_objects_at_most(
    kind: Any, clock: ManualClock, collections: list[int]
) -> None:
    """Even if they come in no time."""
    with kind():
        cycles(SELDOM)
        open_and_close(kind)
        assert collections


@with_global_lock
@pytest.mark.usefixtures("clock")
def test_a_single_relaxed_block_does_not_stop_collections(collections: list[int]) -> None:
    """It may hang, and no other may ever open."""
    with gc_relaxed():
        cycles(3 * SELDOM)
        assert len(collections) >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_collector_that_the_host_has_switched_off_gets_no_turn(
    kind: Any, clock: ManualClock, collections: list[int]
) -> None:
    """Other code has switched it off."""
    with automatic_gc_off(), kind():
        cycles(_DUE)
        open_and_close(kind)
        clock.advance(LONGEST_WAIT * 2)
        open_and_close(kind)
        assert not collections


@with_global_lock
@pytest.mark.parametrize("kind", KINDS)
def test_garbage_of_the_host_does_not_pile_up_while_some_block_is_always_open(
    kind: Any, collections: list[int]
) -> None:
    """As while two threads keep thawing: each opens a block before the other has closed its own."""
    held: deque[object] = deque()
    most = blocks = 0

    class Node:
        alive = 0

        def __init__(self) -> None:
            self.me = self
            Node.alive += 1

        def __del__(self) -> None:
            Node.alive -= 1

    def make_garbage() -> None:
        nonlocal most
        while len(collections) < 30 and most < 3 * SELDOM:
            seen = blocks
            for _ in range(1000):
                Node()
            most = max(most, Node.alive)
            while blocks == seen:  # on a busy machine the other thread may get no turn for long
                time.sleep(0)

    host = threading.Thread(target=make_garbage)
    host.start()
    while host.is_alive():
        block = kind()
        block.__enter__()
        held.append(block)
        blocks += 1
        if len(held) > 1:
            held.popleft().__exit__()  # type: ignore[attr-defined]
    held.pop().__exit__()  # type: ignore[attr-defined]
    assert len(collections) >= 30
    assert most < 3 * SELDOM


def test_a_host_that_restores_what_it_found_in_a_block_gets_what_it_had_set() -> None:
    """Later, when no block is open any more: with the next one that opens and closes."""
    usual = gc.get_threshold()
    with gc_relaxed():
        found = gc.get_threshold()
    gc.set_threshold(*found)
    open_and_close(gc_relaxed)
    assert gc.get_threshold() == usual


def test_a_threshold_of_never_is_a_collector_that_is_off() -> None:
    """Values must not wait for it."""
    usual = gc.get_threshold()
    gc.set_threshold(0)
    try:
        assert collector_is_off()
        with gc_paused(), gc_relaxed():
            assert collector_is_off()
    finally:
        gc.set_threshold(*usual)
    assert not collector_is_off()


# ---- any order


class Model:
    """The expected state of the collector."""

    def __init__(self) -> None:
        self.usual = gc.get_threshold()
        self.enabled = True
        self.youngest = self.usual[0]
        self.open: list[Any] = []

    def count(self, kind: Any) -> int:
        """How many blocks of a kind are open."""
        return sum(isinstance(block, kind) for block in self.open)

    def check(self) -> None:
        """The collector is in the state that the host has set, except for the changes of open blocks."""
        assert gc.isenabled() == (self.enabled and not self.count(gc_paused))
        assert collector_is_off() == (not self.enabled or not self.youngest)
        seldom = self.count(gc_relaxed) and self.youngest
        assert gc.get_threshold()[0] in ({SELDOM, self.youngest} if seldom else {self.youngest})

    def end(self) -> None:
        """As it was in the beginning."""
        while self.open:
            self.open.pop().__exit__()
        self.check()
        gc.enable()
        gc.set_threshold(*self.usual)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["pause", "relax", "reenter"]), st.just(0)),
        st.tuples(st.sampled_from(["close", "drop", "close twice"]), st.integers(0, 9)),
        st.tuples(st.just("host"), st.sampled_from([True, False])),
        st.tuples(st.just("threshold"), st.sampled_from([0, 700, 5_000])),
        st.tuples(st.just("time"), st.integers(0, 3)),
        st.tuples(st.just("garbage"), st.integers(0, 3_000)),
        st.tuples(st.just("child"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(OPERATIONS)
def test_in_any_order_the_collector_is_as_the_host_wants_it(operations: list[tuple[str, int]]) -> None:
    """Blocks of both kinds that overlap in any way, end in any way, and a host that changes its mind."""
    model, clock = Model(), ManualClock()
    previous, gc_pause._turns.clock = gc_pause._turns.clock, clock
    try:
        for name, number in operations:
            do(model, clock, name, number)
            model.check()
    finally:
        model.end()
        gc_pause._turns.clock = previous


def do(model: Model, clock: ManualClock, name: str, number: int) -> None:
    """One operation."""
    if name in ("pause", "relax"):
        block = (gc_paused if name == "pause" else gc_relaxed)()
        block.__enter__()
        model.open.append(block)
    elif name in ("close", "drop", "close twice") and model.open:
        block = model.open.pop(number % len(model.open))
        for _ in range(("drop", "close", "close twice").index(name)):
            block.__exit__()
        del block
    elif name == "host" and not model.count(gc_paused):
        model.enabled = bool(number)
        gc.enable() if number else gc.disable()
    elif name == "threshold":
        model.youngest = number
        gc.set_threshold(number, *model.usual[1:])
    elif name == "time":
        clock.advance(number * LONGEST_WAIT / 2)
    elif name == "garbage":
        cycles(number)
    elif name == "child":
        gc_pause._restart_in_child()
        model.open.clear()


# ---- interrupts


def at_line(number: int, act: Callable[[], object]) -> Callable[[FrameType, str, Any], Any]:
    """A tracer that does something when so many lines of the module have been reached: there a handler may run."""
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != gc_pause.__file__:
            return None
        if event == "line":
            left -= 1
            if not left:
                act()
        return trace

    return trace


def use_both(clock: ManualClock) -> None:
    """Blocks in each other, and one before which the collector has its turn."""
    with gc_relaxed():
        with gc_paused():
            pass
        cycles(_DUE)
        open_and_close(gc_paused)
        clock.advance(2 * LONGEST_WAIT)
        open_and_close(gc_relaxed)


def act_before_every_line(clock: ManualClock, act: Callable[[], object]) -> int:
    """Do everything again and again, and act before the first line, the second, ...; how many lines there were."""
    gc.collect()
    usual, number, acted = (gc.isenabled(), gc.get_threshold()), 0, True

    def act_once() -> None:
        nonlocal acted
        acted = True
        act()

    while acted:
        number += 1
        acted = False
        previous = sys.gettrace()
        sys.settrace(at_line(number, act_once))
        try:
            use_both(clock)
        except Stop:
            pass
        finally:
            sys.settrace(previous)
        assert (gc.isenabled(), gc.get_threshold(), collector_is_off()) == (*usual, False)
        assert not gc_pause._off._blocks
        assert not gc_pause._seldom._blocks
    return number


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_opens_a_block_before_any_line_leaves_the_collector_as_it_was(
    kind: Any, clock: ManualClock
) -> None:
    """It may run in the middle of opening and closing another."""
    assert act_before_every_line(clock, lambda: open_and_close(kind)) > 80


def test_an_interrupt_before_any_line_leaves_the_collector_as_it_was(clock: ManualClock) -> None:
    """The death of the block ends it."""

    def strike() -> None:
        raise Stop

    assert act_before_every_line(clock, strike) > 80


@pytest.mark.parametrize("kind", KINDS)
def test_interrupts_leave_the_collector_as_it_was(kind: Any) -> None:
    """Thrown into threads that open and close blocks: none stays open, no thread hangs."""
    usual = gc.isenabled(), gc.get_threshold()

    def work() -> None:
        try:
            sys.settrace(None)
            open_and_close_forever()
        except Stop:
            pass

    def open_and_close_forever() -> None:
        while True:
            with kind():
                open_and_close(kind)

    for _ in range(50):
        threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        strike_until_dead(*threads)
        assert (gc.isenabled(), gc.get_threshold()) == usual
