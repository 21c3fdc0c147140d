"""An opening runs in a thread of its own, once, and again after a failure or a loss."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from dagcache.warm_start.opening import Opening
from tests.support.patience import PATIENCE
from tests.support.warm import settled


class Steps:
    """The arguments of an opening, with notes of their calls."""

    def __init__(self, open_part: Callable[[], str]) -> None:
        self.notes: list[str] = []
        self.is_paused = False
        self.opening: Opening[str] = Opening(
            open_part,
            then=lambda part: self.notes.append(f"then {part}"),
            failed=self._fail,
            is_paused=lambda: self.is_paused,
            discard=lambda part: self.notes.append(f"discarded {part}"),
        )
        self.is_off_after_a_failure = False

    def _fail(self, error: Exception) -> None:
        self.notes.append(f"failed: {error}")
        if self.is_off_after_a_failure:
            self.opening.turn_off()


def ready(steps: Steps) -> str | None:
    """The part, after all threads have ended."""
    steps.opening.ready()
    settled()
    return steps.opening.ready()


def test_a_part_is_opened_once_at_the_first_use() -> None:
    calls: list[int] = []
    steps = Steps(lambda: f"part {calls.append(1) or len(calls)}")  # type: ignore[func-returns-value]
    assert (steps.opening.is_new, calls) == (True, [])
    assert ready(steps) == ready(steps) == "part 1"
    assert steps.notes == ["then part 1"]


def test_a_lost_part_is_opened_again_and_another_one_is_not() -> None:
    calls: list[int] = []
    steps = Steps(lambda: f"part {calls.append(1) or len(calls)}")  # type: ignore[func-returns-value]
    part = ready(steps)
    assert part is not None
    steps.opening.lose("another one")
    assert ready(steps) is part
    steps.opening.lose(part)
    assert steps.opening.opened is None
    assert ready(steps) == "part 2"


def test_a_failure_is_tried_again_unless_the_store_is_paused_or_off() -> None:
    calls: list[int] = []

    def fail() -> str:
        calls.append(1)
        raise OSError(f"number {len(calls)}")

    steps = Steps(fail)
    assert ready(steps) is None
    settled()
    assert len(calls) == 2
    steps.is_paused = True
    assert ready(steps) is None
    assert len(calls) == 2
    steps.is_paused, steps.is_off_after_a_failure = False, True
    assert ready(steps) is None
    assert (len(calls), steps.opening.is_off, steps.opening.has_ended) == (3, True, True)


@pytest.mark.parametrize("end", ["close", "turn_off"])
def test_a_part_that_is_opened_too_late_is_discarded(end: str) -> None:
    reached, comes = threading.Event(), threading.Event()

    def hang() -> str:
        reached.set()
        assert comes.wait(PATIENCE)
        return "part"

    steps = Steps(hang)
    assert steps.opening.ready() is None  # after 250 ms
    assert reached.wait(PATIENCE)
    assert steps.opening.ready() is None
    getattr(steps.opening, end)()
    comes.set()
    settled()
    assert (steps.opening.ready(), steps.notes) == (None, ["discarded part"])
    assert steps.opening.is_off == (end == "turn_off")


def test_a_forked_child_opens_a_part_that_its_parent_was_opening() -> None:
    comes: Any = threading.Event()
    steps = Steps(lambda: "part" if comes.wait(PATIENCE) else "")
    assert steps.opening.ready() is None
    steps.opening.after_fork_in_child()  # the thread of the parent does not exist there
    assert steps.opening.is_new
    comes.set()
    settled()
    assert ready(steps) == "part"


def test_without_threads_a_part_is_opened_by_a_later_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the caller's thread the opening would have no time limit."""
    steps = Steps(lambda: "part")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _refuse)
        assert steps.opening.ready() is None
        assert steps.opening.is_new
    assert ready(steps) == "part"


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
