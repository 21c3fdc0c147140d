"""The status page of an endpoint: one HTML page per view, complete in itself, without scripts. It names no DAGs.

The browser loads it again every few seconds. It shows the figures of the endpoint's own metrics, so it can show no more
than Prometheus sees. Rates are over the last half minute (`dagcache.metrics.window`); the first view has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from html import escape

from prometheus_client import CollectorRegistry

from dagcache.metrics.delta import Delta
from dagcache.metrics.scrape import Scrape
from dagcache.metrics.snapshot import Snapshot, components, snapshot
from dagcache.metrics.verdict import format_seconds, verdict
from dagcache.metrics.window import Window
from dagcache.sizing.limits import format_bytes, format_limit

REFRESH_SECONDS = 5

_Bar = list[tuple[str, float, str]]
"""The parts of a bar from left to right: a class of the style sheet, an amount, and the text of the legend."""

_STYLE = """
:root { color-scheme: light dark; --text: #1c2733; --dim: #5b6875; --page: #f5f7f9; --card: #ffffff; --line: #d5dbe1;
  --live: #1f77b4; --frozen: #76b7e5; --overhead: #8d99a6; --waiting: #e08a1e; --missed: #c8412f; --free: #e6eaee;
  --good: #1d7a3e; --info: #43617d; --warning: #9a5b00; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e9ee; --dim: #9aa7b4; --page: #12171c; --card: #1b2229;
  --line: #323c46; --live: #4da3dc; --frozen: #2c5f86; --overhead: #66727e; --waiting: #d98a2b; --missed: #e0604f;
  --free: #2a333c; --good: #6cc88c; --info: #9fbad3; --warning: #f0b35a; --bad: #f2867c; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.2rem; margin: 0 0 1rem; } h2 { font-size: 1.05rem; margin: 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.25rem;
  margin-bottom: 1rem; }
.dim, footer { color: var(--dim); } .verdict { font-weight: 600; margin: .25rem 0 1rem; }
.good { color: var(--good); } .info { color: var(--info); }
.warning { color: var(--warning); } .bad { color: var(--bad); }
.bar { display: flex; height: 1.1rem; border-radius: 4px; overflow: hidden; background: var(--free); margin: .2rem 0; }
.bar i, .key { background: var(--free); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; }
.live { background: var(--live) !important; } .frozen { background: var(--frozen) !important; }
.overhead { background: var(--overhead) !important; } .waiting { background: var(--waiting) !important; }
.missed { background: var(--missed) !important; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .87rem; margin-bottom: .8rem; }
dl { display: grid; grid-template-columns: 9rem 1fr; gap: .15rem 1rem; margin: 0; } dt { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; } a { color: inherit; }
"""


class StatusPage:
    """Renders the page from a registry. Not thread-safe: the thread of the endpoint calls it."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._started = clock()
        self._windows: dict[str, Window] = {}

    def html(self) -> str:
        """The page.

        Raises:
            ValueError: the registry has metrics that are not those of dagcache.

        """
        found = Scrape(sample for family in self._registry.collect() for sample in family.samples)
        now = self._clock()
        shown = [_section(name, self._delta(name, now, snapshot(found, name))) for name in components(found)]
        content = "".join(shown) or "<section>no cache in this process</section>"
        age = format_seconds(now - self._started)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>dagcache</title>'
            f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<style>{_STYLE}</style></head><body><h1>dagcache</h1>{content}"
            f'<footer>Endpoint open for {age}. <a href="/metrics">Metrics for Prometheus</a>. '
            f"This page reloads every {REFRESH_SECONDS} s.</footer></body></html>\n"
        )

    def _delta(self, name: str, now: float, figures: Snapshot) -> Delta:
        window = self._windows.setdefault(name, Window())
        window.add(now, figures)
        return window.delta


def _section(name: str, delta: Delta) -> str:
    now, judged = delta.now, verdict(delta)
    head = (
        f'<section><h2>{escape(name)} <span class="dim">{escape(f"{now.version} {now.mode}")}</span></h2>'
        f'<p class="verdict {judged.level}">{escape(judged.text)}</p>'
    )
    body = "" if now.off_because else f"{_budget(now)}{_lookups(delta)}{_rows(delta)}"
    return f"{head}{body}</section>"


def _budget(now: Snapshot) -> str:
    tiers = ("live", now.live_bytes), ("frozen", now.frozen_bytes), ("overhead", now.overhead_bytes)
    parts: _Bar = [
        (tier, amount, f"{tier} {format_bytes(amount)}") for tier, amount in (*tiers, ("waiting", now.waiting_bytes))
    ]
    free = max(0, now.max_bytes - now.used_bytes)
    parts += [("free", free, f"free {format_bytes(free)}")] if now.max_bytes else []
    return _bar(f"Budget: {format_bytes(now.used_bytes)} of {format_limit(now.max_bytes)}", parts)


def _lookups(delta: Delta) -> str:
    counts = {
        "live": delta.grown(lambda each: each.hits_live),
        "frozen": delta.grown(lambda each: each.hits_frozen),
        "missed": delta.grown(lambda each: each.misses),
    }
    whole = sum(counts.values())
    span = f"in the last {format_seconds(delta.seconds)}" if delta.is_open else "since the start"
    parts: _Bar = [(kind, count, f"{kind} {count / (whole or 1):.1%}") for kind, count in counts.items()]
    return _bar(f"Lookups {span}: {whole:.0f}", parts)


def _bar(title: str, parts: _Bar) -> str:
    whole = sum(amount for _, amount, _ in parts) or 1
    drawn = "".join(f'<i class="{kind}" style="width:{100 * amount / whole:.2f}%"></i>' for kind, amount, _ in parts)
    legend = "".join(f'<span><span class="key {kind}"></span> {escape(text)}</span>' for kind, _, text in parts)
    return f'<div>{escape(title)}</div><div class="bar">{drawn}</div><div class="legend">{legend}</div>'


def _rows(delta: Delta) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in _facts(delta))
    return f"<dl>{rows}</dl>"


def _facts(delta: Delta) -> Iterator[tuple[str, str]]:
    now = delta.now
    yield "DAG versions", f"{now.live_entries} live, {now.frozen_entries} frozen only"
    idle = format_seconds(now.next_victim_idle_seconds) if now.live_entries + now.frozen_entries else "none"
    yield "next victim", f"idle {idle}"
    yield "evicted", ", ".join(f"{count} {cause}" for cause, count in now.evicted.items() if count) or "none"
    yield "demoted", f"{now.demotions} to frozen"
    yield "loads", _durations(now.loads.count, delta.loads.quantile) + f"; {now.load_failures} failed"
    yield "thaws", _durations(now.thaws.count, delta.thaws.quantile) + f"; {now.thaw_failures} failed"
    limit = f" of {format_bytes(now.limit_bytes)} ({now.limit_source})" if now.limit_bytes else ""
    if now.warm.text:
        yield "warm store", now.warm.text
    yield "memory", f"{format_bytes(now.rss_bytes)} resident{limit}"
    yield "pressure", now.pressure
    yield "faults", f"{now.internal_errors} internal, {now.listener_failures} of a listener"
    yield "not frozen", f"{now.unfrozen} loads of versions that cannot be frozen"
    yield "in quarantine", f"{now.quarantined}, with {now.quarantine_misses} lookups"


def _durations(count: int, quantile: Callable[[float], float]) -> str:
    return f"{count}, p50 {quantile(0.5) * 1000:.1f} ms, p99 {quantile(0.99) * 1000:.1f} ms" if count else "none"
