"""What a cache is doing, shown: its figures as text, plain lines, and a screen for terminals."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from dagcache.cli.shared.snapshot import Figures
from dagcache.sizing.limits import format_bytes

_BAR = 40  # characters
_EVERY_SECONDS = 5.0


def rows(now: Figures) -> list[tuple[str, str]]:
    """Name and text of each figure."""
    lookups = now.hits_live + now.hits_frozen + now.misses
    return [
        ("lookups", f"{lookups}: {now.hits_live} live, {now.hits_frozen} frozen, {now.misses} missed"),
        ("versions held", f"{now.live_entries} live, {now.frozen_entries} frozen only"),
        ("bytes", f"{bar(now)} {format_bytes(now.used_bytes)} of {_limit(now.max_bytes)}"),
        ("by tier", _tiers(now)),
        ("left", f"{now.demotions} demoted to frozen, {now.evictions} evicted"),
        ("mean", f"thaw {now.thaw_seconds * 1000:.1f} ms, load {now.load_seconds * 1000:.1f} ms"),
        ("process", f"{format_bytes(now.rss_bytes)} resident"),
    ]


def bar(now: Figures, width: int = _BAR) -> str:
    """The budget's use: ``#`` live, ``+`` frozen, overhead and waiting, ``.`` free."""
    whole = now.max_bytes or now.used_bytes or 1
    live = min(width, round(width * now.live_bytes / whole))
    used = min(width, round(width * now.used_bytes / whole))
    return "#" * live + "+" * (used - live) + "." * (width - used)


def _tiers(now: Figures) -> str:
    waiting = f", {format_bytes(now.waiting_bytes)} waiting" if now.waiting_bytes else ""
    return f"{format_bytes(now.live_bytes)} live, {format_bytes(now.frozen_bytes)} frozen{waiting}"


def _limit(max_bytes: int) -> str:
    return format_bytes(max_bytes) if max_bytes else "unbounded"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture, and what kind of line it is: a key of the screen's styles."""

    text: str
    kind: str = ""


class View:
    """Plain lines, at most one block every five seconds: for files, pipes and CI."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._next = 0.0

    def close(self) -> None:
        """Nothing more will be shown."""

    def show(self, content: Sequence[tuple[str, str]], *, last: bool = False) -> None:
        """Show names and texts; the ``last`` ones are never left out."""
        now = time.monotonic()
        if last or now >= self._next:
            self._next = now + _EVERY_SECONDS
            self._out.write(" | ".join(f"{name} {text}" for name, text in content) + "\n")
            self._out.flush()

    @property
    def columns(self) -> int:
        """How wide a line may be."""
        return 120

    @property
    def lines(self) -> int | None:
        """How many lines a picture may have; None: any number."""
        return None

    def draw(self, picture: Sequence[Line]) -> None:
        """Show a whole picture; the next one follows below an empty line."""
        self._out.write("".join(f"{line.text}\n" for line in picture) + "\n")
        self._out.flush()

    def note(self, text: str) -> None:
        """Say something once."""
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
"""How a screen draws the kinds of lines."""


class Screen(View):
    """The newest figures in place, on a terminal."""

    def __init__(self) -> None:
        super().__init__()
        from rich.live import Live

        self._live: Any = Live(auto_refresh=False)
        self._live.start()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()

    def show(self, content: Sequence[tuple[str, str]], *, last: bool = False) -> None:
        """Draw them."""
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for name, text in content:
            grid.add_row(Text(name, style="bold"), Text(text))
        self._live.update(grid, refresh=True)

    @property
    def columns(self) -> int:
        """The terminal's width, now."""
        return int(self._live.console.width)

    @property
    def lines(self) -> int:
        """The terminal's height, now, less the line that the cursor is on."""
        return int(self._live.console.height) - 1

    def draw(self, picture: Sequence[Line]) -> None:
        """Draw a whole picture in place of the last one."""
        self._live.update(rendered(picture), refresh=True)

    def note(self, text: str) -> None:
        """Say something once, above the figures."""
        self._live.console.print(text, highlight=False, markup=False)


def rendered(picture: Sequence[Line]) -> Any:
    """A picture for rich."""
    from rich.text import Text

    return Text("\n").join(Text(line.text, style=STYLES[line.kind], no_wrap=True) for line in picture)


def view() -> View:
    """What suits stdout."""
    return Screen() if sys.stdout.isatty() else View()
