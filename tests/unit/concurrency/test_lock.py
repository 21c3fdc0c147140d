"""The lock: one at a time, re-entrant; no interrupt leaks it; a lock that leaks otherwise is taken back."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any, final

import pytest

from dagcache.concurrency import lock as lock_module
from dagcache.concurrency.lock import Lock
from tests.stress.test_threads import until
from tests.support.builds import with_global_lock
from tests.support.leaks import leak
from tests.support.patience import PATIENCE
from tests.support.strikes import Stop, strike_until_dead

_SOON = 0.002
"""Seconds after which a waiter looks at the holder."""


def in_thread(action: Callable[[], object]) -> threading.Thread:
    """Start an action elsewhere."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


@final
class Held:
    """A lock that another thread holds until it is asked to release it."""

    def __init__(self, lock: Lock) -> None:
        self.release = threading.Event()
        inside = threading.Event()

        def hold() -> None:
            inside.set()
            assert self.release.wait(PATIENCE)

        self.thread = in_thread(lambda: lock.run(hold))
        assert inside.wait(PATIENCE)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.thread.join(PATIENCE)


def is_free(lock: Lock) -> bool:
    """Whether nothing holds it."""
    return lock_module._HOLDER not in lock._slot


def test_an_action_gets_its_arguments_and_its_result_comes_back() -> None:
    """Afterwards the lock is free."""
    lock = Lock()
    assert lock.run(divmod, 7, 2) == (3, 1)
    assert is_free(lock)


def test_an_action_that_fails_frees_the_lock() -> None:
    """Its error comes through."""
    lock = Lock()
    with pytest.raises(ZeroDivisionError):
        lock.run(divmod, 7, 0)
    assert is_free(lock)


def test_an_action_may_run_another() -> None:
    """The lock is free when the outer one has ended."""
    lock = Lock()
    assert lock.run(lambda: (lock.run(lock.entered), lock.entered())) == (True, True)
    assert is_free(lock)


def test_only_the_thread_that_runs_an_action_has_entered() -> None:
    """The question is about the thread that asks."""
    lock = Lock()
    assert not lock.entered()
    with Held(lock):
        assert not lock.entered()


def test_actions_of_several_threads_run_one_after_the_other() -> None:
    """However many wait."""
    lock = Lock()
    inside, most, done = 0, 0, 0

    def action() -> None:
        nonlocal inside, most, done
        inside += 1
        most = max(most, inside)
        for _ in range(20):
            pass
        inside -= 1
        done += 1

    def work() -> None:
        for _ in range(500):
            lock.run(action)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [in_thread(work) for _ in range(8)]
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    assert (most, done) == (1, 4000)
    assert is_free(lock)


def test_a_waiter_is_woken_as_soon_as_the_lock_is_free() -> None:
    """It does not wait for its look at the holder."""
    lock = Lock(poll_seconds=1e6)
    with Held(lock) as held:
        waiters = [in_thread(lambda: lock.run(bool)) for _ in range(5)]
        until(lambda: len(lock._waiting) == 5)
        held.release.set()
        for waiter in waiters:
            waiter.join(PATIENCE)
            assert not waiter.is_alive()


def test_who_is_overtaken_again_and_again_minds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is served."""
    monkeypatch.setattr(lock_module, "_PATIENCE", 0)
    lock = Lock(poll_seconds=1e6)
    with Held(lock) as held:
        waiter = in_thread(lambda: lock.run(bool))
        until(lambda: bool(lock._impatient))
        held.release.set()
        waiter.join(PATIENCE)
    assert not lock._impatient
    assert not lock._waiting


def test_room_is_made_for_those_who_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that releases the lock yields the processor to waiters for a moment.

    Otherwise it would take the lock again first.
    """
    pauses: list[float] = []
    monkeypatch.setattr(lock_module, "time", SimpleNamespace(sleep=pauses.append))
    lock, waiter = Lock(), object()
    lock._waiting.add(waiter)
    lock.run(bool)
    assert not pauses
    lock._impatient.add(waiter)
    lock.run(bool)
    assert pauses == [lock_module._ROOM_SECONDS]


