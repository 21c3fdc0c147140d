"""How far a long step is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

_EVERY_SECONDS = 5.0


class Progress:
    """Plain lines: one for each new step, then one every five seconds."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._step = ""
        self._told = 0.0

    def close(self) -> None:
        """Nothing more will be shown."""

    def note(self, text: str) -> None:
        """Say something once."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def step(self, text: str, done: int, of: int) -> None:
        """``done`` of ``of`` parts of the step ``text`` are done."""
        now = time.monotonic()
        if text != self._step or now - self._told >= _EVERY_SECONDS or done == of > 1:
            self.note(f"{text}: {done} of {of}" if of > 1 else f"{text} ...")
            self._step, self._told = text, now

    def wait(self) -> None:
        """Let the one who works get on, for a moment."""
        time.sleep(0.2)


class ProgressBar(Progress):
    """A bar per step."""

    def __init__(self) -> None:
        super().__init__()
        from rich.progress import Progress as Bars

        self._bars = Bars(transient=True)
        self._bars.start()
        self._tasks: dict[str, Any] = {}

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()

    def note(self, text: str) -> None:
        """Say something once, above the bars."""
        self._bars.console.print(text, highlight=False)

    def step(self, text: str, done: int, of: int) -> None:
        """Move the step's bar; the bars of the steps before it are complete."""
        if text not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, total=1, completed=1)
            self._tasks[text] = self._bars.add_task(text)
        self._bars.update(self._tasks[text], total=of if of > 1 else None, completed=done)


def progress() -> Progress:
    """What suits stdout."""
    return ProgressBar() if sys.stdout.isatty() else Progress()
