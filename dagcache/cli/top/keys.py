"""Single keys of the terminal: read without Enter and without an echo. Ctrl-C and Ctrl-Z stay signals."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import Any, TextIO

_QUIT = (b"q", b"Q")
_MOST = 256  # bytes at once: a paste


class Keys:
    """The keyboard of a terminal. Where ``stdin`` is not a terminal, it stays closed."""

    def __init__(self, stdin: TextIO | None) -> None:
        self._stdin = stdin
        self._before: list[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether keys are read."""
        return self._before is not None

    def open(self) -> None:
        """Have the terminal pass each key on at once."""
        with suppress(Exception):  # a system without termios, or a stdin that is closed or not a terminal
            import termios

            assert self._stdin is not None
            descriptor = self._stdin.fileno()
            before = termios.tcgetattr(descriptor)
            changed = [*before[:3], before[3] & ~(termios.ICANON | termios.ECHO), *before[4:]]
            termios.tcsetattr(descriptor, termios.TCSADRAIN, changed)
            self._before = before

    def close(self) -> None:
        """Give the terminal its settings back."""
        before, self._before = self._before, None
        if before is not None:
            with suppress(Exception):  # the terminal is gone
                import termios

                assert self._stdin is not None
                termios.tcsetattr(self._stdin.fileno(), termios.TCSADRAIN, before)

    def wait_for_quit(self, seconds: float) -> bool:
        """Wait for ``q`` for so many seconds. Returns whether it was pressed, or the terminal is gone."""
        assert self._stdin is not None
        descriptor, end = self._stdin.fileno(), time.monotonic() + seconds
        while select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                pressed = os.read(descriptor, _MOST)
            except OSError:
                return True
            if not pressed or any(key in pressed for key in _QUIT):
                return True
        return False
