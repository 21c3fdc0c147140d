"""``airflow dagcache ...`` in a real Airflow, and the fork of its LocalExecutor."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from dagcache.airflow import commands
from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import run_python, variables
from tests.support.patience import PATIENCE

CLI = pytest.importorskip("airflow.cli.cli_config")


def test_options_behind_the_command_are_not_airflows() -> None:
    """In Airflow's own form of a command."""
    (command,) = commands.get_commands()
    assert isinstance(command, CLI.ActionCommand)
    parser = argparse.ArgumentParser()
    for argument in command.args:
        argument.add_to_parser(parser)
    assert parser.parse_args(["top", "--url", "x", "--once"]).arguments == ["top", "--url", "x", "--once"]
    assert parser.parse_args([]).arguments == []


def test_airflows_command_line_has_the_command(tmp_path: Path) -> None:
    """From the installed package, with its exit code."""
    from airflow.providers_manager import ProvidersManager

    if not hasattr(ProvidersManager, "cli_command_functions"):
        pytest.skip("this Airflow does not let providers add commands")
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dagcache", "set", "mode=off"],
        env=variables(tmp_path, "sqlite://"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "dagcache" not in done.stdout  # there may be warnings of Airflow's own
    assert "dagcache: setting = 'mode'" in done.stderr


_SCHEDULER = """
import json, os, threading
from airflow.jobs.job import Job, run_job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

loops, forks = [], {"before": [], "within": []}

def note_fork():
    forks["within" if loops else "before"].append(sorted(thread.name for thread in threading.enumerate()))

class Runner(SchedulerJobRunner):
    def _run_scheduler_loop(self):
        loops.append(True)
        return super()._run_scheduler_loop()

os.register_at_fork(before=note_fork)
job = Job()
runner = Runner(job=job, num_runs=1)
run_job(job=job, execute_callable=runner._execute)
later = sorted(thread.name for thread in threading.enumerate())
print(json.dumps({"forks": forks, "port": runner.scheduler_dag_bag._component.exposition.port, "later": later}))
"""


def forks_at_start() -> bool:
    """Whether this Airflow's LocalExecutor forks its workers when it starts."""
    from airflow.executors.local_executor import LocalExecutor

    return "_spawn" in " ".join(LocalExecutor.start.__code__.co_names)


def test_the_executor_forks_its_workers_before_there_are_threads(make_database: MakeDatabase, tmp_path: Path) -> None:
    """A LocalExecutor, as most small installations have; the loop then starts the endpoint and the other parts.

    That of Airflow 3.1.0 forks each worker within the loop, when a task needs it.
    """
    env = variables(tmp_path, make_database("sqlite"))
    env |= {"AIRFLOW__CORE__PARALLELISM": "2"}
    told = json.loads(next(line for line in run_python(_SCHEDULER, env).splitlines() if line.startswith('{"forks"')))
    before, within = told["forks"]["before"], told["forks"]["within"]
    assert not [name for names in before for name in names if name.startswith("dagcache")]
    if multiprocessing.get_start_method() != "fork":  # since Python 3.14 a server of its own forks
        assert before == within == []
    elif forks_at_start():
        assert len(before) >= 2
        assert within == []
    else:
        assert before == []
        assert len(within) >= 2  # and each of them has ended: the executor waits for its workers
    assert told["port"]
    assert "dagcache-metrics" in told["later"]
