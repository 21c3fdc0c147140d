"""`dagcache top` beside a real scheduler, and the users that may ask for the DAGs in its cache."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagcache.inspection.client import ask
from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import Airflow, install_anew, run_python, scheduler_bag, variables
from tests.in_airflow.test_scheduler import INSTANT, SMALL, Observer
from tests.support.patience import PATIENCE


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory for sockets, with a short name."""
    path = Path(tempfile.mkdtemp(prefix="top", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def top(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in the environment of Airflow's processes."""
    command = [sys.executable, "-m", "dagcache.cli", "top", "--interval", "0.2", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_top_finds_a_real_scheduler_and_names_the_dags_that_fill_its_cache(
    make_database: MakeDatabase, tmp_path: Path, runtime: Path
) -> None:
    """By its announcement and its socket; both are gone with it, and top says so."""
    url = make_database("sqlite")
    env = variables(tmp_path / "home", url, max_bytes=SMALL) | {
        "AIRFLOW__CORE__EXECUTOR": INSTANT,
        "AIRFLOW__CORE__PARALLELISM": "200",
        "XDG_RUNTIME_DIR": str(runtime),
    }
    observer = Observer(url)
    observer.unpause_only("hundred")
    with Airflow(env, "scheduler", "--skip-serve-logs") as scheduler:
        scheduler.wait_for("a hundred runs end", lambda: observer.is_done(100))
        done = top(env, "--json", "--dags", "5")
        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        (component,) = told["components"]
        assert (component["component"], component["up"]) == ("scheduler", True)
        figures = component["figures"]
        assert (figures["max_bytes"], figures["misses"] >= 100) == (1 << 20, True)
        (filled,) = [each for each in told["dags"] if each["pid"] == scheduler.pid]
        assert filled["versions"] == figures["live_entries"] + figures["frozen_entries"]
        known = {dag_id for (dag_id,) in observer.ask("SELECT dag_id FROM dag")}
        assert len(filled["dags"]) == 5
        assert {dag["dag_id"] for dag in filled["dags"]} <= known
        assert {entry["tier"] for entry in filled["entries"]} <= {"live", "frozen"}
        assert all(entry["version"] == 1 for entry in filled["entries"])

        (socket,) = (runtime / "dagcache").glob("*.sock")
        assert socket.name == f"scheduler-{scheduler.pid}.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600

        plain = top(env, "--once", "--dags", "5").stdout
        assert "\nverdict   " in plain
        assert f"scheduler, process {scheduler.pid}: " in plain
        assert filled["dags"][0]["dag_id"] in plain
        assert scheduler.stop()
    assert list((runtime / "dagcache").glob("*.sock")) == []
    gone = top(env, "--once")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "no process of this machine has announced itself" in gone.stderr


def test_a_bag_answers_its_owner_by_default(bag: Any) -> None:
    """As soon as it is there, also where no metrics are served."""
    path = bag._component.attribution.path
    assert path is not None
    assert ask(path)["component"] == "scheduler"
    bag._component.close()
    assert not path.exists()


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `attribution = False`."""
    install_anew("scheduler", monkeypatch, attribution="False")
    bag = scheduler_bag()
    assert bag._component.attribution.path is None
    bag._component.close()


_FORKING = """
import os
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
bag = SchedulerJobRunner(job=Job()).scheduler_dag_bag
bag.at_loop_start()
server = bag._component.attribution
path = server.path
assert path.exists()
child = os.fork()
if not child:
    os._exit(0 if server.path is None and path.exists() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert path.exists()
print("found", path)
"""


def test_an_executors_child_inherits_no_socket(make_database: MakeDatabase, tmp_path: Path, runtime: Path) -> None:
    """LocalExecutor forks the scheduler; the socket goes when the scheduler does."""
    env = variables(tmp_path / "home", make_database("sqlite"), metrics_port=0) | {"XDG_RUNTIME_DIR": str(runtime)}
    assert f"found {runtime}/dagcache/scheduler-" in run_python(_FORKING, env)
    assert list((runtime / "dagcache").iterdir()) == []
    assert stat.S_IMODE(os.stat(runtime / "dagcache").st_mode) == 0o700
