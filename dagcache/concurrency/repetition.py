"""An action that a daemon thread repeats for an object, for as long as that object exists."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Repetition:
    """A thread that repeats an action, in the process that started it."""

    pid: int
    stopped: threading.Event

    @property
    def is_here(self) -> bool:
        """Whether the thread belongs to this process. A forked child does not have the threads of its parent."""
        return self.pid == os.getpid()

    def end(self) -> None:
        """End the thread after its current call. Does not wait for it. Thread-safe."""
        if self.is_here:  # in a forked child, a thread that no longer exists may hold the event's lock
            self.stopped.set()


def repeat(action: Callable[[T], object], owner: T, interval: float, name: str, *, at_once: bool = False) -> Repetition:
    """Call ``action(owner)`` every ``interval`` seconds, for the first time after the first interval, or at once.

    The thread ends with the owner, which it holds during a call only. An exception of the action ends it.

    Raises:
        RuntimeError: no thread can be started.

    """
    repetition = Repetition(os.getpid(), threading.Event())
    arguments = (weakref.ref(owner), action, repetition.stopped, interval, 0.0 if at_once else interval)
    threading.Thread(target=_loop, args=arguments, name=name, daemon=True).start()
    weakref.finalize(owner, repetition.end).atexit = False
    return repetition


def _loop(
    reference: weakref.ref[T],
    action: Callable[[T], object],
    stopped: threading.Event,
    interval: float,
    pause: float,
) -> None:
    """``pause``: seconds before the first call."""
    while not stopped.wait(pause):
        pause = interval
        owner = reference()
        if owner is None:
            return
        action(owner)
        del owner
