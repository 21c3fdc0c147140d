"""A time limit for calls that may hang, such as those to a network file system."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

R = TypeVar("R")


def start(action: Callable[[], object], name: str) -> threading.Thread:
    """Run an action in a daemon thread; in the caller's thread where no other can be started.

    An exception of the action goes to `threading.excepthook`, or to the caller in its own thread.
    """
    thread = threading.Thread(target=action, name=name, daemon=True)
    if not _starts(thread):
        action()
    return thread


def ended_within(seconds: float, threads: Iterable[threading.Thread]) -> list[bool]:
    """Whether each thread has ended, after at most so many seconds for all of them together."""
    end = time.monotonic() + seconds
    waited = []
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, end - time.monotonic()))
        waited.append(not thread.is_alive())
    return waited


def try_for(seconds: float, action: Callable[[], object], name: str) -> bool:
    """Run an action and wait for it for so many seconds. Returns whether it has ended; if not, it continues."""
    return ended_within(seconds, [start(action, name)])[0]


def try_elsewhere(seconds: float, action: Callable[[], object], name: str) -> bool | None:
    """As `try_for`, but None where no thread can be started: the action does not run.

    For actions that the caller can do without: in its own thread they would have no limit.
    """
    thread = threading.Thread(target=action, name=name, daemon=True)
    return ended_within(seconds, [thread])[0] if _starts(thread) else None


def results_within(seconds: float, calls: Sequence[Callable[[], R]], late: R, name: str) -> list[R]:
    """The results of calls that run at the same time; ``late`` for each that has no result after so many seconds."""
    results: dict[int, R] = {}

    def run(number: int) -> None:
        results[number] = calls[number]()

    threads = [start(partial(run, number), name) for number in range(len(calls))]
    ended_within(seconds, threads)
    return [results.get(number, late) for number in range(len(calls))]


def _starts(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is ending
        return False
    return True
