"""The endpoint of a component: served, announced, and taken back."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from dagcache.metrics.exposition import Exposition
from dagcache.metrics.scrape import scrape
from dagcache.pressure import MemoryPressure
from tests.support.caches import make_cache


def test_what_is_served_is_announced(tmp_path: Path) -> None:
    """Prometheus finds the port in the directory, and the cache's figures at the port."""
    cache, _ = make_cache(name="scheduler")
    pressure = MemoryPressure(cache, limit=lambda: 2**40)
    pressure.step()
    exposition = Exposition(cache, pressure, host="127.0.0.1", ports=(0,), targets=tmp_path)
    (file,) = tmp_path.glob("*.json")
    (target,) = json.loads(file.read_text())
    assert target == {"targets": [f"localhost:{exposition.port}"], "labels": {"component": "scheduler"}}
    told = scrape(f"http://127.0.0.1:{exposition.port}/metrics")
    assert told.value("dagcache_max_bytes", component="scheduler") == cache.max_bytes
    assert told.value("dagcache_pressure_state", component="scheduler", state="calm") == 1
    exposition.close()
    assert exposition.port is None
    assert not list(tmp_path.glob("*.json"))


def test_a_port_that_is_taken_is_not_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning; the cache serves on."""
    cache, _ = make_cache()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        exposition = Exposition(cache, None, host="127.0.0.1", ports=(port,), targets=tmp_path)
    assert exposition.port is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not list(tmp_path.iterdir())
    exposition.close()
