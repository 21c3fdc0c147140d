"""The view of a cache: its snapshot as text, as plain lines or on a terminal's screen."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from dagcache.metrics.snapshot import Snapshot
from dagcache.sizing.limits import format_bytes, format_limit

_BAR = 40  # characters
_EVERY_SECONDS = 5.0
_COLUMNS_OF_A_FILE = 120


def rows(now: Snapshot) -> list[tuple[str, str]]:
    """The name and text of each row."""
    lookups = now.hits_live + now.hits_frozen + now.misses
    return [
        ("lookups", f"{lookups}: {now.hits_live} live, {now.hits_frozen} frozen, {now.misses} missed"),
        ("versions held", f"{now.live_entries} live, {now.frozen_entries} frozen only"),
        ("bytes", f"{bar(now)} {format_bytes(now.used_bytes)} of {format_limit(now.max_bytes)}"),
        ("by tier", _tiers(now)),
        ("left", f"{now.demotions} demoted to frozen, {now.evictions} evicted"),
        ("mean", f"thaw {now.thaw_seconds * 1000:.1f} ms, load {now.load_seconds * 1000:.1f} ms"),
        ("process", f"{format_bytes(now.rss_bytes)} resident"),
    ]


def bar(now: Snapshot, width: int = _BAR) -> str:
    """The budget's use: ``#`` live, ``+`` frozen, overhead and waiting, ``.`` free."""
    whole = now.max_bytes or now.used_bytes or 1
    live = min(width, round(width * now.live_bytes / whole))
    used = min(width, round(width * now.used_bytes / whole))
    return "#" * live + "+" * (used - live) + "." * (width - used)


def _tiers(now: Snapshot) -> str:
    waiting = f", {format_bytes(now.waiting_bytes)} waiting" if now.waiting_bytes else ""
    return f"{format_bytes(now.live_bytes)} live, {format_bytes(now.frozen_bytes)} frozen{waiting}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and its kind: a key of `STYLES`."""

    text: str
    kind: str = ""


def local_time() -> datetime:
    """The time of day, with the zone of this machine."""
    return datetime.now().astimezone()


class View:
    """Plain lines, at most one block every five seconds: for files, pipes and CI.

    Args:
        out: the file to write to; by default stdout.
        now: the time of a picture.

    """

    is_in_place = False
    """Whether a picture replaces the one before."""

    def __init__(self, out: TextIO | None = None, now: Callable[[], datetime] = local_time) -> None:
        self._out = out or sys.stdout
        self._now = now
        self._next = 0.0

    def close(self) -> None:
        """End the view."""

    def show(self, content: Sequence[tuple[str, str]], *, last: bool = False) -> None:
        """Show rows; the ``last`` ones are always shown."""
        now = time.monotonic()
        if last or now >= self._next:
            self._next = now + _EVERY_SECONDS
            self._out.write(" | ".join(f"{name} {text}" for name, text in content) + "\n")
            self._out.flush()

    @property
    def columns(self) -> int:
        """The width of a line: that of the terminal, and 120 in a file or a pipe."""
        if not self._out.isatty():
            return _COLUMNS_OF_A_FILE
        return shutil.get_terminal_size((_COLUMNS_OF_A_FILE, 24)).columns

    @property
    def lines(self) -> int | None:
        """The number of lines that fit; None: any number."""
        return None

    def draw(self, lines: Sequence[Line]) -> None:
        """Show all lines; the next ones follow below an empty line. In a file or a pipe, the time is the first line."""
        time_line = "" if self._out.isatty() else f"{self._now().isoformat(' ', 'seconds')}\n"
        self._out.write("".join([time_line, *(f"{line.text}\n" for line in lines), "\n"]))
        self._out.flush()

    def wait(self, seconds: float, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Wait until the next picture is due. Returns whether the user has ended the view."""
        sleep(seconds)
        return False

    def note(self, text: str) -> None:
        """Show a text once."""
        self._out.write(f"{text}\n")
        self._out.flush()


STYLES = {
    "title": "bold cyan",
    "good": "green",
    "warning": "yellow",
    "bad": "bold red",
    "info": "",
    "dim": "dim",
    "": "",
}
"""The style of each kind of line on a screen."""


class Screen(View):
    """The newest rows, in place, on a terminal, below what was there before."""

    is_in_place = True

    def __init__(self) -> None:
        super().__init__()
        from rich.live import Live

        self._live: Any = Live(auto_refresh=False)
        self._live.start()

    def close(self) -> None:
        """Restore the terminal."""
        self._live.stop()

    def show(self, content: Sequence[tuple[str, str]], *, last: bool = False) -> None:
        """Draw the rows."""
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for name, text in content:
            grid.add_row(Text(name, style="bold"), Text(text))
        self._live.update(grid, refresh=True)

    def note(self, text: str) -> None:
        """Show a text once, above the rows."""
        self._live.console.print(text, highlight=False, markup=False)


def rendered(lines: Sequence[Line]) -> Any:
    """The lines as a text of rich."""
    from rich.text import Text

    return Text("\n").join(Text(line.text, style=STYLES[line.kind], no_wrap=True) for line in lines)


def view() -> View:
    """A screen if stdout is a terminal, else plain lines."""
    return Screen() if sys.stdout.isatty() else View()
