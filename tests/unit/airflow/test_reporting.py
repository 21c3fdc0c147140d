"""Reports through Airflow's own metrics: names, growth of counters, failures, the thread."""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import fields
from typing import Any

import pytest

from dagcache.airflow.reporting import PRESSURE, REGISTRY, SHORTEST_INTERVAL, Reporting
from dagcache.core.cache import DagCache
from dagcache.pressure import MemoryPressure
from dagcache.stats import CacheStats
from tests.support.caches import Weighted, make_cache
from tests.support.patience import PATIENCE


class Client:
    """Airflow's statistics, as far as they are used."""

    def __init__(self) -> None:
        self.gauges: dict[str, float] = {}
        self.counts: list[tuple[str, float]] = []
        self.called = threading.Event()

    def gauge(self, name: str, value: float) -> None:
        self.gauges[name] = value
        self.called.set()

    def incr(self, name: str, count: float) -> None:
        self.counts.append((name, count))

    def counted(self) -> dict[str, float]:
        """The counts since the last call, by name."""
        found = dict(self.counts)
        assert len(found) == len(self.counts)
        self.counts.clear()
        return found


class Moody(Client):
    """One that refuses the first call for each name in a set."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = set(refused)

    def gauge(self, name: str, value: float) -> None:
        self._refuse(name)
        super().gauge(name, value)

    def incr(self, name: str, count: float) -> None:
        self._refuse(name)
        super().incr(name, count)

    def _refuse(self, name: str) -> None:
        if name in self.refused:
            self.refused.remove(name)
            raise OSError("no route to host")


class Broken(Client):
    """One whose server is gone."""

    def gauge(self, name: str, value: float) -> None:
        raise OSError("no route to host")


@pytest.fixture
def cache() -> DagCache[Any, Any]:
    """Named as the scheduler's."""
    return make_cache(max_bytes="1MiB", name="scheduler")[0]


def test_gauges_have_the_state_of_the_cache(cache: DagCache[Any, Any]) -> None:
    """Under names that start with the component."""
    cache["etl"] = Weighted("etl", 2000)
    client = Client()
    Reporting(cache, None, client).once()
    stats = cache.stats()
    assert client.gauges["scheduler.dagcache.bytes.live"] == stats.live_bytes > 1000
    assert client.gauges["scheduler.dagcache.max_bytes"] == 1024**2
    assert client.gauges["scheduler.dagcache.entries.live"] == 1
    cache.check_invariants()


def test_a_counter_has_its_growth_since_the_report_before(cache: DagCache[Any, Any]) -> None:
    """And is not reported where it has not grown."""
    client = Client()
    reporting = Reporting(cache, None, client)
    cache.get_or_load("etl", Weighted)
    cache.get_or_load("etl", Weighted)
    reporting.once()
    assert client.counted() == {
        "scheduler.dagcache.hits.live": 1,
        "scheduler.dagcache.misses": 1,
        "scheduler.dagcache.loads": 1,
    }
    cache.get("missing")
    del cache["etl"]
    reporting.once()
    assert client.counted() == {"scheduler.dagcache.misses": 1, "scheduler.dagcache.evictions.explicit": 1}
    reporting.once()
    assert client.counted() == {}


@pytest.mark.parametrize(("resident", "reported"), [(0, 0), (100 * 1024**2, 1)])
def test_memory_pressure_is_a_gauge(cache: DagCache[Any, Any], resident: int, reported: int) -> None:
    """It is 1 from the first step down."""
    pressure = MemoryPressure(cache, limit=lambda: 100 * 1024**2, resident=lambda: resident)
    pressure.step()
    client = Client()
    Reporting(cache, pressure, client).once()
    assert client.gauges[f"scheduler.dagcache.{PRESSURE}"] == reported


def test_without_a_pressure_watch_there_is_no_such_gauge(cache: DagCache[Any, Any]) -> None:
    """It would say that there is no pressure."""
    client = Client()
    Reporting(cache, None, client).once()
    assert f"scheduler.dagcache.{PRESSURE}" not in client.gauges


def test_a_client_that_fails_is_one_log_line(cache: DagCache[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    """However often it fails within a minute; nothing is raised."""
    reporting = Reporting(cache, None, Broken())
    with caplog.at_level(logging.ERROR, "dagcache"):
        reporting.once()
        reporting.once()
    (record,) = caplog.records
    assert "could not report the cache of the scheduler through Airflow's metrics" in record.getMessage()


def test_growth_that_could_not_be_reported_stays_for_the_next_report(cache: DagCache[Any, Any]) -> None:
    """And a metric that fails does not keep the others from being reported."""
    client = Moody("scheduler.dagcache.misses", "scheduler.dagcache.bytes.live")
    reporting = Reporting(cache, None, client)
    cache.get("missing")
    reporting.once()
    assert client.counted() == {"scheduler.dagcache.absent": 1} or client.counted() == {}
    assert "scheduler.dagcache.entries.frozen" in client.gauges
    cache.get("missing")
    reporting.once()
    assert client.counted()["scheduler.dagcache.misses"] == 2


def test_a_thread_reports_until_it_is_stopped(cache: DagCache[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """And stopping one that was not started does nothing."""
    monkeypatch.setattr("dagcache.airflow.reporting.SHORTEST_INTERVAL", 0.001)
    client = Client()
    reporting = Reporting(cache, None, client)
    reporting.stop()
    reporting.start(0.001)
    assert client.called.wait(PATIENCE)
    (thread,) = [each for each in threading.enumerate() if each.name == "dagcache-reporting"]
    reporting.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_interval_has_a_lower_limit(cache: DagCache[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting of a millisecond would take a share of the processor."""
    intervals: list[float] = []
    monkeypatch.setattr("dagcache.airflow.reporting.repeat", lambda *arguments: intervals.append(arguments[2]))
    Reporting(cache, None, Client()).start(0.001)
    assert intervals == [SHORTEST_INTERVAL]


def test_names_are_unique_and_valid_in_statsd() -> None:
    """Letters, digits, dots and underscores."""
    names = [metric.name for metric in REGISTRY]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", name) for name in names)
    assert {metric.kind for metric in REGISTRY} == {"gauge", "counter"}


def test_every_eviction_cause_and_rejection_is_reported() -> None:
    """A new one has a name by itself."""
    mappings = {field.name for field in fields(CacheStats) if field.name in ("evictions", "rejections")}
    prefixes = {metric.name.partition(".")[0] for metric in REGISTRY}
    assert mappings <= prefixes
