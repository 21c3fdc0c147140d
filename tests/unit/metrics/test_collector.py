"""The metrics in Prometheus, compared with the definitions and with the statistics."""

from __future__ import annotations

import os
import re
import time
from importlib.metadata import version
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dagcache import ConfigError, DagCache, Rejection, RemovalCause
from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.definitions import METRICS
from dagcache.metrics.process_age import process_age
from dagcache.metrics.scrape import parse
from dagcache.pressure import MemoryPressure, PressureState
from tests.support.caches import MIB, Weighted, fill, make_cache
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "metrics.md"


def scrape(*caches: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of the text that Prometheus would get, by name and labels."""
    registry = CollectorRegistry()
    registry.register(CacheCollector(caches))
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def busy_cache(name: str = "scheduler") -> Any:
    """A cache with some lookups."""
    cache, clock = make_cache(max_bytes=MIB, ttl=1000, name=name)
    for _ in range(3):
        clock.advance(10)
        fill(cache, range(25))
    cache.get("absent")
    del cache[3]
    return cache


def test_every_metric_of_the_registry_is_exposed_and_no_other() -> None:
    """Names in code and on the wire are the same, also before anything has happened."""
    cache, _ = make_cache()
    bare = {re.sub("_(bucket|count|sum)$", "", name) for name, _ in scrape(cache)}
    assert bare == {metric.name for metric in METRICS}


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_which_version_runs_and_whether_it_evicts_can_be_read(mode: str) -> None:
    """A cache that only observes looks like any other by its counts."""
    cache, _ = make_cache(mode=mode)
    labels = [dict(labels) for name, labels in scrape(cache) if name == "dagcache_info"]
    assert [(each["version"], each["mode"]) for each in labels] == [(version("dagcache"), mode)]


TIERS = ("live", "frozen", "overhead", "waiting")


def test_what_callers_hold_of_what_left_is_a_tier() -> None:
    """Until they drop it."""
    cache: DagCache[str, Any] = DagCache(max_bytes=0, name="scheduler")
    held = cache.get_or_load("a", lambda _: Weighted("a"))
    del cache["a"]
    waiting = ("dagcache_bytes", (("component", "scheduler"), ("tier", "waiting")))
    assert scrape(cache)[waiting] == cache.stats().waiting_bytes > 0
    del held
    assert scrape(cache)[waiting] == 0


def test_the_samples_are_the_statistics() -> None:
    """Counters and gauges say what `stats` says."""
    cache = busy_cache()
    samples, stats = scrape(cache), cache.stats()
    component = ("component", "scheduler")
    assert samples["dagcache_hits_total", (component, ("tier", "live"))] == stats.hits_live > 0
    assert samples["dagcache_hits_total", (component, ("tier", "frozen"))] == stats.hits_frozen > 0
    assert samples["dagcache_misses_total", (component,)] == stats.misses == 26
    assert samples["dagcache_absent_total", (component,)] == 1
    assert samples["dagcache_max_bytes", (component,)] == MIB
    held = [samples["dagcache_bytes", (component, ("tier", tier))] for tier in TIERS]
    assert sum(held) == stats.total_bytes
    entries = [samples["dagcache_entries", (component, ("tier", tier))] for tier in ("live", "frozen")]
    assert sum(entries) == stats.entries == 24
    assert samples["dagcache_load_duration_seconds_count", (component,)] == stats.loads
    assert samples["dagcache_entry_bytes_count", (component,)] == 24
    assert samples["dagcache_process_resident_bytes", (component,)] > 10 * MIB


def test_the_start_is_that_of_the_process_in_each_scrape() -> None:
    """Not of the cache or of the scrape: two caches of a process have the same."""
    before = time.time()
    registry = CollectorRegistry()
    registry.register(CacheCollector([make_cache(name="scheduler")[0]]))
    name, labels = "dagcache_process_start_time_seconds", {"component": "scheduler"}
    first, second = (registry.get_sample_value(name, labels) for _ in range(2))
    assert first is not None
    assert first == second
    age = process_age(os.getpid())
    assert age is None or abs(before - age - first) < 2


def test_every_label_value_is_there_from_the_start() -> None:
    """A rate over a counter that appears with its first event misses that event."""
    cache, _ = make_cache()
    samples = scrape(cache)
    for cause in RemovalCause:
        assert samples["dagcache_evictions_total", (("cause", cause.value), ("component", "default"))] == 0
    for reason in Rejection:
        assert samples["dagcache_rejections_total", (("component", "default"), ("reason", reason.value))] == 0


def test_the_pressure_is_the_one_state_that_is_1() -> None:
    (watched, _), (alone, _) = make_cache(max_bytes=MIB, name="scheduler"), make_cache(name="api_server")
    pressure = MemoryPressure(watched, limit=lambda: 1000 * MIB, resident=lambda: MIB)
    registry = CollectorRegistry()
    registry.register(CacheCollector([watched, alone], pressures={"scheduler": pressure}))

    def states() -> dict[str, str]:
        samples = parse(generate_latest(registry).decode())
        for component in ("scheduler", "api_server"):
            assert samples.total("dagcache_pressure_state", component=component) == 1
        return {
            labels["component"]: labels["state"]
            for labels in samples.labels("dagcache_pressure_state")
            if samples.value("dagcache_pressure_state", **labels) == 1
        }

    assert states() == {"scheduler": "off", "api_server": "off"}
    pressure.step()
    assert states() == {"scheduler": "calm", "api_server": "off"}


def test_every_state_of_pressure_is_exposed_and_documented() -> None:
    """From the start."""
    cache, _ = make_cache()
    exposed = {dict(labels)["state"] for name, labels in scrape(cache) if name == "dagcache_pressure_state"}
    assert exposed == {state.value for state in PressureState}
    section = DOCUMENT.read_text().partition("## Memory pressure")[2]
    assert all(f"`{state}`" in section for state in exposed)


def test_histograms_are_cumulative() -> None:
    """Buckets never fall, and the last one counts everything."""
    samples = scrape(busy_cache())
    buckets = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in samples.items()
        if name == "dagcache_load_duration_seconds_bucket"
    ]
    values = [value for _, value in sorted(buckets)]
    assert values == sorted(values)
    assert values[-1] == 25


def test_several_caches_share_a_registry() -> None:
    """Each under its own component."""
    samples = scrape(busy_cache("scheduler"), busy_cache("api"))
    components = {dict(labels)["component"] for _, labels in samples}
    assert components == {"scheduler", "api"}


def test_a_metric_that_cannot_be_told_costs_itself_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every metric in turn: an unknown version once made every scrape a 500."""
    cache = busy_cache()
    whole = {name for name, _ in scrape(cache)}

    def failing(_: object) -> Any:
        raise RuntimeError("of our own")

    for metric in METRICS:
        collector = CacheCollector([cache])
        monkeypatch.setitem(collector._samples, metric.name, failing)
        registry = CollectorRegistry()
        registry.register(collector)
        caplog.clear()
        for _ in range(3):
            samples = text_string_to_metric_families(generate_latest(registry).decode())
            left = {sample.name for family in samples for sample in family.samples}
            assert {re.sub("_(bucket|count|sum)$", "", name) for name in whole - left} == {metric.name}
        assert [record.getMessage() for record in caplog.records] == [
            f"could not collect the metric {metric.name} (RuntimeError)"
        ]


def test_registering_does_not_collect() -> None:
    """A registry must not take a snapshot while an application is being put together."""
    cache, _ = make_cache()
    taken = []
    cache.stats = lambda: taken.append(1)  # type: ignore[method-assign, assignment, return-value]
    CollectorRegistry().register(CacheCollector([cache]))
    assert taken == []


def test_the_number_of_series_does_not_depend_on_the_keys() -> None:
    """Ten thousand ids, no more series than one."""
    cache, _ = make_cache()
    few = len(scrape(cache))
    fill(cache, range(10_000), nbytes=10)
    assert len(scrape(cache)) == few <= 130


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_follows_the_conventions_and_is_documented(metric: Any) -> None:
    """Prefix, `_total` on counters only, a unit, a decision, and the very same line in the document."""
    assert metric.name.startswith("dagcache_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".")
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {metric.decision} |" in DOCUMENT.read_text()


def test_two_caches_of_one_name_are_refused() -> None:
    """Their samples would be the same series, and the exposition invalid."""
    one, other = make_cache(max_bytes=MIB, name="twin")[0], make_cache(max_bytes=MIB, name="twin")[0]
    with pytest.raises(ConfigError, match="twin"):
        CacheCollector([one, other])
