"""The endpoint of a component: served, announced, and taken back."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from dagcache.metrics import endpoint as module
from dagcache.metrics.definitions import FAULTS
from dagcache.metrics.endpoint import FaultEndpoint, MetricsEndpoint
from dagcache.metrics.scrape import scrape
from dagcache.pressure import MemoryPressure
from tests.stress.test_threads import until
from tests.support.caches import make_cache


def test_what_is_served_is_announced(tmp_path: Path) -> None:
    """Prometheus finds the port in the directory, and the cache's figures at the port."""
    cache, _ = make_cache(name="scheduler")
    pressure = MemoryPressure(cache, limit=lambda: 2**40)
    pressure.step()
    exposition = MetricsEndpoint(cache, pressure, host="127.0.0.1", ports=(0,), targets=tmp_path)
    (file,) = tmp_path.glob("*.json")
    (target,) = json.loads(file.read_text())
    assert target == {"targets": [f"127.0.0.1:{exposition.port}"], "labels": {"component": "scheduler"}}
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
        exposition = MetricsEndpoint(cache, None, host="127.0.0.1", ports=(port,), targets=tmp_path)
    assert exposition.port is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert not list(tmp_path.iterdir())
    exposition.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_directory_that_hangs_does_not_hang_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A network file system may not answer for hours. There is one warning, and the announcement comes later."""
    monkeypatch.setattr(module, "_DIRECTORY_SECONDS", 0.05)
    draft = tmp_path / f"default-{socket.gethostname()}-{os.getpid()}.draft"
    os.mkfifo(draft)  # opening it for writing waits for a reader
    cache, _ = make_cache()
    exposition = MetricsEndpoint(cache, None, host="127.0.0.1", ports=(0,), targets=tmp_path)
    assert "dagcache-targets" in {thread.name for thread in threading.enumerate()}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "does not answer" in caplog.text
    assert scrape(f"http://127.0.0.1:{exposition.port}/metrics").value("dagcache_max_bytes") == cache.max_bytes
    with draft.open() as pipe:
        assert f"127.0.0.1:{exposition.port}" in pipe.read()
    until(lambda: any(tmp_path.glob("*.json")))
    exposition.close()
    until(lambda: "dagcache-targets" not in {thread.name for thread in threading.enumerate()})


def test_where_no_thread_can_be_had_it_is_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the endpoint was the last."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "dagcache-targets":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    cache, _ = make_cache()
    exposition = MetricsEndpoint(cache, None, host="127.0.0.1", ports=(0,), targets=tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 1
    exposition.close()


def test_the_announcement_is_renewed_while_the_process_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.01)
    exposition = MetricsEndpoint(make_cache()[0], None, host="127.0.0.1", ports=(0,), targets=tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.unlink()
    until(path.exists)
    exposition.close()
    assert not path.exists()


def test_a_withdrawn_endpoint_is_not_announced_and_still_answers(tmp_path: Path) -> None:
    """A server that shuts down may take a while for the requests under way."""
    exposition = MetricsEndpoint(make_cache()[0], None, host="127.0.0.1", ports=(0,), targets=tmp_path)
    exposition.withdraw()
    assert not list(tmp_path.iterdir())
    assert scrape(f"http://127.0.0.1:{exposition.port}/metrics").value("dagcache_max_bytes") is not None
    exposition.close()


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_has_an_endpoint_with_its_reason_and_nothing_of_a_cache(reason: str, tmp_path: Path) -> None:
    exposition = FaultEndpoint("scheduler", reason, host="127.0.0.1", ports=(0,), targets=tmp_path)
    (file,) = tmp_path.glob("scheduler-*.json")
    found = scrape(f"http://127.0.0.1:{exposition.port}/metrics")
    assert {fault: found.value("dagcache_off_by_fault", reason=fault) for fault in FAULTS} == {
        fault: float(fault == reason) for fault in FAULTS
    }
    assert [labels["mode"] for labels in found.labels("dagcache_info", component="scheduler")] == ["off"]
    assert found.value("dagcache_max_bytes") is None
    exposition.close()
    assert not file.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one address of loopback only")
@pytest.mark.parametrize("host", ["127.0.0.2", "::1"])
def test_an_endpoint_on_one_address_is_announced_by_the_address_at_which_it_answers(host: str, tmp_path: Path) -> None:
    """And at which no other does: the name of the machine, or localhost, may lead elsewhere."""
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        pytest.skip(f"{host} is not an address of this machine: {error.strerror}")
    exposition = MetricsEndpoint(make_cache(name="scheduler")[0], None, host=host, ports=(0,), targets=tmp_path)
    (file,) = tmp_path.glob("*.json")
    (announced,) = json.loads(file.read_text())[0]["targets"]
    assert scrape(f"http://{announced}/metrics").value("dagcache_max_bytes") is not None
    with pytest.raises(OSError, match="refused"):
        scrape(f"http://127.0.0.1:{exposition.port}/metrics")
    exposition.close()
