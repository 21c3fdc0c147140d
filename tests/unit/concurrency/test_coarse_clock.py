"""The coarse clock, with time and threads that the tests move."""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from dagcache import CoarseClock
from dagcache.concurrency import coarse_clock


class Ticker:
    """A thread that runs when told to."""

    made: list[Ticker]
    refuse = False

    def __init__(self, *, target: Callable[..., None], args: tuple[Any, ...], **_: Any) -> None:
        self.run: Callable[[], None] = functools.partial(target, *args)
        self.made.append(self)

    def start(self) -> None:
        """Do nothing yet."""
        if self.refuse:
            raise RuntimeError("can't start new thread")


class World:
    """The time, what sleeping does, and the tickers that were started."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], object] = lambda: None

        class Tickers(Ticker):
            made: list[Ticker] = []  # noqa: RUF012 - one list per world is meant

        self.tickers = Tickers

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        assert len(self.slept) < 100, "the ticker does not end"
        self.seconds += seconds
        self.on_sleep()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world of its own for the clock's module."""
    world = World()
    monkeypatch.setattr(coarse_clock, "time", SimpleNamespace(monotonic=lambda: world.seconds, sleep=world.sleep))
    monkeypatch.setattr(coarse_clock, "threading", SimpleNamespace(Thread=world.tickers, Lock=threading.Lock))
    return world


def test_before_it_ticks_it_stands_at_infinity(world: World) -> None:
    """Which sends every lookup to the exact time."""
    assert CoarseClock().now == inf
    assert not world.tickers.made


def test_a_call_gives_the_exact_time_and_starts_one_ticker(world: World) -> None:
    """However often it is called."""
    coarse = CoarseClock()
    assert coarse() == 100.0
    world.seconds = 107.5
    assert coarse() == 107.5
    assert len(world.tickers.made) == 1


def test_the_ticker_writes_the_time_at_its_interval(world: World) -> None:
    """And the clock stands at infinity again when it ends."""
    coarse = CoarseClock(interval=0.5)
    seen: list[float] = []

    def look() -> None:
        seen.append(coarse.now)
        if len(seen) == 3:
            coarse.halt()

    world.on_sleep = look
    coarse()
    world.tickers.made[0].run()
    assert seen == [100.0, 100.5, 101.0]
    assert world.slept == [0.5, 0.5, 0.5]
    assert coarse.now == inf


def test_a_halted_clock_starts_again_with_the_next_call(world: World) -> None:
    """And the old ticker does not disturb the new one."""
    coarse = CoarseClock()
    coarse()
    coarse.halt()
    coarse()
    old, new = world.tickers.made
    world.on_sleep = coarse.halt
    coarse.now = 42.0
    old.run()
    assert coarse.now == 42.0
    assert not world.slept
    new.run()
    assert world.slept


def test_a_ticker_that_dies_leaves_the_clock_at_infinity(world: World) -> None:
    """A clock that stands still at an old time would keep entries for ever; the next call starts a new ticker."""
    coarse = CoarseClock()
    coarse()

    def die() -> None:
        raise SystemExit

    world.on_sleep = die
    with pytest.raises(SystemExit):
        world.tickers.made[0].run()
    assert coarse.now == inf
    coarse()
    assert len(world.tickers.made) == 2


def test_where_no_thread_can_be_had_the_time_is_exact(world: World) -> None:
    """At shutdown, or at the process's limit; the next call tries again."""
    world.tickers.refuse = True
    coarse = CoarseClock()
    assert coarse() == 100.0
    assert coarse.now == inf
    world.tickers.refuse = False
    coarse()
    assert len(world.tickers.made) == 2


def test_a_call_while_another_thread_starts_the_ticker_does_not_wait(world: World) -> None:
    """It gets the time."""
    coarse = CoarseClock()
    assert coarse._starting.run(coarse) == 100.0
    assert not world.tickers.made


def test_a_ticker_that_was_started_meanwhile_is_not_started_again(world: World) -> None:
    """Between looking and locking, another thread may have done it."""
    coarse = CoarseClock()
    coarse()
    coarse._start()
    assert len(world.tickers.made) == 1


def test_the_ticker_ends_with_its_clock(world: World) -> None:
    """It does not keep it alive, not even while it sleeps."""
    clocks = [CoarseClock()]
    clocks[0]()
    gone = weakref.ref(clocks[0])
    world.on_sleep = clocks.clear
    world.tickers.made[0].run()
    assert gone() is None
    assert len(world.slept) == 1


def test_a_real_ticker_ticks_and_ends() -> None:
    """The one test with a real thread; it waits for events, not for a time."""
    before = set(threading.enumerate())
    started = time.monotonic()
    coarse = CoarseClock(interval=0.001)
    coarse()
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    while coarse.now == inf:
        assert thread.is_alive()
    assert coarse.now >= started
    coarse.halt()
    thread.join(30)
    assert not thread.is_alive()
    assert coarse.now == inf


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_a_ticker_of_its_own(world: World) -> None:
    """The parent's is not there, and a lock that its other threads held must not matter."""
    coarse = CoarseClock()
    coarse()
    coarse.now = 7.0
    child = coarse._starting.run(os.fork)
    if child == 0:
        stands = coarse.now == inf
        coarse()
        os._exit(0 if stands and len(world.tickers.made) == 2 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert coarse.now == 7.0
