"""`dagcache audit` through a real Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import run_python, variables
from tests.support.patience import PATIENCE

_WRITE_A_GIANT = """
from airflow.utils.session import create_session
from tests.in_airflow.support import write
with create_session() as session:
    write(session, "a_giant", tasks=400)
"""


def test_the_heaviest_dags_of_a_database_are_audited(make_database: MakeDatabase, tmp_path: Path) -> None:
    """In a process of its own, as JSON. The heaviest one is large enough for a comparison with the allocators."""
    url = make_database("sqlite")
    env = variables(tmp_path / "home", url, mode="off")
    run_python(_WRITE_A_GIANT, env)
    command = [sys.executable, "-m", "dagcache", "audit", "--json", "--top", "2", "--db", url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    giant, other = json.loads(done.stdout)["dags"]
    assert giant["dag_id"] == "a_giant"
    assert giant["serialized_bytes"] > other["serialized_bytes"]
    assert not giant["error"]
    assert giant["complete"]
    unknown = 0.1 if sys.version_info < (3, 13) else 0.2  # pympler does not know values beside a dict of their own
    assert giant["walked_bytes"] == pytest.approx(giant["pympler_bytes"], rel=unknown)
    if giant["allocated_bytes"] is not None:  # glibc only
        assert giant["walked_bytes"] == pytest.approx(giant["allocated_bytes"], rel=0.05)
