"""Repeated actions: their thread, its end, forks."""

from __future__ import annotations

import os
import threading
import weakref

import pytest

from dagcache.concurrency.repetition import _loop, repeat
from tests.support.patience import PATIENCE

SOON = 0.001


class Owner:
    """An object with work to repeat."""

    def __init__(self) -> None:
        self.worked = threading.Event()

    def work(self) -> None:
        self.worked.set()


def threads() -> list[threading.Thread]:
    """Those of this file's repetitions."""
    return [thread for thread in threading.enumerate() if thread.name == "repeated"]


def wait_for_the_end() -> None:
    """Of all threads of repetitions."""
    for thread in threads():
        thread.join(PATIENCE)
    assert not threads()


def test_an_action_is_repeated_until_its_end() -> None:
    """In a daemon thread."""
    owner = Owner()
    repetition = repeat(Owner.work, owner, SOON, "repeated")
    for _ in range(3):
        owner.worked.clear()
        assert owner.worked.wait(PATIENCE)
    assert all(thread.daemon for thread in threads())
    repetition.end()
    repetition.end()
    wait_for_the_end()


def test_the_first_call_can_be_at_once() -> None:
    """However long the interval."""
    owner = Owner()
    repetition = repeat(Owner.work, owner, 3600, "repeated", at_once=True)
    assert owner.worked.wait(PATIENCE)
    repetition.end()
    wait_for_the_end()


def test_the_thread_ends_with_the_owner_however_long_the_interval() -> None:
    """It holds the owner during a call only."""
    owner = Owner()
    repeat(Owner.work, owner, 3600, "repeated")
    reference = weakref.ref(owner)
    del owner
    assert reference() is None
    wait_for_the_end()


def test_a_thread_that_wakes_between_the_death_of_its_owner_and_the_finaliser_ends() -> None:
    """Without a call."""
    called: list[object] = []
    _loop(lambda: None, called.append, threading.Event(), SOON, SOON)  # type: ignore[arg-type]
    assert called == []


def test_the_thread_holds_its_owner_during_a_call_only() -> None:
    """Not while it waits for the next one."""
    owners, alive = [Owner()], list[bool]()
    reference = weakref.ref(owners[0])

    class Stopped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if reference() is not None and not reference().worked.is_set():  # type: ignore[union-attr]
                return False
            owners.clear()
            alive.append(reference() is not None)
            return True

    _loop(reference, Owner.work, Stopped(), SOON, SOON)
    assert alive == [False]


def test_a_forked_child_does_not_touch_the_event_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that does not exist there may hold its lock."""
    owner = Owner()
    repetition = repeat(Owner.work, owner, 3600, "repeated")
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        in_child = repetition.is_here
        repetition.end()
    assert not in_child
    assert not repetition.stopped.is_set()
    repetition.end()
    wait_for_the_end()


def test_without_a_further_thread_the_caller_gets_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        repeat(Owner.work, Owner(), SOON, "repeated")
