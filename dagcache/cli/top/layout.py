"""What `top` shows, as lines of text: in full where there is room, else two lines per component."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dagcache.cli.shared.live_view import Line, bar
from dagcache.cli.shared.snapshot import Durations, Figures
from dagcache.cli.top.delta import Window
from dagcache.cli.top.history import Seen
from dagcache.cli.top.verdict import format_seconds, share_of_memory
from dagcache.sizing.limits import format_bytes

_LABEL = 10
_BAR = 30
_DAG_COLUMNS = 42  # all but the name


def picture(
    seen: Sequence[Seen], dags: Sequence[Mapping[str, Any]], notes: Sequence[str], *, columns: int, lines: int | None
) -> list[Line]:
    """All of it, no wider and, if that can be, no longer than stated; what is too long is cut off below."""
    for block in (_full, _short):
        blocks = [block(each, columns) for each in seen]
        blocks += [_dag_lines(answer, columns) for answer in dags]
        blocks += [[Line(note, "dim")] for note in notes]
        drawn = [line for number, block_ in enumerate(blocks) for line in ([Line("")] if number else []) + block_]
        if lines is None or len(drawn) <= lines:
            break
    cut = [Line(_fit(line.text, columns), line.kind) for line in drawn[:lines]]
    if lines is not None and len(drawn) > lines:
        cut[-1] = Line(f"... {len(drawn) - lines + 1} more lines: a larger terminal, or --once", "dim")
    return cut


def rows(window: Window) -> list[tuple[str, str]]:
    """Name and text of each figure of a component; rates where there are two scrapes, else counts since its start."""
    now = window.now
    return [
        ("lookups", _lookups(window)),
        ("versions", f"{now.live_entries} live, {now.frozen_entries} frozen only; {_victim(now)}"),
        ("bytes", f"{bar(now, _BAR)} {format_bytes(now.used_bytes)} of {_limit(now.max_bytes)}"),
        ("by tier", _tiers(now)),
        ("left", _left(window)),
        ("loads", f"{_timed(window, window.loads, now.loads)}; {_loads(now)}"),
        ("thaws", f"{_timed(window, window.thaws, now.thaws)}"),
        ("memory", _memory(now)),
    ]


def plain(text: str) -> str:
    """Text from elsewhere, without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _full(seen: Seen, columns: int) -> list[Line]:
    lines = [_title(seen), *_verdict_lines(seen, columns)]
    if seen.is_up:
        lines += [Line(f"{name:<{_LABEL}}{text}") for name, text in rows(seen.window)]
    return lines


def _short(seen: Seen, columns: int) -> list[Line]:
    now = seen.window.now
    figures = f"{_limit(now.max_bytes)} budget, RSS {format_bytes(now.rss_bytes)}"
    return [
        Line(plain(f"{seen.component}  {urlsplit(seen.url).netloc}  {_lookups(seen.window)}"), "title"),
        Line(_fit(f"{seen.verdict.text} ({format_bytes(now.used_bytes)} of {figures})", columns), seen.verdict.level),
    ]


def _title(seen: Seen) -> Line:
    version = f"  dagcache {seen.window.now.version}" if seen.window.now.version else ""
    return Line(plain(f"{seen.component}  {seen.url}{version}"), "title")


def _verdict_lines(seen: Seen, columns: int) -> list[Line]:
    wrapped = textwrap.wrap(plain(seen.verdict.text), max(20, columns - _LABEL)) or [""]
    return [
        Line(f"{'' if number else 'verdict':<{_LABEL}}{text}", seen.verdict.level)
        for number, text in enumerate(wrapped)
    ]


def _lookups(window: Window) -> str:
    rate = window.rate(lambda figures: figures.lookups)
    if not window.now.lookups:
        return "none so far"
    if rate is None or not window.grown(lambda figures: figures.lookups):
        window = Window(window.now)
        amount = f"{'' if rate is None else 'none lately; '}{window.now.lookups} in all"
    else:
        amount = per_second(rate)
    lookups = window.grown(lambda figures: figures.lookups)
    live, frozen, missed = (
        window.grown(count) / lookups
        for count in (lambda each: each.hits_live, lambda each: each.hits_frozen, lambda each: each.misses)
    )
    return f"{amount}: {live:.1%} live, {frozen:.1%} frozen, {missed:.1%} missed"


def _victim(now: Figures) -> str:
    if not now.live_entries + now.frozen_entries:
        return "none held"
    return f"next victim idle {format_seconds(now.next_victim_idle_seconds)}"


def _limit(max_bytes: int) -> str:
    return format_bytes(max_bytes) if max_bytes else "unbounded"


def _tiers(now: Figures) -> str:
    live, frozen, overhead = map(format_bytes, (now.live_bytes, now.frozen_bytes, now.overhead_bytes))
    waiting = f" + {format_bytes(now.waiting_bytes)} waiting" if now.waiting_bytes else ""
    return f"{live} live + {frozen} frozen + {overhead} overhead{waiting}"


def _left(window: Window) -> str:
    demoted = window.rate(lambda figures: figures.demotions)
    text = f"{window.now.demotions} demoted" if demoted is None else f"{per_second(demoted)} demoted to frozen"
    causes = [f"{count} {cause}" for cause, count in window.now.evicted.items() if count]
    return f"{text}; evicted in all: {', '.join(causes) or 'none'}"


def _timed(window: Window, shown: Durations, whole: Durations) -> str:
    if not whole.count:
        return "none so far"
    rate = window.rate(lambda figures: (figures.loads if whole is window.now.loads else figures.thaws).count)
    amount = f"{whole.count} in all" if rate is None else per_second(rate)
    return f"{amount}, p50 {format_duration(shown.quantile(0.5))}, p99 {format_duration(shown.quantile(0.99))}"


def _loads(now: Figures) -> str:
    return f"{now.load_failures} failed, {now.joins} shared"


def _memory(now: Figures) -> str:
    limit = f" of {format_bytes(now.limit_bytes)} ({now.limit_source})" if now.limit_bytes else ""
    return f"{format_bytes(now.rss_bytes)} resident{limit}, {share_of_memory(now):.0%} cache; pressure: {now.pressure}"


def _dag_lines(answer: Mapping[str, Any], columns: int) -> list[Line]:
    held = f"{answer['versions']} versions, {format_bytes(answer['bytes'])}"
    name = max(12, min(60, columns - _DAG_COLUMNS))
    header = f"{'dag':<{name}} {'versions':>8} {'live':>5} {'bytes':>11} {'share':>6} {'idle':>7}"
    lines = [Line(plain(f"{answer['component']}, process {answer['pid']}: {held}"), "title"), Line(header, "dim")]
    for dag in answer["dags"]:
        share = dag["bytes"] / (answer["bytes"] or 1)
        shown = _fit(plain(dag["dag_id"] or "(not known)"), name)
        idle = format_seconds(dag["idle_seconds"])
        counts = f"{dag['versions']:>8} {dag['live']:>5} {format_bytes(dag['bytes']):>11}"
        lines.append(Line(f"{shown:<{name}} {counts} {share:>6.1%} {idle:>7}"))
    return lines


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
