"""Reports through Airflow's own metrics: a real StatsD client sends them to a real socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dagcache.airflow import reporting
from dagcache.airflow.component import Component
from dagcache.airflow.reporting import REGISTRY
from dagcache.airflow.settings import read_settings
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # Airflow drops its clients unclosed


def read_metrics_section() -> None:
    """Have Airflow choose its client by ``[metrics]``, as its components do when they start."""
    try:
        stats: Any = import_module("airflow.observability.stats")
    except ImportError:  # Airflow 3.1
        client = import_module("airflow.stats").Stats
        kind: Any = type(client)
        client.instance = None  # it keeps the one of its first use
        del kind.factory
        kind("Stats", (), {})  # the first of a class chooses
        return
    factory: Any = import_module("airflow.observability.metrics.stats_utils").get_stats_factory
    if hasattr(stats, "initialize"):
        stats.initialize(factory=factory(), export_legacy_names=False)
    else:  # Airflow 3.2
        stats.Stats.initialize(factory=factory(stats.Stats))


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The server of Airflow's metrics, for this test."""
    import_module("statsd")  # without it Airflow would send nothing, and the tests would wait for that
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))
        read_metrics_section()
        yield server
    monkeypatch.undo()
    read_metrics_section()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Component]]:
    """Build and start a component without other parts; closed afterwards."""
    made: list[Component] = []

    def start(*, serves: bool = True) -> Component:
        texts = {"mode": "observe", "metrics_port": "0", "attribution": "False", "airflow_metrics": "1"}
        made.append(Component(read_settings(texts.get, "scheduler"), home=tmp_path, serves=serves))
        made[-1].start()
        return made[-1]

    yield start
    for component in made:
        component.close()


def received(server: socket.socket, last: str) -> dict[str, str]:
    """Values by name, up to the first report of a name."""
    found: dict[str, str] = {}
    while last not in found:
        for line in server.recv(65536).decode().splitlines():
            name, _, value = line.partition(":")
            found[name] = value
    return found


def test_statsd_receives_the_figures_of_the_cache(statsd: socket.socket, make: Callable[..., Component]) -> None:
    """With Airflow's prefix; a lookup that finds nothing is a miss of the next report."""
    component = make()
    component.cache.get(uuid4())
    found = received(statsd, "airflow.scheduler.dagcache.misses")
    assert found["airflow.scheduler.dagcache.misses"] == "1|c"
    component.reporting.once()  # type: ignore[union-attr]
    found |= received(statsd, "airflow.scheduler.dagcache.entries.frozen")
    assert found["airflow.scheduler.dagcache.bytes.live"] == "0|g"
    assert found["airflow.scheduler.dagcache.max_bytes"] == f"{component.cache.max_bytes}|g"


def test_every_name_passes_airflows_own_check(statsd: socket.socket) -> None:
    """Of StatsD and of OpenTelemetry."""
    try:
        validators: Any = import_module("airflow._shared.observability.metrics.validators")
    except ImportError:  # Airflow 3.1
        validators = import_module("airflow.metrics.validators")
    for metric in REGISTRY:
        name = f"api_server.dagcache.{metric.name}"
        assert validators.stat_name_default_handler(name) == name
        assert validators.stat_name_otel_handler("airflow", name) == f"airflow.{name}"


def test_without_a_metrics_backend_nothing_is_started(make: Callable[..., Component]) -> None:
    """Airflow's default."""
    assert make().reporting is None


def test_a_process_that_does_not_serve_reports_nothing(statsd: socket.socket, make: Callable[..., Component]) -> None:
    """The DAG processor has the API server's bag, too."""
    assert make(serves=False).reporting is None


def test_an_airflow_with_its_metrics_elsewhere_is_one_line(
    statsd: socket.socket,
    make: Callable[..., Component],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The component serves without."""
    monkeypatch.setattr(reporting, "_CLIENTS", ("airflow.no_such_module",))
    assert make().reporting is None
    assert "dagcache serves the scheduler without Airflow's metrics" in caplog.text
