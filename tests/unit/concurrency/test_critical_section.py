"""The lock: re-entry, deferral, torn sections."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from dagcache.concurrency.critical_section import CriticalSection
from dagcache.concurrency.lock import POLL_SECONDS
from tests.support.leaks import leak
from tests.support.patience import PATIENCE


class Watched:
    """A critical section that records its events."""

    def __init__(self, afterwards: Callable[[], None] | None = None, poll_seconds: float = POLL_SECONDS) -> None:
        self.seen: list[str] = []
        self.exclusion = CriticalSection(
            repair=lambda: self.seen.append("repair"),
            repaired=lambda: self.seen.append(f"repaired, inside: {self.exclusion.entered()}"),
            after=lambda: afterwards,
            poll_seconds=poll_seconds,
        )


def fail() -> None:
    """An action that does not succeed."""
    raise KeyError


def test_an_action_runs_inside_and_its_result_comes_back() -> None:
    """With its arguments; only this thread is inside, and only meanwhile."""
    exclusion = Watched().exclusion
    assert exclusion.run(lambda *args, end: (exclusion.entered(), *args, end), 1, 2, end=3) == (True, 1, 2, 3)
    assert not exclusion.entered()


def test_another_thread_is_not_inside() -> None:
    """The question is about the thread that asks."""
    exclusion = Watched().exclusion
    answers: list[bool] = []

    def ask_elsewhere() -> None:
        thread = threading.Thread(target=lambda: answers.append(exclusion.entered()))
        thread.start()
        thread.join(PATIENCE)

    exclusion.run(ask_elsewhere)
    assert answers == [False]


def test_what_comes_after_runs_outside() -> None:
    """It destroys and reports, which must not happen under the lock."""
    entered: list[bool] = []
    watched = Watched(lambda: entered.append(watched.exclusion.entered()))
    watched.exclusion.run(lambda: None)
    assert entered == [False]


def test_a_change_from_inside_waits_for_its_turn() -> None:
    """It runs as soon as the first is done, alone; from outside it runs at once."""
    exclusion = Watched().exclusion
    order: list[str] = []

    def first() -> None:
        assert not exclusion.run_or_defer(order.append, "second")
        order.append("first")

    exclusion.run(first)
    assert order == ["first", "second"]
    assert exclusion.run_or_defer(order.append, "third")
    assert order == ["first", "second", "third"]


def test_changes_that_wait_may_put_off_further_ones() -> None:
    """Each in its turn, in the order in which they came."""
    exclusion = Watched().exclusion
    order: list[int] = []

    def change(number: int) -> None:
        order.append(number)
        if number < 3:
            exclusion.run_or_defer(change, number + 1)

    exclusion.run(change, 0)
    assert order == [0, 1, 2, 3]


def test_any_number_of_changes_may_wait() -> None:
    """They run one after the other, not in each other."""
    exclusion = Watched().exclusion
    done: list[int] = []

    def first() -> None:
        for number in range(5000):
            exclusion.run_or_defer(done.append, number)

    exclusion.run(first)
    assert done == list(range(5000))


def test_a_waiting_change_that_fails_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    """There is no caller left to raise to."""
    exclusion = Watched().exclusion
    order: list[str] = []

    def first() -> str:
        exclusion.run_or_defer(fail)
        exclusion.run_or_defer(order.append, "second")
        return "result"

    with caplog.at_level(logging.ERROR, logger="dagcache"):
        assert exclusion.run(first) == "result"
    assert order == ["second"]
    assert "waited for its turn failed" in caplog.text


def test_a_change_that_another_thread_has_taken_on_is_none() -> None:
    """Between seeing that something waits and fetching it, another thread may have been faster."""
    exclusion = Watched().exclusion
    exclusion._run_deferred()
    assert exclusion.run(lambda: 7) == 7


def test_a_torn_section_is_repaired_by_the_next_one() -> None:
    """Once, before it begins. The report of it runs outside the lock."""
    watched = Watched()

    def torn() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched.exclusion.run(torn)
    assert not watched.exclusion.entered()
    assert not watched.seen
    watched.exclusion.run(watched.seen.append, "action")
    watched.exclusion.run(watched.seen.append, "another")
    assert watched.seen == ["repair", "action", "repaired, inside: False", "another"]


def test_a_thread_that_leaked_the_lock_is_not_inside_and_repairs() -> None:
    """It counts as any other thread, because its change may be half-made."""
    watched = Watched()
    error = leak(watched.exclusion._lock)
    assert not watched.exclusion.entered()
    assert watched.exclusion.run_or_defer(watched.seen.append, "action")
    assert watched.seen == ["repair", "action", "repaired, inside: False"]
    del error


def test_a_lock_whose_holder_is_gone_is_replaced_and_what_it_left_is_repaired() -> None:
    watched = Watched(poll_seconds=0.002)
    errors: list[BaseException] = []
    thread = threading.Thread(target=lambda: errors.append(leak(watched.exclusion._lock)))
    thread.start()
    thread.join(PATIENCE)
    watched.exclusion.run(watched.seen.append, "action")
    watched.exclusion.run(watched.seen.append, "another")
    assert watched.seen == ["repair", "action", "repaired, inside: False", "another"]


def test_a_repair_that_fails_is_tried_again() -> None:
    attempts: list[int] = []
    actions: list[str] = []

    def repair() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise MemoryError

    exclusion = CriticalSection(repair=repair, repaired=lambda: None, after=lambda: None)
    with pytest.raises(KeyError):
        exclusion.run(fail)
    with pytest.raises(MemoryError):
        exclusion.run(actions.append, "first")
    exclusion.run(actions.append, "second")
    assert len(attempts) == 2
    assert actions == ["second"]
