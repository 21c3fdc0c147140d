"""The view of a cache, from the metrics of a real one."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dagcache import DagCache
from dagcache.cli.shared.live_view import Screen, View, bar, rows, view
from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.scrape import Scrape, parse
from dagcache.metrics.snapshot import Snapshot, snapshot

NOW = Snapshot(
    hits_live=5,
    hits_frozen=3,
    misses=2,
    live_bytes=30 << 20,
    frozen_bytes=10 << 20,
    overhead_bytes=0,
    max_bytes=80 << 20,
    live_entries=4,
    frozen_entries=6,
    rss_bytes=300 << 20,
    demotions=7,
    evictions=1,
    thaw_seconds=0.0031,
    load_seconds=0.0142,
)


def _scraped(cache: DagCache[int, bytes]) -> Scrape:
    registry = CollectorRegistry()
    registry.register(CacheCollector([cache]))
    return parse(generate_latest(registry).decode())


def test_the_figures_are_those_of_the_cache() -> None:
    """Through the exposition format and back."""
    cache: DagCache[int, bytes] = DagCache(max_bytes="1MiB", name="scheduler")
    for key in (1, 2, 1):
        cache.get_or_load(key, lambda _key: b"x" * 1000)
    shown, stats = snapshot(_scraped(cache), "scheduler"), cache.stats()
    assert (shown.hits_live, shown.misses, shown.max_bytes) == (1, 2, 1 << 20)
    assert shown.used_bytes == stats.total_bytes > 2000
    assert shown.live_entries == stats.live_entries == 2
    assert shown.load_seconds == pytest.approx(stats.load_seconds.total / 2)
    assert shown.rss_bytes > 1 << 20


def test_evictions_of_all_causes_are_added_up() -> None:
    """There is a sample for each cause."""
    cache: DagCache[int, bytes] = DagCache(max_bytes=0, name="scheduler")
    for key in range(3):
        cache[key] = b""
    del cache[0]
    cache.clear()
    assert snapshot(_scraped(cache), "scheduler").evictions == 3


def test_another_components_figures_are_not_shown() -> None:
    """One endpoint may serve several."""
    cache: DagCache[int, bytes] = DagCache(max_bytes=1000, name="api_server")
    assert snapshot(_scraped(cache), "scheduler").max_bytes == 0


def test_every_figure_is_in_the_rows() -> None:
    """In units for people."""
    text = dict(rows(NOW))
    assert text["lookups"] == "10: 5 live, 3 frozen, 2 missed"
    assert text["versions held"] == "4 live, 6 frozen only"
    assert text["bytes"].endswith(" 40.0 MiB of 80.0 MiB")
    assert text["by tier"] == "30.0 MiB live, 10.0 MiB frozen"
    held = replace(NOW, waiting_bytes=5 << 20)
    assert dict(rows(held))["by tier"] == "30.0 MiB live, 10.0 MiB frozen, 5.0 MiB waiting"
    assert text["left"] == "7 demoted to frozen, 1 evicted"
    assert text["mean"] == "thaw 3.1 ms, load 14.2 ms"
    assert text["process"] == "300.0 MiB resident"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "###+...."),
        ({"live_bytes": 0, "frozen_bytes": 0}, "........"),
        ({"live_bytes": 90 << 20}, "########"),
        ({"max_bytes": 0}, "######++"),
        ({"max_bytes": 0, "live_bytes": 0, "frozen_bytes": 0}, "........"),
    ],
    ids=["half full", "empty", "more than full", "unbounded", "unbounded and empty"],
)
def test_the_bar_is_the_budgets_use(changes: dict[str, Any], expected: str) -> None:
    """Live, frozen and free; always as wide."""
    assert bar(replace(NOW, **changes), width=8) == expected


def test_lines_are_not_written_more_often_than_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one always is."""
    now = 100.0
    monkeypatch.setattr("dagcache.cli.shared.live_view.time.monotonic", lambda: now)
    told = io.StringIO()
    shown = View(told)
    shown.show([("runs", "1")])
    now = 104.9
    shown.show([("runs", "2")])
    now = 105.0
    shown.show([("runs", "3"), ("process", "big")])
    shown.show([("runs", "4")], last=True)
    assert told.getvalue().splitlines() == ["runs 1", "runs 3 | process big", "runs 4"]


def test_without_a_terminal_plain_lines_are_shown() -> None:
    """As under pytest."""
    assert type(view()) is View


def test_a_screen_draws_the_rows_and_the_notes(capsys: pytest.CaptureFixture[str]) -> None:
    """With rich, which writes what it draws last when it is closed."""
    screen = Screen()
    screen.note("[not markup]")
    screen.show(rows(NOW))
    screen.close()
    shown = capsys.readouterr().out
    assert "[not markup]" in shown
    assert "10: 5 live, 3 frozen, 2 missed" in shown