def test_who_tries_does_not_wait() -> None:
    """Neither for another thread nor for its own."""
    lock = Lock()
    done: list[int] = []
    assert lock.try_run(done.append, 1)
    assert not lock.run(lock.try_run, done.append, 2)
    with Held(lock):
        assert not lock.try_run(done.append, 3)
    assert lock.try_run(done.append, 4)
    assert done == [1, 4]


# ---- leaks ----


def test_a_thread_that_leaked_the_lock_gets_it_again_at_once() -> None:
    """It is not taken for being inside, and does not wait for itself."""
    noted: list[int] = []
    lock = Lock(lambda: noted.append(1), poll_seconds=1e6)
    error = leak(lock)
    assert not is_free(lock)
    assert not lock.entered()
    assert lock.run(lock.entered)
    assert noted == [1]
    assert is_free(lock)
    del error


def test_a_thread_that_leaked_the_lock_may_try_again() -> None:
    """As above."""
    lock = Lock()
    error = leak(lock)
    assert lock.try_run(bool)
    del error


def test_the_lock_of_a_thread_that_is_gone_is_taken_back() -> None:
    """Even though the frame that held it is still referred to."""
    noted: list[int] = []
    errors: list[BaseException] = []
    lock = Lock(lambda: noted.append(1), poll_seconds=_SOON)
    in_thread(lambda: errors.append(leak(lock))).join(PATIENCE)
    assert not is_free(lock)
    assert lock.run(lock.entered)
    assert noted == [1]


@with_global_lock
def test_the_lock_of_a_thread_that_is_elsewhere_is_taken_back() -> None:
    """The thread lives, and runs other code. When it returns it queues like all others."""
    noted: list[int] = []
    lock = Lock(lambda: noted.append(1), poll_seconds=_SOON)
    leaked, go_on = threading.Event(), threading.Event()
    entered: list[bool] = []

    def live_on() -> None:
        error = leak(lock)
        leaked.set()
        assert go_on.wait(PATIENCE)
        entered.append(lock.run(lock.entered))
        del error

    thread = in_thread(live_on)
    assert leaked.wait(PATIENCE)
    assert lock.run(lock.entered)
    go_on.set()
    thread.join(PATIENCE)
    assert entered == [True]
    assert noted == [1]
    assert is_free(lock)


def test_the_lock_of_a_thread_that_is_inside_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a waiter looks."""
    lock = Lock(pytest.fail, poll_seconds=_SOON)
    looks: list[bool] = []
    has_ended = lock_module._has_ended

    def look(token: Any) -> bool:
        looks.append(has_ended(token))
        return looks[-1]

    monkeypatch.setattr(lock_module, "_has_ended", look)
    with Held(lock) as held:
        waiter = in_thread(lambda: lock.run(bool))
        until(lambda: len(looks) > 20)
        assert waiter.is_alive()
        held.release.set()
        waiter.join(PATIENCE)
    assert not any(looks)


def test_a_generator_that_yields_while_a_stack_is_looked_at_decides_nothing() -> None:
    """It forgets its caller, so the frames below it are no longer visible."""

    def generate() -> Iterator[int]:
        yield 1

    generator: Any = generate()
    next(generator)
    assert lock_module._is_on_stack(-1, generator.gi_frame) is None
    assert lock_module._is_on_stack(-1, sys._getframe()) is False


def test_of_many_that_take_a_lock_back_one_is_the_first() -> None:
    """Mutual exclusion holds, and the lost one is taken back once, however many look at the same time."""
    for _ in range(20):
        lock = Lock(poll_seconds=_SOON)
        errors: list[BaseException] = []
        in_thread(lambda lock=lock, errors=errors: errors.append(leak(lock))).join(PATIENCE)  # type: ignore[misc]
        lost = lock._slot
        counted = [0]

        def count(counted: list[int] = counted) -> None:
            seen = counted[0]
            for _ in range(5):
                pass
            counted[0] = seen + 1

        def work(lock: Lock = lock, count: Callable[[], None] = count) -> None:
            for _ in range(50):
                lock.run(count)

        threads = [in_thread(work) for _ in range(4)]
        for thread in threads:
            thread.join(PATIENCE)
        assert counted == [200]
        assert lost[lock_module._SUCCESSOR] is lock._slot
        assert is_free(lock)


def test_an_owner_that_comes_back_after_all_frees_nothing_that_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a lock ever be taken back wrongly, its old owner's end leaves the new owner's token alone."""
    lock = Lock(poll_seconds=_SOON)
    with Held(lock) as old:
        with monkeypatch.context() as patch:
            patch.setattr(lock_module, "_has_ended", lambda _: True)
            assert lock._give_up_if_leaked()
        with Held(lock):
            old.release.set()
            old.thread.join(PATIENCE)
            assert not is_free(lock)
            assert not lock.try_run(bool)
    assert is_free(lock)


