"""The same thread comes in again: signal handlers, finalisers, keys with a life of their own, torn sections, forks."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dagcache import DagCache, RecursiveLoadError
from tests.stress.test_threads import until
from tests.support import probe
from tests.support.caches import MIB, Weighted, fill, make_cache, never
from tests.support.patience import PATIENCE
from tests.support.strikes import Stop, strike_until_dead


class Meddling:
    """A key that runs a callback while the cache compares it under the lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.meddle: Any = None

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            meddle()
        return isinstance(other, Meddling) and self.name == other.name


def meddle_in(cache: DagCache[Any, Any], callback: Any) -> None:
    """Run a callback in the middle of a change, on the thread that makes it."""
    stored = Meddling(f"a{len(cache)}")  # never equal to an earlier one, which would stay
    cache[stored] = Weighted("a")
    inside: list[bool] = []

    def under_the_lock() -> None:
        if not probe.holds_lock(cache):
            stored.meddle = under_the_lock  # this was the hit path, which has no lock: wait for the next comparison
            return
        inside.append(True)
        callback()

    stored.meddle = under_the_lock
    cache.get_or_load(Meddling(f"b{len(cache)}"), lambda _: Weighted("b"))
    assert inside == [True]


def test_a_live_entry_can_be_looked_up_from_inside() -> None:
    """It is found in the table that needs no lock, and counted."""
    cache, _ = make_cache()
    fill(cache, ["there"])
    found = []
    meddle_in(cache, lambda: found.append(cache.get("there")))
    assert found == [Weighted("there")]
    cache.check_invariants()


def test_a_load_from_inside_is_served_and_not_kept() -> None:
    """It must not wait for the lock that its own thread holds."""
    cache, _ = make_cache()
    found: list[Any] = []

    def callback() -> None:
        found.append(cache.get_or_load("new", lambda key: Weighted(key)))
        found.append(cache.get_or_load("none", lambda _: None))
        found.append(cache.get("absent", 7))

    meddle_in(cache, callback)
    assert found == [Weighted("new"), None, 7]
    assert "new" not in cache
    cache.check_invariants()


def test_changes_from_inside_take_effect_afterwards() -> None:
    """Assignments, deletions, resizing and clearing wait until the interrupted change is complete."""
    cache, _ = make_cache()
    fill(cache, ["old"])

    def callback() -> None:
        cache["new"] = Weighted("new")
        del cache["old"]
        cache.resize("10MiB")
        with pytest.raises(KeyError):
            del cache["never there"]
        assert "old" in cache

    meddle_in(cache, callback)
    assert "new" in cache
    assert "old" not in cache
    assert cache.max_bytes == 10 * MIB
    cache.check_invariants()
    meddle_in(cache, cache.clear)
    assert len(cache) <= 1
    cache.check_invariants()


def test_looking_at_the_cache_from_inside_works() -> None:
    """A handler that logs statistics does not wait for itself."""
    cache, clock = make_cache(ttl=10)
    fill(cache, ["a"])
    clock.advance(11)
    seen: list[Any] = []
    meddle_in(cache, lambda: seen.extend([cache.stats().name, len(cache.entries()) > 0, repr(cache)]))
    assert seen[:2] == ["default", True]
    meddle_in(cache, cache.check_invariants)


def test_a_change_from_inside_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """There is no caller left to raise to."""
    cache, _ = make_cache()

    def callback() -> None:
        probe.defer(cache, lambda: [][0])

    with caplog.at_level(logging.ERROR, logger="dagcache"):
        meddle_in(cache, callback)
    assert "waited for its turn" in caplog.text
    cache.check_invariants()


def test_a_key_whose_comparison_fails_tears_nothing_apart(caplog: pytest.LogCaptureFixture) -> None:
    """The error reaches the caller; the totals are recomputed before anything else happens."""
    cache, _ = make_cache(max_bytes=MIB)
    fill(cache, range(20))

    def fail() -> None:
        raise OSError("a key with a broken comparison")

    with pytest.raises(OSError, match="broken comparison"):
        meddle_in(cache, fail)
    with caplog.at_level(logging.WARNING, logger="dagcache"):
        cache.check_invariants()
    assert "recomputed" in caplog.text
    fill(cache, range(20))
    cache.check_invariants()


def fill_slowly(cache: Any, clock: Any, keys: range) -> None:
    """As `fill`, five seconds apart."""
    for key in keys:
        clock.advance(5)
        fill(cache, [key])


