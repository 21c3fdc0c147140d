"""`dagcache doctor` as an operator runs it: a process of its own, beside a real Airflow."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import variables
from tests.support.patience import PATIENCE

SECRET = "s3cr3t"


def doctor(env: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the checks by name, and all that was written."""
    done = subprocess.run(
        [sys.executable, "-m", "dagcache.cli", "doctor", "--json", *arguments],
        env=env,
        cwd=env["AIRFLOW_HOME"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.stderr == "", output
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}, output


def test_with_the_hook_all_is_well(tmp_path: Path, make_database: MakeDatabase) -> None:
    port = 0
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    warm = {"warm_start": "disk", "warm_start_key_cmd": f"echo {SECRET}-of-sixteen-letters"}
    env = variables(tmp_path, make_database("sqlite"), metrics_port=port, max_bytes="1GiB", memory_limit="4GiB", **warm)
    before = sorted(tmp_path.rglob("*"))
    code, found, output = doctor(env)
    assert code == 0, output
    unwell = {name for name, check in found.items() if check["status"] not in ("ok", "skipped")}
    assert unwell == set(), output
    assert found["endpoints"]["status"] == "skipped"  # nothing runs
    for component, module in (("scheduler", "jobs.scheduler_job_runner"), ("api_server", "api_fastapi.common.dagbag")):
        message = found[f"hook, {component}"]["message"]
        assert f"airflow.{module}." in message
        assert "is dagcache.airflow.bag.DagCache" in message
        assert "in place of airflow.models.dagbag." in message
    assert "max_bytes = 1GiB is 1073741824 bytes" in found["memory, scheduler, api_server"]["message"]
    assert "max_bytes = 1GiB (environment)" in found["settings"]["details"]
    assert "ttl = 10800 (default)" in found["settings"]["details"]
    assert str(port) in found["port"]["message"]
    assert "no process has stored a version" in found["warm start"]["message"]
    assert "warm_start_key = *** (hidden)" in found["settings"]["details"]
    assert SECRET not in output
    written = set(tmp_path.rglob("*")) - set(before)
    assert {path.name for path in written} <= {"logs"}, "Airflow makes that; the doctor writes nothing"


def test_off_is_a_warning_that_says_so(tmp_path: Path) -> None:
    """And a database that is not there is a failure, not a file that was just made."""
    env = variables(tmp_path, f"sqlite:///{tmp_path}/missing.db", mode="off", max_byte="1GiB", warm_start="disk")
    code, found, output = doctor(env)
    assert code == 1, output
    assert found["hook, scheduler"]["status"] == found["hook, api_server"]["status"] == "warning"
    assert "mode = off" in found["hook, scheduler"]["message"]
    assert "there is no such file" in found["database"]["message"]
    assert not (tmp_path / "missing.db").exists()
    assert found["settings"]["message"] == "[dagcache] has no max_byte"


def test_what_keeps_the_hook_out_and_the_database_away_is_told_without_the_password(tmp_path: Path) -> None:
    """An unreadable limit, and a server that does not exist."""
    url = f"postgresql+psycopg2://someone:{SECRET}@127.0.0.1:1/airflow?password={SECRET}"
    code, found, output = doctor(variables(tmp_path, url, max_bytes="10XB"))
    assert code == 1, output
    for component in ("scheduler", "api_server"):
        assert found[f"hook, {component}"]["status"] == "failed"
        assert "max_bytes = '10XB' is not understood" in found[f"hook, {component}"]["message"]
    assert found["database"]["status"] == "failed"
    assert "postgresql airflow on 127.0.0.1" in found["database"]["message"]
    assert SECRET not in output


def test_a_port_that_is_taken_is_a_failure_that_says_by_whom(tmp_path: Path, make_database: MakeDatabase) -> None:
    """As far as that can be known."""
    with closing(socket.create_server(("127.0.0.1", 0))) as holder:
        port = holder.getsockname()[1]
        code, found, output = doctor(variables(tmp_path, make_database("sqlite"), metrics_port=port))
    assert code == 1, output
    assert found["port"]["status"] == "failed"
    assert f"{port}: taken" in found["port"]["message"]
    assert {name for name, check in found.items() if check["status"] == "failed"} == {"port"}


_HIDDEN = """
import importlib.metadata as metadata
real = metadata.distributions
def without_dagcache(**context):
    return [found for found in real(**context) if found.metadata["Name"] != "dagcache"]
metadata.distributions = without_dagcache
"""


def test_an_entry_point_that_airflow_does_not_see_is_why_the_hook_is_not_in(tmp_path: Path) -> None:
    """Files on the path do not count as an installation."""
    places = tmp_path / "site"
    places.mkdir()
    (places / "sitecustomize.py").write_text(_HIDDEN)
    env = variables(tmp_path / "home", f"sqlite:///{tmp_path}/missing.db")
    env["PYTHONPATH"] = f"{places}:{env['PYTHONPATH']}"
    code, found, output = doctor(env)
    assert code == 1, output
    assert found["entry point"]["status"] == "failed"
    for component in ("scheduler", "api_server"):
        assert "Airflow has not loaded the entry point" in found[f"hook, {component}"]["message"]


def test_an_airflow_that_cannot_read_its_own_settings_is_told_without_the_password(tmp_path: Path) -> None:
    """A URL that is none, and a percent sign that is not escaped."""
    (tmp_path / "airflow.cfg").write_text("[dagcache]\nmax_bytes = 25%\n")
    env = variables(tmp_path, f"postgresql//someone:{SECRET}@@{SECRET}:{SECRET}")
    code, found, output = doctor(env)
    assert code == 1, output
    assert SECRET not in output
    assert {check["status"] for check in found.values()} >= {"failed"}
