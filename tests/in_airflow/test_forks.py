"""Forks of a process that holds a bag in use, as an executor makes them: nothing hangs, nothing stays open."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import run_python, variables

FORKS = 50


def test_children_of_a_bag_under_load_end_and_leave_the_port_alone(make_database: MakeDatabase, tmp_path: Path) -> None:
    """None hangs, listens, or has threads; each can use the bag; and one that outlives its parent holds no port."""
    env = variables(tmp_path, make_database("sqlite"))
    env["AIRFLOW__CORE__EXECUTOR"] = "tests.in_airflow.instant.InstantExecutor"
    code = f"from tests.in_airflow.forking import fork_under_load; fork_under_load({FORKS})"
    output = run_python(code, env)
    told = json.loads(next(line for line in output.splitlines() if line.startswith('{"codes"')))
    try:
        assert told["codes"] == ["0"] * FORKS, output[-4000:]
        assert told["parent_listens"]
        os.kill(told["survivor"], 0)
        socket.create_server(("127.0.0.1", told["port"])).close()
    finally:
        os.kill(told["survivor"], signal.SIGKILL)
