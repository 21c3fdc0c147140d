"""The layout of `top`: all rows of each component where there is room, else two lines per component."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dagcache.cli.shared.live_view import Line, bar
from dagcache.cli.shared.plain_text import plain
from dagcache.cli.top.history import Component
from dagcache.metrics.delta import Delta
from dagcache.metrics.snapshot import Durations, Snapshot
from dagcache.metrics.verdict import format_seconds, share_of_memory
from dagcache.sizing.limits import format_bytes, format_limit

_LABEL = 10
_BAR = 30
_DAG_WIDTHS = {
    "versions": 8,
    "live": 4,
    "bytes": 10,
    "share": 6,
    "idle": 7,
    "loads": 6,
    "load s": 7,
    "thaws": 7,
    "thaw s": 7,
}
_DAG_HEADER = {name: name for name in _DAG_WIDTHS}
_WIDE_ONLY = ("share", "idle")
_LEAST_NAME = 12


def layout(
    components: Sequence[Component],
    dags: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    *,
    columns: int,
    lines: int | None,
) -> list[Line]:
    """Everything, in at most ``columns`` and, if possible without a cut, ``lines``. A cut is at the end."""
    for block in (_full, _short):
        blocks = [block(each, columns) for each in components]
        blocks += [_dag_lines(answer, columns) for answer in dags]
        blocks += [[Line(note, "dim")] for note in notes]
        drawn = [line for number, block_ in enumerate(blocks) for line in ([Line("")] if number else []) + block_]
        if lines is None or len(drawn) <= lines:
            break
    cut = [Line(plain(_fit(line.text, columns)), line.kind) for line in drawn[:lines]]
    if lines is not None and len(drawn) > lines:
        cut[-1] = Line(f"... {len(drawn) - lines + 1} more lines: enlarge the terminal, or use --once", "dim")
    return cut


def rows(delta: Delta) -> list[tuple[str, str]]:
    """The rows of a component, by name: rates where there are two snapshots, else counts since its start."""
    now = delta.now
    return [
        ("lookups", _lookups(delta)),
        ("versions", f"{now.live_entries} live, {now.frozen_entries} frozen only; {_victim(now)}"),
        ("bytes", f"{bar(now, _BAR)} {format_bytes(now.used_bytes)} of {format_limit(now.max_bytes)}{_changed(now)}"),
        ("by tier", _tiers(now)),
        ("left", _left(delta)),
        ("loads", f"{_timed(delta, delta.loads, now.loads)}; {_loads(now)}"),
        ("thaws", f"{_timed(delta, delta.thaws, now.thaws)}"),
        ("memory", _memory(now)),
        ("faults", _faults(now)),
    ]


def _full(component: Component, columns: int) -> list[Line]:
    lines = [_title(component), *_verdict_lines(component, columns)]
    if component.is_up and not component.delta.now.off_because:
        lines += [Line(f"{name:<{_LABEL}}{text}") for name, text in rows(component.delta)]
    return lines


def _short(component: Component, columns: int) -> list[Line]:
    now, judged = component.delta.now, component.verdict
    used, resident = format_bytes(now.used_bytes), format_bytes(now.rss_bytes)
    use = f"{used} of {format_limit(now.max_bytes)} budget, RSS {resident}"
    name = f"{component.name}{_mode(now)}"
    return [
        Line(plain(f"{name}  {urlsplit(component.url).netloc}  {_lookups(component.delta)}"), "title"),
        Line(_fit(f"{judged.text} ({use})", columns), judged.level),
    ]


def _title(component: Component) -> Line:
    now = component.delta.now
    version = f"  dagcache {now.version}" if now.version else ""
    return Line(plain(f"{component.name}  {component.url}{version}{_mode(now)}"), "title")


def _mode(now: Snapshot) -> str:
    """The mode, unless it is the usual one."""
    return "" if now.mode in ("", "enforce") else f"  {now.mode}"


def _verdict_lines(component: Component, columns: int) -> list[Line]:
    wrapped = textwrap.wrap(plain(component.verdict.text), max(20, columns - _LABEL)) or [""]
    return [
        Line(f"{'' if number else 'verdict':<{_LABEL}}{text}", component.verdict.level)
        for number, text in enumerate(wrapped)
    ]


def _lookups(delta: Delta) -> str:
    rate = delta.rate(lambda each: each.lookups)
    if not delta.now.lookups:
        return "none so far"
    if rate is None or not delta.grown(lambda each: each.lookups):
        delta = Delta(delta.now)
        amount = f"{'' if rate is None else 'none recently; '}{delta.now.lookups} in total"
    else:
        amount = per_second(rate)
    lookups = delta.grown(lambda each: each.lookups)
    live, frozen, missed = (
        delta.grown(count) / lookups
        for count in (lambda each: each.hits_live, lambda each: each.hits_frozen, lambda each: each.misses)
    )
    return f"{amount}: {live:.1%} live, {frozen:.1%} frozen, {missed:.1%} missed"


def _victim(now: Snapshot) -> str:
    if not now.live_entries + now.frozen_entries:
        return "no versions"
    return f"next victim idle {format_seconds(now.next_victim_idle_seconds)}"


def _tiers(now: Snapshot) -> str:
    live, frozen, overhead = map(format_bytes, (now.live_bytes, now.frozen_bytes, now.overhead_bytes))
    waiting = f" + {format_bytes(now.waiting_bytes)} waiting" if now.waiting_bytes else ""
    return f"{live} live + {frozen} frozen + {overhead} overhead{waiting}"


def _left(delta: Delta) -> str:
    demoted = delta.rate(lambda each: each.demotions)
    text = f"{delta.now.demotions} demoted" if demoted is None else f"{per_second(demoted)} demoted to frozen"
    causes = [f"{count} {cause}" for cause, count in delta.now.evicted.items() if count]
    return f"{text}; evicted in total: {', '.join(causes) or 'none'}"


def _timed(delta: Delta, shown: Durations, whole: Durations) -> str:
    if not whole.count:
        return "none so far"
    rate = delta.rate(lambda each: (each.loads if whole is delta.now.loads else each.thaws).count)
    amount = f"{whole.count} in total" if rate is None else per_second(rate)
    return f"{amount}, p50 {format_duration(shown.quantile(0.5))}, p99 {format_duration(shown.quantile(0.99))}"


def _loads(now: Snapshot) -> str:
    return f"{now.load_failures} failed, {now.joins} shared"


def _changed(now: Snapshot) -> str:
    return " (set at run time)" if now.changed_settings else ""


def _faults(now: Snapshot) -> str:
    counts = {
        "internal": now.internal_errors,
        "of a listener": now.listener_failures,
        "thaws failed": now.thaw_failures,
        "without a frozen form": now.unfrozen,
        "in quarantine": now.quarantined,
        "lookups in quarantine": now.quarantine_misses,
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def _memory(now: Snapshot) -> str:
    limit = f" of {format_bytes(now.limit_bytes)} ({now.limit_source})" if now.limit_bytes else ""
    return f"{format_bytes(now.rss_bytes)} resident{limit}, {share_of_memory(now):.0%} cache; pressure: {now.pressure}"


def _dag_lines(answer: Mapping[str, Any], columns: int) -> list[Line]:
    held = f"{answer['versions']} versions, {format_bytes(answer['bytes'])}"
    is_wide = columns - len(_cells(_DAG_HEADER, is_wide=True)) >= 2 * _LEAST_NAME
    name = max(_LEAST_NAME, min(60, columns - len(_cells(_DAG_HEADER, is_wide=is_wide))))
    shown = [_dag_row(dag, answer["bytes"], is_wide=is_wide) for dag in answer["dags"]]
    header = f"{'dag':<{name}}{_cells(_DAG_HEADER, is_wide=is_wide)}"
    lines = [Line(plain(f"{answer['component']}, process {answer['pid']}: {held}"), "title"), Line(header, "dim")]
    for dag, row in zip(answer["dags"], shown, strict=True):
        lines.append(Line(f"{_fit(plain(dag['dag_id'] or '(unknown)'), name):<{name}}{row}"))
    return lines


def _dag_row(dag: Mapping[str, Any], whole: int, *, is_wide: bool) -> str:
    cells = {
        "versions": f"{dag['versions']}",
        "live": f"{dag['live']}",
        "bytes": format_bytes(dag["bytes"]),
        "share": f"{dag['bytes'] / (whole or 1):.1%}",
        "idle": "-" if dag["idle_seconds"] is None else format_seconds(dag["idle_seconds"]),
        "loads": f"{dag['loads']}",
        "load s": f"{dag['load_seconds']:.2f}",
        "thaws": f"{dag['thaws']}",
        "thaw s": f"{dag['thaw_seconds']:.2f}",
    }
    return _cells(cells, is_wide=is_wide)


def _cells(cells: Mapping[str, str], *, is_wide: bool) -> str:
    return "".join(f" {cells[name]:>{_DAG_WIDTHS[name]}}" for name in _DAG_WIDTHS if is_wide or name not in _WIDE_ONLY)


def _fit(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 3]}..."


def per_second(rate: float) -> str:
    """For people: ``0/s``, ``<0.1/s``, ``3.2/s``, ``812/s``."""
    if 0 < rate < 0.1:
        return "<0.1/s"
    return f"{rate:.0f}/s" if rate >= 100 or not rate else f"{rate:.1f}/s"


def format_duration(seconds: float) -> str:
    """For people: ``0.43 ms``, ``12.5 ms``, ``1.20 s``."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.1f} ms" if seconds >= 0.001 else f"{seconds * 1000:.2f} ms"
