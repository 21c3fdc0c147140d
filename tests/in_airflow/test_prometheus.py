"""A real Prometheus scrapes a real scheduler."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagcache.metrics.definitions import METRICS
from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.counting import LOG
from tests.in_airflow.support import Airflow, variables
from tests.in_airflow.test_scheduler import Observer
from tests.integration.test_promtool import Prometheus, documented_configuration, needs_prometheus
from tests.support.patience import PATIENCE

pytestmark = needs_prometheus


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """Configured as documented, to look where the scheduler announces itself."""
    (tmp_path / "targets").mkdir()  # Prometheus does not look again soon for a directory that was not there
    server = Prometheus(tmp_path, documented_configuration(tmp_path / "targets"))
    yield server
    server.end()


def lookups(log: Path) -> int:
    """How many were logged."""
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_prometheus_sees_what_the_scheduler_does(
    make_database: MakeDatabase, tmp_path: Path, prometheus: Prometheus
) -> None:
    """Every series of the registry is there, promtool does not object, and the counters agree with a log of lookups."""
    url = make_database("sqlite")
    log = tmp_path / "lookups"
    env = variables(tmp_path / "home", url, max_bytes="1MiB", metrics_targets=tmp_path / "targets") | {
        "AIRFLOW__CORE__EXECUTOR": "tests.in_airflow.counting.CountingExecutor",
        "AIRFLOW__CORE__PARALLELISM": "200",
        LOG: str(log),
    }
    observer = Observer(url)
    observer.unpause_only("hundred")
    with Airflow(env, "scheduler", "--skip-serve-logs") as scheduler:
        scheduler.wait_for("a hundred runs end", lambda: observer.is_done(100))
        prometheus.wait_for('up{job="dagcache"} == 1')

        def agreement() -> float:
            counted = 'sum(dagcache_hits_total{component="scheduler"}) + sum(dagcache_misses_total)'
            told = sum(float(each["value"][1]) for each in prometheus.query(counted))
            return told if told == lookups(log) else 0.0

        assert scheduler.wait_for("the counters agree with the log", agreement) >= 100
        missing = [metric.name for metric in METRICS if not prometheus.query(_series(metric.name, metric.kind))]
        assert not missing
        address = prometheus.query('up{job="dagcache"}')[0]["metric"]["instance"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as response:
            text = response.read()
        if shutil.which("promtool"):
            checked = subprocess.run(
                ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=PATIENCE
            )
            assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def _series(name: str, kind: str) -> str:
    return f'{name}{"_count" if kind == "histogram" else ""}{{component="scheduler"}}'
