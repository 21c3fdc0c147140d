"""The way from nothing to an alert, as the page on operating it describes: a real scheduler and a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import Airflow, variables
from tests.integration.test_promtool import Prometheus, documented_configuration, needs_prometheus
from tests.support.caches import MIB
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

DOCS = ROOT / "docs"
STEPS = (DOCS / "operating.md").read_text().partition("## From nothing to an alert")[2].partition("\n## ")[0]

pytestmark = needs_prometheus


def step(language: str) -> str:
    """The block of a language in the steps."""
    (found,) = re.findall(rf"^ +```{language}\n(.*?)^ +```", STEPS, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(found)


def documented_limit() -> dict[str, str]:
    """The variable that the page on installing sets."""
    found = re.search(r"^export (AIRFLOW__DAGCACHE__MAX_BYTES)=(\S+)", (DOCS / "airflow.md").read_text(), re.MULTILINE)
    assert found is not None
    return {found[1]: found[2]}


def shell(commands: str, folder: Path, env: dict[str, str]) -> str:
    """The output of commands, with this environment's programs on the path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-ec", commands]
    done = subprocess.run(
        command, cwd=folder, env={**env, "PATH": path}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def env(make_database: MakeDatabase, tmp_path: Path) -> dict[str, str]:
    """An Airflow with the package, its limit, and a folder of targets."""
    (tmp_path / "targets").mkdir()
    settings = variables(tmp_path / "home", make_database("sqlite"), metrics_targets=tmp_path / "targets")
    return settings | documented_limit() | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO"}


@pytest.fixture
def prometheus(env: dict[str, str], tmp_path: Path) -> Iterator[Prometheus]:
    """With the documented configuration, and rules that do not wait."""
    shell(step("bash"), tmp_path, env)
    rules = tmp_path / "dagcache-alerts.yaml"
    rules.write_text(re.sub(r"for: \d+[mh]", "for: 0s", rules.read_text()))
    scraped = documented_configuration(tmp_path / "targets").replace("global:", "global:\n  evaluation_interval: 1s")
    server = Prometheus(tmp_path, scraped + step("yaml"))
    yield server
    server.end()


def test_a_newcomer_has_a_budget_a_scrape_a_dashboard_and_an_alert(
    env: dict[str, str], tmp_path: Path, prometheus: Prometheus
) -> None:
    assert json.loads((tmp_path / "dagcache-dashboard.json").read_text())["title"] == "dagcache"
    assert "runbook_url: " in (tmp_path / "dagcache-alerts.yaml").read_text()
    with Airflow(env, "scheduler", "--skip-serve-logs") as scheduler:
        scheduler.wait_for(
            "the log line", lambda: "dagcache serves the scheduler: max_bytes = 512.0 MiB" in scheduler.log
        )
        (budget,) = prometheus.wait_for('dagcache_max_bytes{component="scheduler"}')
        assert budget["value"][1] == str(512 * MIB)
        assert "scheduler" in shell("dagcache top --once", tmp_path, env)
        assert not prometheus.query('ALERTS{alertname="DagcacheEndpointDown"}')
        scheduler.kill()
        (alert,) = prometheus.wait_for('ALERTS{alertname="DagcacheEndpointDown",alertstate="firing"}')
    assert alert["metric"]["instance"] == budget["metric"]["instance"]
    assert alert["metric"]["component"] == "scheduler"
