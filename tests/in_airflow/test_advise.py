"""`dagcache advise` on databases that Airflow made, and its predictions beside Airflow's own graphs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from dagcache.advice.sizes import features, frozen_bytes, live_bytes
from tests.in_airflow.conftest import BACKENDS, MakeDatabase
from tests.in_airflow.support import write
from tests.support.patience import PATIENCE


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_database_of_airflows_own_is_advised(make_database: MakeDatabase, backend: str) -> None:
    """In a process of its own, as JSON."""
    command = [sys.executable, "-m", "dagcache.cli", "advise", "--json", "--db", make_database(backend)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["airflow"].startswith("Airflow 3.")
    assert told["dags"] > 0
    assert told["payloads_damaged"] == 0
    assert told["scheduler"]["nbytes"] >= 16 * 2**20


@pytest.mark.parametrize("tasks", [20, 150])
def test_predicted_bytes_are_what_the_cache_accounts(tasks: int, session: Any, bag: Any) -> None:
    """Within a quarter in the worst case: empty tasks only, which grow most in use. The usual is in the benchmark."""
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select

    version = write(session, f"predicted_{tasks}", tasks=tasks)
    session.expunge_all()  # the row that was just written is not parsed JSON
    assert bag._get_dag(version_id=version, session=session) is not None
    (entry,) = [entry for entry in bag.dagcache.entries() if entry.key == version]
    row = session.scalars(select(SerializedDagModel).filter_by(dag_version_id=version)).one()
    found = features(json.loads(json.dumps(row.data)))
    assert found.tasks == tasks
    assert live_bytes(found) == pytest.approx(entry.live_bytes, rel=0.25)
    assert frozen_bytes(found) == pytest.approx(entry.frozen_bytes, rel=0.35)
