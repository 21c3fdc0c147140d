"""Progress of long steps: bars on a terminal, plain lines or nothing elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO, final

_EVERY_SECONDS = 5.0
_PATIENCE_SECONDS = 2.0  # shorter steps get no late bar


class Progress:
    """Plain lines: one for each new step, then one every five seconds."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._step = ""
        self._shown = 0.0

    def close(self) -> None:
        """End the view."""

    def note(self, text: str) -> None:
        """Show a text once."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def step(self, text: str, done: int, of: int) -> None:
        """``done`` of ``of`` parts of the step ``text`` are done."""
        now = time.monotonic()
        if text != self._step or now - self._shown >= _EVERY_SECONDS or done == of > 1:
            self.note(f"{text}: {done} of {of}" if of > 1 else f"{text} ...")
            self._step, self._shown = text, now

    def wait(self) -> None:
        """Sleep for a moment."""
        time.sleep(0.2)


class ProgressBar(Progress):
    """A bar per step."""

    def __init__(self) -> None:
        super().__init__()
        self._bars = _Bars()

    def close(self) -> None:
        """Restore the terminal."""
        self._bars.close()

    def note(self, text: str) -> None:
        """Show a text once, above the bars."""
        self._bars.note(text)

    def step(self, text: str, done: int, of: int) -> None:
        """Move the bar of the step; the bars of earlier steps are complete."""
        self._bars.step(text, done, of if of > 1 else None)


def progress() -> Progress:
    """Bars if stdout is a terminal, else plain lines."""
    return ProgressBar() if sys.stdout.isatty() else Progress()


@final
class LateBars:
    """A bar per step on a terminal's stderr, once the whole has taken two seconds; nothing elsewhere."""

    def __init__(self) -> None:
        self._due = time.monotonic() + _PATIENCE_SECONDS if sys.stderr.isatty() else float("inf")
        self._bars: _Bars | None = None

    def close(self) -> None:
        """Restore the terminal."""
        if self._bars is not None:
            self._bars.close()

    def step(self, text: str, done: int, of: int) -> None:
        """``done`` of ``of`` parts of the step ``text`` are done; ``of`` is 0 if the number is unknown."""
        if self._bars is None and time.monotonic() >= self._due:
            self._start()
        if self._bars is not None:
            self._bars.step(text, done, of or None)

    def _start(self) -> None:
        try:
            self._bars = _Bars(stderr=True)
        except ImportError:  # the result may not need rich: continue without bars
            self._due = float("inf")


@final
class _Bars:
    """The bars of rich."""

    def __init__(self, *, stderr: bool = False) -> None:
        from rich.console import Console
        from rich.progress import Progress as Drawn

        self._drawn: Any = Drawn(console=Console(stderr=stderr), transient=True)
        self._drawn.start()
        self._tasks: dict[str, Any] = {}

    def close(self) -> None:
        self._drawn.stop()

    def note(self, text: str) -> None:
        self._drawn.console.print(text, highlight=False)

    def step(self, text: str, done: int, of: int | None) -> None:
        if text not in self._tasks:
            for task in self._tasks.values():
                self._drawn.update(task, total=1, completed=1)
            self._tasks[text] = self._drawn.add_task(text)
        self._drawn.update(self._tasks[text], total=of, completed=done)
