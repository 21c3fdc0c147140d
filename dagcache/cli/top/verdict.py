"""One line that says whether a component's cache does what it is there for, and what to do if not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dagcache.cli.shared.snapshot import Figures
from dagcache.cli.top.delta import Window
from dagcache.sizing.limits import format_bytes

Level = Literal["good", "info", "warning", "bad"]

YOUNG_SECONDS = 600.0
"""What leaves and was in use so lately will soon be loaded again."""

_FEW_MISSES = 0.01
_ENOUGH_LOOKUPS = 20
_MUCH_THAWING = 0.2  # of a core
_MUCH_MEMORY = 0.8  # of the limit
_SMALL_PART = 0.25  # of the resident memory


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it is, and in words."""

    level: Level
    text: str


def verdict(window: Window) -> Verdict:
    """The first of these that holds: the worst come first."""
    return next(found for judge in _JUDGES if (found := judge(window)) is not None)


def share_of_memory(now: Figures) -> float:
    """How much of the resident memory is the cache's."""
    return now.used_bytes / now.rss_bytes if now.rss_bytes else 0.0


def _pressure(window: Window) -> Verdict | None:
    now = window.now
    if now.pressure == "floor":
        return Verdict("bad", f"under memory pressure with nothing left to give: {_blame(now)}")
    if now.pressure == "shrinking":
        text = f"under memory pressure: {_memory(now)}; the cache shrinks, to {format_bytes(now.max_bytes)} so far"
        return Verdict("warning", text)
    return None


def _failing(window: Window) -> Verdict | None:
    failures = window.grown(lambda figures: figures.load_failures)
    if not failures or not window.is_open:
        return None
    return Verdict("bad", f"loads fail, {failures:.0f} lately: look at the database and the component's log")


def _unused(window: Window) -> Verdict | None:
    return None if window.now.lookups else Verdict("info", "nothing has been looked up yet")


def _missing(window: Window) -> Verdict | None:
    lookups, misses = window.grown(lambda figures: figures.lookups), window.grown(lambda figures: figures.misses)
    if not misses or misses < _FEW_MISSES * lookups:
        return None
    loads = f"{misses / window.seconds:.1f} loads/s" if window.is_open else f"{misses:.0f} loads"
    now, is_losing = window.now, window.grown(_lost) > 0
    if is_losing and misses == lookups >= _ENOUGH_LOOKUPS:
        text = f"nothing is hit: {loads}, for {format_bytes(now.max_bytes)} hold too little of it -> raise max_bytes"
        return Verdict("bad", text)
    if is_losing and now.next_victim_idle_seconds < YOUNG_SECONDS:
        idle = format_seconds(now.next_victim_idle_seconds)
        remedy = "raise max_bytes" if now.pressure in ("off", "calm") else "raise the memory limit"
        return Verdict("warning", f"the budget is too small: {loads}, next victim idle only {idle} -> {remedy}")
    if not is_losing and misses > lookups / 2:
        return Verdict("info", f"warming up: {loads}, and nothing had to leave for them")
    return None


def _crowded(window: Window) -> Verdict | None:
    now = window.now
    is_full = now.limit_bytes and now.rss_bytes > _MUCH_MEMORY * now.limit_bytes
    if not is_full or share_of_memory(now) > _SMALL_PART:
        return None
    return Verdict("warning", f"memory is short: {_blame(now)}")


def _shrunk(window: Window) -> Verdict | None:
    now = window.now
    if now.pressure not in ("shrunk", "growing"):
        return None
    text = f"after memory pressure the budget is held at {format_bytes(now.max_bytes)}, below max_bytes"
    return Verdict("info", text)


def _all_live(window: Window) -> Verdict | None:
    now = window.now
    if now.frozen_entries or not now.live_entries:
        return None
    limit = f" of {format_bytes(now.max_bytes)}" if now.max_bytes else ""
    return Verdict("good", f"all live: what is in use fits, {format_bytes(now.used_bytes)}{limit}")


def _thawing(window: Window) -> Verdict | None:
    part = window.rate(lambda figures: figures.thaws.seconds)
    now = window.now
    if part is None or part < _MUCH_THAWING or not now.live_entries:
        return None
    whole = now.live_bytes / now.live_entries * (now.live_entries + now.frozen_entries) + now.frozen_bytes
    remedy = f"about {format_bytes(int(whole))} would hold all live -> raise max_bytes"
    return Verdict("warning", f"thaws take {part:.0%} of a core: {remedy}")


def _idle(window: Window) -> Verdict | None:
    if not window.is_open or window.grown(lambda figures: figures.lookups):
        return None
    return Verdict("info", f"idle: nothing was looked up in the last {window.seconds:.0f} s")


def _working(window: Window) -> Verdict:
    lookups = window.grown(lambda figures: figures.lookups)
    share = window.grown(lambda figures: figures.hits) / lookups
    part = window.rate(lambda figures: figures.thaws.seconds)
    thaws = "" if part is None else f"; thaws take {part:.1%} of a core"
    return Verdict("good", f"working: {share:.1%} of lookups need no load{thaws}")


_JUDGES: tuple[Callable[[Window], Verdict | None], ...] = (
    _pressure,
    _failing,
    _unused,
    _missing,
    _crowded,
    _shrunk,
    _all_live,
    _thawing,
    _idle,
    _working,
)


def format_seconds(seconds: float) -> str:
    """For people: ``0.4 s``, ``12 s``, ``5 min``, ``3 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _lost(figures: Figures) -> float:
    """What left, or did not get in, for want of room."""
    kept_out = figures.rejected.get("policy", 0) + figures.rejected.get("oversize", 0)
    return figures.evicted.get("size", 0) + kept_out


def _memory(now: Figures) -> str:
    limit = f" of {format_bytes(now.limit_bytes)}" if now.limit_bytes else ""
    return f"RSS {format_bytes(now.rss_bytes)}{limit}"


def _blame(now: Figures) -> str:
    part = f"cache {format_bytes(now.used_bytes)} of RSS {format_bytes(now.rss_bytes)}"
    return f"{part}: the leak is not here" if share_of_memory(now) <= _SMALL_PART else part