def test_who_finds_a_leak_late_goes_on_to_where_the_others_are() -> None:
    """Two looked at the same leak; meanwhile the first one's lock was leaked as well, and taken back."""
    lock = Lock()
    first = lock._slot
    errors = [leak(lock)]
    assert lock.run(bool) is False
    errors.append(leak(lock))
    second = lock._slot
    assert lock.run(bool) is False
    third = lock._slot
    assert len({id(first), id(second), id(third)}) == 3
    lock._slot = first  # what a thread does that was about to go over when it lost the processor
    assert lock.run(bool) is False
    assert lock._slot is third


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_takes_back_what_another_thread_held() -> None:
    """That thread is not in the child."""
    lock = Lock(poll_seconds=_SOON)
    with Held(lock):
        child = os.fork()
        if child == 0:
            os._exit(0 if lock.run(lock.entered) and lock.try_run(bool) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- interrupts ----


def act_before_every_line(lock: Lock, act: Callable[[], object]) -> int:
    """Take the lock again and again, and act before the first line of its code, the second, ...; how many there are."""
    number, left, acted = 0, 0, True

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left, acted
        if frame.f_code.co_filename != lock_module.__file__:
            return None
        if event == "line":
            left -= 1
            if not left:
                acted = True
                act()
        return trace

    while acted:
        number += 1
        left, acted = number, False
        previous = sys.gettrace()
        sys.settrace(trace)
        try:
            lock.run(bool)
            lock.try_run(bool)
        except Stop:
            pass
        finally:
            sys.settrace(previous)
        assert not lock.entered()
        assert lock.run(lock.entered)
        assert is_free(lock)
    return number


def test_a_handler_that_runs_before_any_line_is_served() -> None:
    """During an action immediately, else in its turn. It frees only its own lock."""
    lock = Lock(pytest.fail)
    entered: list[bool] = []
    assert act_before_every_line(lock, lambda: entered.append(lock.run(lock.entered))) > 15
    assert all(entered)


def test_a_debugger_that_raises_before_any_line_stops_nobody() -> None:
    """In the finally block that leaks the lock, which is found out."""
    leaks: list[int] = []

    def strike() -> None:
        raise Stop

    assert act_before_every_line(Lock(lambda: leaks.append(1)), strike) > 15
    assert leaks


def test_interrupts_leak_nothing() -> None:
    """Thrown into threads that do nothing but take the lock: none has to be taken back, and none is held at the end."""
    lock = Lock(pytest.fail)

    def work() -> None:
        try:
            sys.settrace(None)
            turn_for_ever()
        except Stop:
            pass

    def turn_for_ever() -> None:
        while True:
            lock.run(bool)
            lock.try_run(bool)

    for _ in range(300):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        strike_until_dead(thread)
        assert is_free(lock)
