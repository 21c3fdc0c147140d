"""A step that is repeated in a thread, until it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Heartbeat:
    """Runs a step at once, and then again and again, in a daemon thread.

    The first run may take longer than its caller can wait, as on a network file system that hangs. Where no thread can
    be started, the step runs once, in the caller's thread. A forked child has no thread: there the step does not run.

    Args:
        step: must not raise.
        seconds: from the end of one run to the start of the next.
        name: of the thread.

    """

    def __init__(self, step: Callable[[], object], *, seconds: float, name: str) -> None:
        self._step = step
        self._seconds = seconds
        self._first = threading.Event()
        self._closed = threading.Event()
        self._name = name

    def start(self, patience: float) -> bool:
        """Start, and wait for the first run, ``patience`` seconds at most. Returns whether it has ended."""
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            self._run_once()
        return self._first.wait(patience)

    def close(self) -> None:
        """End the thread after the current run, without waiting."""
        self._closed.set()

    def _run(self) -> None:
        self._run_once()
        while not self._closed.wait(self._seconds):
            self._step()

    def _run_once(self) -> None:
        self._step()
        self._first.set()
