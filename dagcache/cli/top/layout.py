"""The layout of `top`: all rows of each component where there is room, else two lines per component.

The worst component comes first. The lists of DAGs take the lines that are left.
"""

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
from dagcache.metrics.verdict import ARROW, SEVERITY, format_seconds, share_of_memory
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
    "newer": 6,
}
_WIDE_ONLY = {"share", "idle", "newer"}
_COLUMN_OF = {"newer_versions": "newer"}
"""The columns by the figure of `dagcache.inspection.usage.ORDERS`; the others are in each table."""
_LEAST_NAME = 12
_LEAST_DAGS = 3
_DAG_HEAD = 2  # lines
_LEAST_STATE = 8  # characters


def layout(
    components: Sequence[Component],
    dags: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    *,
    columns: int,
    lines: int | None,
) -> list[Line]:
    """Everything, in at most ``columns`` and, if possible without a cut, ``lines``. A cut is at the end.

    ``dags``: usage reports, each with as many DAGs as may be shown. If they do not fit, each list is shorter.
    """
    drawn: list[Line] = []
    for block in (_full, _short):
        blocks = [block(each, columns) for each in _worst_first(components)]
        written = [_note_lines(note, columns) for note in notes]
        heads = [[Line("")] * _DAG_HEAD] * len(dags)
        room = None if lines is None else lines - _height([*blocks, *heads, *written])
        wanted = [len(answer["dags"]) for answer in dags]
        lists = map(_dag_lines, dags, _shares(room, wanted), [columns] * len(dags))
        drawn = _joined([*blocks, *lists, *written])
        if room is None or room >= sum(min(_LEAST_DAGS, each) for each in wanted):
            break
    cut = [Line(plain(_fit(line.text, columns)), line.kind) for line in drawn[:lines]]
    if lines is not None and len(drawn) > lines:
        left = f"... {len(drawn) - lines + 1} more lines: enlarge the terminal, or use --once"
        cut[-1] = Line(_fit(left, columns), "dim")
    return cut


def _worst_first(components: Sequence[Component]) -> list[Component]:
    return sorted(components, key=lambda each: SEVERITY.index(each.verdict.level))


def _joined(blocks: Sequence[Sequence[Line]]) -> list[Line]:
    """The blocks, with an empty line between two."""
    return [line for number, block in enumerate(blocks) for line in ([Line("")] if number else []) + [*block]]


def _height(blocks: Sequence[Sequence[Line]]) -> int:
    return sum(map(len, blocks)) + max(0, len(blocks) - 1)


def _shares(room: int | None, wanted: Sequence[int]) -> list[int]:
    """The number of DAGs of each list: all that are wanted, or an equal part of the lines that are left, but one."""
    if room is None:
        return list(wanted)
    given = [min(1, each) for each in wanted]
    while sum(given) < room and given != list(wanted):
        for number, each in enumerate(wanted):
            if given[number] < each and sum(given) < room:
                given[number] += 1
    return given


def _note_lines(note: str, columns: int) -> list[Line]:
    return [Line(text, "dim") for text in textwrap.wrap(plain(note), max(20, columns))]


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
        *([("warm", now.warm.text)] if now.warm.text else []),
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
        Line(_fit_verdict(plain(judged.text), f" ({use})", columns), judged.level),
    ]


def _fit_verdict(text: str, aside: str, columns: int) -> str:
    """A verdict in one line. If it is too long, first the aside is cut, then the state; the remedy stays."""
    state, arrow, remedy = text.partition(ARROW)
    if len(text) <= columns or not arrow:
        whole = _fit(f"{text}{aside}", columns)
        return whole if whole.startswith(text) else _fit(text, columns)
    return _fit(f"{_fit(state, max(_LEAST_STATE, columns - len(arrow + remedy)))}{arrow}{remedy}", columns)


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


def _dag_lines(answer: Mapping[str, Any], count: int, columns: int) -> list[Line]:
    """A title, a header, and the first ``count`` DAGs of a report."""
    by = str(answer["by"])
    shown = _columns_of(by, columns)
    name = max(_LEAST_NAME, min(60, columns - len(_cells({}, shown))))
    held = f"{answer['versions']} versions, {format_bytes(answer['bytes'])}"
    order = f"{min(count, len(answer['dags']))} DAGs by {by}"
    title = f"{answer['component']}, process {answer['pid']}: {held}; {order}"
    header = f"{'dag':<{name}}{_cells({each: each for each in shown}, shown)}"
    lines = [Line(title, "title"), Line(header, "dim")]
    for dag in answer["dags"][:count]:
        label = _fit(dag["dag_id"] or "(unknown)", name)
        lines.append(Line(f"{label:<{name}}{_cells(_dag_cells(dag, answer['bytes']), shown)}"))
    return lines


def _columns_of(by: str, columns: int) -> list[str]:
    """The columns of a list of DAGs: all if there is room for names, and always the one that it is sorted by."""
    if columns - len(_cells({}, list(_DAG_WIDTHS))) >= 2 * _LEAST_NAME:
        return list(_DAG_WIDTHS)
    return [name for name in _DAG_WIDTHS if name not in _WIDE_ONLY or name == _COLUMN_OF.get(by)]


def _dag_cells(dag: Mapping[str, Any], whole: int) -> dict[str, str]:
    return {
        "versions": f"{dag['versions']}",
        "live": f"{dag['live']}",
        "bytes": format_bytes(dag["bytes"]),
        "share": f"{dag['bytes'] / (whole or 1):.1%}",
        "idle": "-" if dag["idle_seconds"] is None else format_seconds(dag["idle_seconds"]),
        "loads": f"{dag['loads']}",
        "load s": f"{dag['load_seconds']:.2f}",
        "thaws": f"{dag['thaws']}",
        "thaw s": f"{dag['thaw_seconds']:.2f}",
        "newer": f"{dag['newer_versions']}",
    }


def _cells(cells: Mapping[str, str], shown: Sequence[str]) -> str:
    return "".join(f" {cells.get(name, ''):>{_DAG_WIDTHS[name]}}" for name in shown)


def _fit(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: max(0, columns - 3)]}..."[:columns]


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