def interrupted_at(call: int, step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, interrupted at the start of that call of it, counted from one."""
    calls = 0

    def interrupted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return step(*args)

    return interrupted


@pytest.mark.parametrize("torn", ["enter the ledger", "leave the ledger", "evict", "demote", "add an entry"])
def test_an_interrupt_at_any_point_of_a_change_is_mended(torn: probe.Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step of the store, every total is right afterwards and the budget holds."""
    for strike in range(1, 6):
        cache, clock = make_cache(max_bytes=MIB, ttl=1000, version_of=lambda key: ("family", key))
        fill(cache, range(15))
        with monkeypatch.context() as patch:
            probe.replace_step(patch, cache, torn, functools.partial(interrupted_at, strike))
            with pytest.raises(KeyboardInterrupt):
                fill_slowly(cache, clock, range(15, 60))
        cache.check_invariants()
        fill(cache, range(60))
        cache.check_invariants()


def test_a_signal_handler_may_use_the_cache() -> None:
    """A timer's handler looks up, assigns and deletes in the middle of everything; nothing hangs or breaks."""
    cache, _ = make_cache(max_bytes=MIB)
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        with contextlib.suppress(RecursiveLoadError):  # the interrupted thread is loading this very key
            cache.get_or_load(handled % 30, lambda key: Weighted(key))
        cache[("signal", handled % 5)] = Weighted(handled)
        cache.pop(("signal", (handled + 2) % 5), None)
        # Each handler sets off the next one: a timer that repeats would dispose a slow machine in nested handlers.
        signal.setitimer(signal.ITIMER_REAL, 0.0007 if handled < 300 else 0)

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0007)
    try:
        turn = 0
        while handled < 300:
            cache.get_or_load(turn % 30, lambda key: Weighted(key))
            turn += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert cache.stats().internal_errors == 0
    cache.check_invariants()


def test_a_handler_may_ask_for_what_its_own_thread_is_thawing() -> None:
    """It gets a copy of its own instead of waiting for itself."""
    cache, _ = make_cache(max_bytes=300 * 1024)
    fill(cache, range(4))
    key = next(info.key for info in cache.entries() if info.tier == "frozen")
    whole = probe.freezer(cache)
    inner: list[Any] = []

    class Interrupted:
        freeze = whole.freeze

        def thaw(self, data: bytes) -> object:
            if not inner:
                inner.append(None)
                inner.append(cache.get_or_load(key, never))
            return whole.thaw(data)

    probe.replace_freezer(cache, Interrupted())
    before = cache.stats().hits_frozen
    assert cache.get_or_load(key, never) == inner[1] == Weighted(key)
    assert cache.stats().hits_frozen - before == 2
    cache.check_invariants()


def test_a_loaders_error_comes_without_a_context_of_ours() -> None:
    """No "during handling of" in a scheduler's log that leads nowhere."""
    cache, _ = make_cache()

    def failing(_key: object) -> None:
        raise LookupError

    with pytest.raises(LookupError) as caught:
        cache.get_or_load("a", failing)
    assert caught.value.__context__ is None


def test_exceptions_thrown_into_a_thread_leave_no_lock_and_no_flight_behind() -> None:
    """Wherever a hundred of them strike: afterwards every key can be loaded and every total is right."""
    cache, _ = make_cache(max_bytes=MIB)

    turns = 0

    def work() -> None:
        nonlocal turns
        turn = turns
        while True:
            turns = turn = turn + 1
            cache.get_or_load(turn % 40, lambda key: Weighted(key))
            if turn % 11 == 0:
                cache[turn % 40] = Weighted(turn)

    def victim(go: threading.Event) -> None:
        with contextlib.suppress(Stop):
            sys.settrace(None)  # a strike within a tool that measures coverage would leave that tool's lock held
            go.wait(PATIENCE)
            work()

    for strike in range(100):
        thread = threading.Thread(target=victim, args=(go := threading.Event(),))
        goal = turns + strike % 17
        thread.start()
        go.set()  # at work at once it would make `start` wait for its turn, again and again
        until(lambda goal=goal: turns > goal)  # type: ignore[misc]
        strike_until_dead(thread, pause=0.01)
        assert not probe.holds_lock(cache)
        for _ in range(3):
            cache.stats()  # looks at the values that wait: a strike there may have lost one, and its bytes with it
        cache.check_invariants()
    for key in range(40):
        assert cache.get_or_load(key, lambda key: Weighted(key)) is not None
    assert probe.internal_errors(cache) == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_working_empty_cache() -> None:
    """Also when another thread holds the lock, or a load is under way, at the moment of the fork."""
    cache, _ = make_cache(max_bytes=MIB)
    fill(cache, range(5))
    get = cache.get
    release = threading.Event()
    inside = threading.Event()

    def hold() -> None:
        inside.set()
        release.wait(PATIENCE)

    def loader(key: object) -> Weighted:
        release.wait(PATIENCE)
        return Weighted(key)

    holder = threading.Thread(target=probe.run_locked, args=(cache, hold))
    holder.start()
    assert inside.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        os._exit(_exit_code(cache, get))
    release.set()
    _, status = os.waitpid(child, 0)
    holder.join(PATIENCE)
    assert os.waitstatus_to_exitcode(status) == 0
    assert cache.get_or_load(0, never) == Weighted(0)
    cache.check_invariants()


def _exit_code(cache: DagCache[Any, Any], get: Any) -> int:
    """The checks of a forked child: 0 if all pass, else the number of the first failure."""
    signal.alarm(20)
    checks: list[Callable[[], object]] = [
        lambda: len(cache) == 0,
        lambda: cache.max_bytes == MIB,
        lambda: get(0) is None,
        lambda: cache.get_or_load("new", lambda key: Weighted(key)) == Weighted("new"),
        lambda: cache.get("new") == get("new") == Weighted("new"),
        lambda: cache.stats().loads == 1,
        lambda: cache.check_invariants() or True,  # type: ignore[func-returns-value]
    ]
    try:
        return next((number for number, check in enumerate(checks, 1) if not check()), 0)
    except BaseException:
        return 99
