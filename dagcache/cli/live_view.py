"""What a cache is doing, from its metrics: figures, one line of text, and a screen for terminals."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    def labels(self, name: str, **labels: str) -> list[dict[str, str]]:
        """The samples' labels."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram as it is exposed."""

    buckets: tuple[tuple[float, float], ...] = ()
    """Upper bound in seconds, and how many took no longer; ascending, the last bound is infinite."""
    seconds: float = 0.0
    """The sum of all."""

    @property
    def count(self) -> int:
        """How many there were."""
        return int(self.buckets[-1][1]) if self.buckets else 0

    @property
    def mean(self) -> float:
        """Seconds; 0 if there were none."""
        return self.seconds / self.count if self.count else 0.0

    def since(self, before: Durations) -> Durations:
        """What has come on top of an earlier state of the same histogram."""
        known = dict(before.buckets)
        buckets = tuple((bound, count - known.get(bound, 0.0)) for bound, count in self.buckets)
        return Durations(buckets, self.seconds - before.seconds)

    def quantile(self, share: float) -> float:
        """What that share of them did not exceed, in seconds, as Prometheus' ``histogram_quantile`` has it."""
        rank = share * self.count
        lower, below = 0.0, 0.0
        for bound, count in self.buckets:
            if count >= rank and count > below:
                return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
            lower, below = bound, count
        return 0.0


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
    absent: int = 0
    joins: int = 0
    load_failures: int = 0
    thaw_failures: int = 0
    unbroken_cycles: int = 0
    evicted: Mapping[str, int] = field(default_factory=dict)
    """Entries by cause."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Values by reason."""
    serialized_bytes: int = 0
    next_victim_idle_seconds: float = 0.0
    sizing_error_ratio: float = 0.0
    sizing_seconds: float = 0.0
    limit_bytes: int = 0
    limit_source: str = ""
    pressure: str = "off"
    version: str = ""
    loads: Durations = Durations()
    thaws: Durations = Durations()

    @property
    def hits(self) -> int:
        """Lookups served without a load."""
        return self.hits_live + self.hits_frozen

    @property
    def lookups(self) -> int:
        """All of them."""
        return self.hits + self.misses

    @property
    def used_bytes(self) -> int:
        """What the limit is compared with."""
        return self.live_bytes + self.frozen_bytes + self.overhead_bytes


def figures(samples: Samples, component: str) -> Figures:
    """Pick one component's figures; what is missing counts as 0."""

    def value(name: str, **labels: str) -> int:
        return int(samples.value(f"dagcache_{name}", component=component, **labels) or 0)

    def fraction(name: str) -> float:
        return samples.value(f"dagcache_{name}", component=component) or 0.0

    def by(name: str, label: str) -> dict[str, int]:
        told = samples.labels(f"dagcache_{name}", component=component)
        return {each[label]: value(name, **{label: each[label]}) for each in told}

    loads, thaws = (_durations(samples, component, name) for name in ("load", "thaw"))
    sources = samples.labels("dagcache_memory_limit_bytes", component=component)
    states = by("pressure_state", "state")
    versions = samples.labels("dagcache_info", component=component)
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
        thaw_seconds=thaws.mean,
        load_seconds=loads.mean,
        absent=value("absent_total"),
        joins=value("loads_deduplicated_total"),
        load_failures=value("load_failures_total"),
        thaw_failures=value("thaw_failures_total"),
        unbroken_cycles=value("unbroken_cycles_total"),
        evicted=by("evictions_total", "cause"),
        rejected=by("rejections_total", "reason"),
        serialized_bytes=value("serialized_bytes"),
        next_victim_idle_seconds=fraction("next_victim_idle_seconds"),
        sizing_error_ratio=fraction("sizing_error_ratio"),
        sizing_seconds=fraction("sizing_seconds_total"),
        limit_bytes=value("memory_limit_bytes"),
        limit_source=sources[0].get("source", "") if sources else "",
        pressure=next((state for state, is_on in states.items() if is_on), "off"),
        version=versions[0].get("version", "") if versions else "",
        loads=loads,
        thaws=thaws,
    )


def _durations(samples: Samples, component: str, name: str) -> Durations:
    family = f"dagcache_{name}_duration_seconds"
    bounds = {each["le"] for each in samples.labels(f"{family}_bucket", component=component)}
    buckets = [(float(le), samples.value(f"{family}_bucket", component=component, le=le) or 0.0) for le in bounds]
    return Durations(tuple(sorted(buckets)), samples.value(f"{family}_sum", component=component) or 0.0)


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
