"""The verdict on a component: one line with its state and, where needed, the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dagcache.metrics.delta import Delta
from dagcache.metrics.snapshot import Snapshot
from dagcache.sizing.limits import format_bytes

Level = Literal["good", "info", "warning", "bad"]

ARROW = " -> "
"""Between the state and the remedy."""
SEVERITY: tuple[Level, ...] = ("bad", "warning", "info", "good")
"""The levels, the worst first."""
YOUNG_SECONDS = 600.0
"""An entry that leaves so soon after its last use will be loaded again."""

_FEW_MISSES = 0.01
_ENOUGH_LOOKUPS = 20
_MUCH_THAWING = 0.2  # of a core
_MUCH_MEMORY = 0.8  # of the limit
_SMALL_PART = 0.25  # of the resident memory


@dataclass(frozen=True, slots=True)
class Verdict:
    """A level and one line of text: the state, and behind `ARROW` the remedy, if there is one."""

    level: Level
    text: str


def verdict(delta: Delta) -> Verdict:
    """The first rule that applies; the worst come first."""
    return next(found for judge in _JUDGES if (found := judge(delta)) is not None)


def share_of_memory(now: Snapshot) -> float:
    """The cache's share of the resident memory."""
    return now.used_bytes / now.rss_bytes if now.rss_bytes else 0.0


def _off(delta: Delta) -> Verdict | None:
    fault = delta.now.off_because
    if not fault:
        return None
    return Verdict("bad", f"off because of a fault ({fault}): Airflow's own cache serves -> see the log, or doctor")


def _quarantined(delta: Delta) -> Verdict | None:
    now = delta.now
    if not now.quarantined and not (delta.is_open and delta.grown(lambda each: each.quarantine_misses)):
        return None
    text = f"versions in quarantine, {now.quarantined} now: Airflow fails their tasks -> airflow dags reserialize"
    return Verdict("bad", text)


def _faulty(delta: Delta) -> Verdict | None:
    faults = delta.grown(lambda each: each.internal_errors + each.listener_failures)
    if not faults or not delta.is_open:
        return None
    return Verdict(
        "warning", f"faults of dagcache or of a listener, {faults:.0f} recently -> report the log's traceback"
    )


def _pressure(delta: Delta) -> Verdict | None:
    now = delta.now
    if now.pressure == "floor":
        return Verdict("bad", f"under memory pressure, and the cache is at its minimum: {_blame(now)}")
    if now.pressure == "shrinking":
        text = f"under memory pressure: {_memory(now)}; the cache shrinks, now at {format_bytes(now.max_bytes)}"
        return Verdict("warning", text)
    return None


def _failing(delta: Delta) -> Verdict | None:
    failures = delta.grown(lambda each: each.load_failures)
    if not failures or not delta.is_open:
        return None
    return Verdict("bad", f"loads fail, {failures:.0f} recently -> check the database and the component's log")


def _distrusted(delta: Delta) -> Verdict | None:
    records = delta.grown(lambda each: each.warm.distrusted)
    if not records or not delta.is_open:
        return None
    text = f"records of the warm store are damaged or forged, {records:.0f} recently -> see the log"
    return Verdict("warning", text)


def _passed_over(delta: Delta) -> Verdict | None:
    if not delta.now.warm.is_passed_over:
        return None
    return Verdict("warning", "the warm store is passed over after an error or a slow call -> see the log, or doctor")


def _unused(delta: Delta) -> Verdict | None:
    return None if delta.now.lookups else Verdict("info", "no lookups yet")


def _missing(delta: Delta) -> Verdict | None:
    lookups, misses = delta.grown(lambda each: each.lookups), delta.grown(lambda each: each.misses)
    if not misses or misses < _FEW_MISSES * lookups:
        return None
    loads = f"{misses / delta.seconds:.1f} loads/s" if delta.is_open else f"{misses:.0f} loads"
    now, is_losing = delta.now, delta.grown(_without_room) > 0
    if is_losing and misses == lookups >= _ENOUGH_LOOKUPS:
        text = f"no hits: {loads}, because {format_bytes(now.max_bytes)} hold too few versions -> raise max_bytes"
        return Verdict("bad", text)
    if is_losing and now.next_victim_idle_seconds < YOUNG_SECONDS:
        idle = format_seconds(now.next_victim_idle_seconds)
        remedy = "raise max_bytes" if now.pressure in ("off", "calm") else "raise the memory limit"
        return Verdict("warning", f"the budget is too small: {loads}, next victim idle only {idle} -> {remedy}")
    if not is_losing and misses > lookups / 2:
        return Verdict("info", f"warming up: {loads}, without evictions")
    return None


def _crowded(delta: Delta) -> Verdict | None:
    now = delta.now
    is_full = now.limit_bytes and now.rss_bytes > _MUCH_MEMORY * now.limit_bytes
    if not is_full or share_of_memory(now) > _SMALL_PART:
        return None
    return Verdict("warning", f"memory is short: {_blame(now)}")


def _shrunk(delta: Delta) -> Verdict | None:
    now = delta.now
    if now.pressure not in ("shrunk", "growing"):
        return None
    text = f"after memory pressure the budget stays at {format_bytes(now.max_bytes)}, below max_bytes"
    return Verdict("info", text)


def _all_live(delta: Delta) -> Verdict | None:
    now = delta.now
    if now.frozen_entries or not now.live_entries:
        return None
    limit = f" of {format_bytes(now.max_bytes)}" if now.max_bytes else ""
    return Verdict("good", f"all live: the working set fits, {format_bytes(now.used_bytes)}{limit}")


def _thawing(delta: Delta) -> Verdict | None:
    part = delta.rate(lambda each: each.thaws.seconds)
    now = delta.now
    if part is None or part < _MUCH_THAWING or not now.live_entries:
        return None
    whole = now.live_bytes / now.live_entries * (now.live_entries + now.frozen_entries) + now.frozen_bytes
    remedy = f"about {format_bytes(int(whole))} would keep all live -> raise max_bytes"
    return Verdict("warning", f"thaws take {part:.0%} of a core: {remedy}")


def _idle(delta: Delta) -> Verdict | None:
    if not delta.is_open or delta.grown(lambda each: each.lookups):
        return None
    return Verdict("info", f"idle: no lookups in the last {delta.seconds:.0f} s")


def _working(delta: Delta) -> Verdict:
    lookups = delta.grown(lambda each: each.lookups)
    share = delta.grown(lambda each: each.hits) / lookups
    part = delta.rate(lambda each: each.thaws.seconds)
    thaws = "" if part is None else f"; thaws take {part:.1%} of a core"
    return Verdict("good", f"working: {share:.1%} of lookups need no load{thaws}")


_JUDGES: tuple[Callable[[Delta], Verdict | None], ...] = (
    _off,
    _quarantined,
    _pressure,
    _failing,
    _faulty,
    _distrusted,
    _passed_over,
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


def _without_room(now: Snapshot) -> float:
    """Entries that left, or were not admitted, for lack of room."""
    kept_out = now.rejected.get("policy", 0) + now.rejected.get("oversize", 0)
    return now.evicted.get("size", 0) + kept_out


def _memory(now: Snapshot) -> str:
    limit = f" of {format_bytes(now.limit_bytes)}" if now.limit_bytes else ""
    return f"RSS {format_bytes(now.rss_bytes)}{limit}"


def _blame(now: Snapshot) -> str:
    part = f"cache {format_bytes(now.used_bytes)} of RSS {format_bytes(now.rss_bytes)}"
    return f"{part}: most of the memory is not the cache" if share_of_memory(now) <= _SMALL_PART else part
