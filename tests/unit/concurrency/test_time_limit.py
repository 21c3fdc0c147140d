"""Actions with a time limit."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dagcache.concurrency.time_limit import ended_within, results_within, start, try_elsewhere, try_for
from tests.support.patience import PATIENCE


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """An event that hanging actions wait for; set in the end."""
    event = threading.Event()
    yield event
    event.set()


def test_an_action_that_ends_in_time_has_ended() -> None:
    """All of it was done."""
    done: list[int] = []
    assert try_for(PATIENCE, lambda: done.append(1), "test")
    assert done == [1]


def test_an_action_that_hangs_goes_on(released: threading.Event) -> None:
    """The caller stops waiting; the action ends later."""
    ended = threading.Event()

    def action() -> None:
        released.wait(PATIENCE)
        ended.set()

    assert not try_for(0.05, action, "test")
    released.set()
    assert ended.wait(PATIENCE)


def test_calls_that_hang_do_not_hold_the_others_up(released: threading.Event) -> None:
    """Each result is in the place of its call."""
    calls = [lambda: "one", lambda: str(released.wait(PATIENCE)), lambda: "three"]
    assert results_within(0.5, calls, "late", "test") == ["one", "late", "three"]


def test_calls_run_at_the_same_time() -> None:
    """They can wait for each other."""
    barrier = threading.Barrier(3, timeout=PATIENCE)
    assert sorted(results_within(PATIENCE, [barrier.wait] * 3, -1, "test")) == [0, 1, 2]


def test_no_calls_have_no_results() -> None:
    """And take no time."""
    assert results_within(0.0, [], 1, "test") == []


class _NoThread(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_without_threads_actions_run_in_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the end of the interpreter."""
    monkeypatch.setattr(threading, "Thread", _NoThread)
    ran_in: list[int] = []
    thread = start(lambda: ran_in.append(threading.get_ident()), "test")
    assert ran_in == [threading.get_ident()]
    assert ended_within(PATIENCE, [thread]) == [True]
    assert results_within(PATIENCE, [lambda: 5], 0, "test") == [5]


def test_an_action_that_must_not_run_in_the_callers_thread_does_not_run_without_threads(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    """It could hang there."""
    done: list[int] = []
    assert try_elsewhere(PATIENCE, lambda: done.append(1), "test") is True
    assert try_elsewhere(0.05, lambda: released.wait(PATIENCE), "test") is False
    monkeypatch.setattr(threading, "Thread", _NoThread)
    assert try_elsewhere(PATIENCE, lambda: done.append(2), "test") is None
    assert done == [1]
