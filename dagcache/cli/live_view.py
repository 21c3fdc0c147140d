"""What a cache is doing, from its metrics: figures, one line of text, and a screen for terminals."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from dagcache.sizing.limits import format_bytes

_BAR = 40  # characters
_EVERY_SECONDS = 5.0


class Samples(Protocol):
    """What is needed of `dagcache.metrics.scrape.Scrape`."""

    def value(self, name: str, **labels: str) -> float | None:
        """One sample's value."""

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples' values."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One scrape of one component; sizes in bytes, means in seconds."""

    hits_live: int
    hits_frozen: int
    misses: int
    live_bytes: int
    frozen_bytes: int
    overhead_bytes: int
    max_bytes: int
    """0 = no limit."""
    live_entries: int
    frozen_entries: int
    rss_bytes: int
    demotions: int
    evictions: int
    thaw_seconds: float
    load_seconds: float

    @property
    def used_bytes(self) -> int:
        """What the limit is compared with."""
        return self.live_bytes + self.frozen_bytes + self.overhead_bytes


def figures(samples: Samples, component: str) -> Figures:
    """Pick one component's figures; what is missing counts as 0."""

    def value(name: str, **labels: str) -> int:
        return int(samples.value(f"dagcache_{name}", component=component, **labels) or 0)

    def mean(name: str) -> float:
        count = samples.value(f"dagcache_{name}_count", component=component)
        return (samples.value(f"dagcache_{name}_sum", component=component) or 0.0) / count if count else 0.0

    return Figures(
        hits_live=value("hits_total", tier="live"),
        hits_frozen=value("hits_total", tier="frozen"),
        misses=value("misses_total"),
        live_bytes=value("bytes", tier="live"),
        frozen_bytes=value("bytes", tier="frozen"),
        overhead_bytes=value("bytes", tier="overhead"),
        max_bytes=value("max_bytes"),
        live_entries=value("entries", tier="live"),
        frozen_entries=value("entries", tier="frozen"),
        rss_bytes=value("process_resident_bytes"),
        demotions=value("demotions_total"),
        evictions=int(samples.total("dagcache_evictions_total", component=component)),
        thaw_seconds=mean("thaw_duration_seconds"),
        load_seconds=mean("load_duration_seconds"),
    )


def rows(now: Figures) -> list[tuple[str, str]]:
    """Name and text of each figure."""
    lookups = now.hits_live + now.hits_frozen + now.misses
    return [
        ("lookups", f"{lookups}: {now.hits_live} live, {now.hits_frozen} frozen, {now.misses} missed"),
        ("versions held", f"{now.live_entries} live, {now.frozen_entries} frozen only"),
        ("bytes", f"{bar(now)} {format_bytes(now.used_bytes)} of {_limit(now.max_bytes)}"),
        ("by tier", f"{format_bytes(now.live_bytes)} live, {format_bytes(now.frozen_bytes)} frozen"),
        ("left", f"{now.demotions} demoted to frozen, {now.evictions} evicted"),
        ("mean", f"thaw {now.thaw_seconds * 1000:.1f} ms, load {now.load_seconds * 1000:.1f} ms"),
        ("process", f"{format_bytes(now.rss_bytes)} resident"),
    ]


def bar(now: Figures, width: int = _BAR) -> str:
    """The budget's use: ``#`` live, ``+`` frozen and overhead, ``.`` free."""
    whole = now.max_bytes or now.used_bytes or 1
    live = min(width, round(width * now.live_bytes / whole))
    used = min(width, round(width * now.used_bytes / whole))
    return "#" * live + "+" * (used - live) + "." * (width - used)


def _limit(max_bytes: int) -> str:
    return format_bytes(max_bytes) if max_bytes else "unbounded"


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

    def note(self, text: str) -> None:
        """Say something once."""
        self._out.write(f"{text}\n")
        self._out.flush()


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

    def note(self, text: str) -> None:
        """Say something once, above the figures."""
        self._live.console.print(text, highlight=False, markup=False)


def view() -> View:
    """What suits stdout."""
    return Screen() if sys.stdout.isatty() else View()
