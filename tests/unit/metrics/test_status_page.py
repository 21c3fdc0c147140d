"""The status page: the figures of the endpoint, complete in itself, and nothing about DAGs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from dagcache.metrics.collector import CacheCollector, FaultCollector
from dagcache.metrics.responses import Responder
from dagcache.metrics.status_page import StatusPage
from dagcache.stats import ComponentStats, WarmStats
from tests.support.caches import MIB, fill, make_cache
from tests.support.clock import ManualClock


def registry_of(collector: Collector) -> CollectorRegistry:
    """A registry with one collector."""
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def text_of(html: str) -> str:
    """The text that a reader sees."""

    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.parts: list[str] = []
            self._hidden = False

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self._hidden = tag in ("style", "title")

        def handle_endtag(self, tag: str) -> None:
            self._hidden = False

        def handle_data(self, data: str) -> None:
            if not self._hidden:
                self.parts.append(data)

    reader = Text()
    reader.feed(html)
    return " ".join(" ".join(reader.parts).split())


def test_the_page_has_the_figures_of_the_cache() -> None:
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    fill(cache, range(60))
    fill(cache, range(60))
    figures = ComponentStats(quarantined=3, quarantine_misses=8, internal_errors=2)
    shown = text_of(StatusPage(registry_of(CacheCollector([cache], beside={"scheduler": lambda: figures}))).html())
    stats = cache.stats()
    assert "scheduler 0.1.0 enforce" in shown
    assert "versions in quarantine, 3 now" in shown
    assert f"of 1.0 MiB live {stats.live_bytes / 1024:.1f} KiB frozen" in shown
    assert "Lookups since the start: 120 live " in shown
    assert f"{stats.live_entries} live, {stats.entries - stats.live_entries} frozen only" in shown
    assert f"demoted {stats.demotions} to frozen" in shown
    assert "pressure off" in shown
    assert "faults 2 internal" in shown
    assert "in quarantine 3, with 8 lookups" in shown


def test_the_page_has_the_figures_of_a_warm_store_if_there_is_one() -> None:
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    figures = ComponentStats(warm=WarmStats(hits=412, misses=3, stored=4, records=415, forged=1, errors={"slow": 2}))
    for beside, expected in (({}, False), ({"scheduler": lambda: figures}, True)):
        shown = text_of(StatusPage(registry_of(CacheCollector([cache], beside=beside))).html())
        text = "warm store 412 hits, 3 misses, 4 stored, 415 records, 1 rejected, 2 errors"
        assert (text in shown) is expected
        assert ("warm store" in shown) is expected


def test_a_second_view_shows_the_lookups_since_the_first_one_or_of_half_a_minute() -> None:
    clock = ManualClock()
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    page = StatusPage(registry_of(CacheCollector([cache])), clock)
    fill(cache, range(10))
    shown = []
    for _ in range(6):
        shown.append(text_of(page.html()))
        fill(cache, range(10))
        clock.advance(10)
    spans = [re.findall(r"Lookups (.*?): (\d+)", each)[0] for each in shown]
    assert spans == [
        ("since the start", "10"),
        ("in the last 10 s", "10"),
        ("in the last 20 s", "20"),
        *[("in the last 30 s", "30")] * 3,
    ]
    assert "Endpoint open for 50 s" in shown[-1]


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_the_page_has_the_mode(mode: str) -> None:
    cache, _ = make_cache(mode=mode, name="scheduler")
    assert f"scheduler 0.1.0 {mode}" in text_of(StatusPage(registry_of(CacheCollector([cache]))).html())


def test_an_unbounded_cache_has_no_free_part() -> None:
    cache, _ = make_cache(max_bytes=0, name="scheduler")
    fill(cache, range(3))
    html = StatusPage(registry_of(CacheCollector([cache]))).html()
    assert "of unbounded" in html
    assert "free " not in text_of(html)


def test_a_fault_that_keeps_the_cache_off_is_all_that_the_page_shows() -> None:
    shown = text_of(StatusPage(registry_of(FaultCollector("scheduler", "setting"))).html())
    assert "off because of a fault (setting)" in shown
    assert "Budget" not in shown


def test_an_endpoint_without_a_cache_has_a_page_as_well() -> None:
    assert "no cache in this process" in StatusPage(CollectorRegistry()).html()


def test_names_cannot_inject_markup() -> None:
    """The name of a cache is the user's."""
    cache, _ = make_cache(name='<script>"x')
    html = StatusPage(registry_of(CacheCollector([cache]))).html()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_page_needs_nothing_from_elsewhere_and_names_no_key() -> None:
    """No script, no image, no font; the browser is forbidden to fetch any."""
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    cache["a-secret-dag"] = cache["another"] = bytes(10)
    head, _, body = (
        Responder(registry_of(CacheCollector([cache])))
        .response_to(b"GET / HTTP/1.1\r\n\r\n")
        .decode()
        .partition("\r\n\r\n")
    )
    assert "Content-Security-Policy: default-src 'none'" in head
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", body) == ["/metrics"]
    assert "<script" not in body
    assert "a-secret-dag" not in body


def test_the_health_of_the_endpoint_is_known_without_collecting() -> None:
    """A probe of every second must cost nothing, and must not fail with a metric."""

    class Failing(Collector):
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> Any:
            raise RuntimeError("on purpose")

    responder = Responder(registry_of(Failing()))
    assert responder.response_to(b"GET /-/healthy HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert responder.response_to(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
