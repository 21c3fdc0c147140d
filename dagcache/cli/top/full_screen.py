"""The whole terminal for one view: the alternate screen, a line with the time, and `q`. The shell's screen comes back.

The terminal is restored at every end: `q`, Ctrl-C, SIGTERM, SIGHUP, an exception, and for the time of a Ctrl-Z.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, final

from dagcache.cli.shared.live_view import Line, View, local_time, rendered
from dagcache.cli.top.keys import Keys

_ENDING = ("SIGTERM", "SIGHUP")


@final
class FullScreen(View):
    """The newest picture, on the alternate screen.

    Raises:
        ImportError: rich is not installed.

    """

    is_in_place = True

    def __init__(self, now: Callable[[], datetime] = local_time) -> None:
        super().__init__(now=now)
        from rich.console import Console

        self._console: Any = Console()
        self._live: Any = None
        self._keys = Keys(sys.stdin)
        self.enter()

    def enter(self) -> None:
        """Take the terminal."""
        from rich.live import Live

        self._keys.open()
        try:
            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            self._live.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the terminal back. Idempotent."""
        self._keys.close()
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):  # the terminal is gone
                live.stop()

    @property
    def columns(self) -> int:
        """The current width of the terminal."""
        return int(self._console.width)

    @property
    def lines(self) -> int:
        """The current height of the terminal, without the line of the time."""
        return max(1, int(self._console.height) - 1)

    def draw(self, lines: Sequence[Line]) -> None:
        """Draw all lines, and the time in the last line of the terminal, in place of the last picture."""
        width, height = self.columns, self.lines
        keys = "q: quit" if self._keys.is_open else "Ctrl-C: quit"
        clock = f"{self._now():%H:%M:%S}"
        foot = Line(f"{keys:<{max(0, width - len(clock))}}{clock}"[:width], "dim")
        filled = [*lines[:height], *[Line("")] * (height - len(lines)), foot]
        self._live.update(rendered(filled), refresh=True)

    def wait(self, seconds: float, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Wait for so many seconds, or for `q`. Returns whether the user has ended the view."""
        if self._keys.is_open:
            return self._keys.wait_for_quit(seconds)
        return super().wait(seconds, sleep)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block by an exception, so that the terminal is restored.

    Raises:
        SystemExit: such a signal has come; with the exit code that a shell reports.

    """
    with _handled(_ENDING, _end):
        yield


@contextmanager
def suspended_in_order(screen: View) -> Iterator[None]:
    """Ctrl-Z in the block shows the shell's screen until the process continues."""

    def suspend(number: int, _frame: Any) -> None:
        assert isinstance(screen, FullScreen)
        screen.close()
        handler = signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # stops here, until SIGCONT
        signal.signal(number, handler)
        screen.enter()

    with _handled(("SIGTSTP",) if isinstance(screen, FullScreen) else (), suspend):
        yield


@contextmanager
def _handled(names: Sequence[str], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle those signals that nothing handles or ignores yet, as nohup ignores SIGHUP."""
    before = {}
    for name in names:
        with suppress(AttributeError, ValueError):  # a system without it, or not the main thread
            number = getattr(signal, name)
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def _end(number: int, _frame: Any) -> None:
    raise SystemExit(128 + number)
