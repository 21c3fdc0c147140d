"""The endpoint of a process in which a fault keeps the cache off."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagcache.airflow import fault_endpoint
from dagcache.metrics.ports import DEFAULT_PORTS
from dagcache.metrics.scrape import scrape


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The settings, as Airflow has them; the endpoints are closed afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    texts = {"metrics_host": "127.0.0.1", "metrics_port": port}

    class Conf:
        def get(self, _section: str, name: str, fallback: str | None) -> str | None:
            if texts.get(name) == "unreadable":
                raise ValueError("interpolation")
            return texts.get(name, fallback)

    for name in ("gunicorn.arbiter", "airflow.api_fastapi.main"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = ModuleType("airflow.configuration")
    vars(module).update(conf=Conf(), AIRFLOW_HOME=str(tmp_path))
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.configuration", module)
    yield texts
    fault_endpoint.close()


def announced(home: Path) -> list[str]:
    """The names of the files of targets."""
    folder = home / "dagcache" / "targets"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_fault_is_scraped_where_the_cache_would_be(texts: dict[str, str], tmp_path: Path) -> None:
    """Once, however many bags the process builds."""
    for _ in range(2):
        fault_endpoint.export("scheduler", "setting")
    (name,) = announced(tmp_path)
    assert name.startswith("scheduler-")
    found = scrape(f"http://127.0.0.1:{texts['metrics_port']}/metrics")
    assert found.value("dagcache_off_by_fault", component="scheduler", reason="setting") == 1
    fault_endpoint.withdraw()
    assert announced(tmp_path) == []


def test_no_port_means_no_endpoint(texts: dict[str, str], tmp_path: Path) -> None:
    texts["metrics_port"] = "0"
    fault_endpoint.export("scheduler", "setting")
    assert announced(tmp_path) == []


@pytest.mark.parametrize("text", ["99999999", "unreadable"])
def test_the_default_stands_for_a_setting_that_is_itself_the_fault(text: str, texts: dict[str, str]) -> None:
    texts.update(metrics_port=text, metrics_host=text if text == "unreadable" else "127.0.0.1", metrics_targets="/t")
    host, ports, targets = fault_endpoint._place()
    assert (ports, targets) == (DEFAULT_PORTS, Path("/t"))
    assert host == ("::" if text == "unreadable" else "127.0.0.1")


def test_a_process_that_is_not_the_component_exports_nothing(texts: dict[str, str], tmp_path: Path) -> None:
    """A triggerer builds the API server's bag, too."""
    fault_endpoint.export("api_server", "setting")
    assert announced(tmp_path) == []


def test_the_workers_of_gunicorn_export_it_and_not_their_master(
    texts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child of a worker does not, either."""
    for name in ("gunicorn.arbiter", "airflow.api_fastapi.main"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    steps: list[Any] = []
    monkeypatch.setattr(fault_endpoint, "after_fork_in_child", steps.append)
    fault_endpoint.export("api_server", "airflow")
    assert announced(tmp_path) == []
    (step,) = steps
    step()  # in a process whose parent is not the master
    assert announced(tmp_path) == []
    monkeypatch.setattr(os, "getppid", os.getpid)
    step()
    assert len(announced(tmp_path)) == 1


def test_a_fault_of_the_export_is_one_line(
    texts: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fault_endpoint, "FaultEndpoint", lambda *_, **__: 1 / 0)
    fault_endpoint.export("scheduler", "setting")
    fault_endpoint.export("scheduler", "setting")
    assert [record.getMessage() for record in caplog.records] == [
        "could not export that dagcache is off in the scheduler (ZeroDivisionError)"
    ]
