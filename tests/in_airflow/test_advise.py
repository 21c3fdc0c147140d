"""`dagcache advise` on databases that Airflow made, and its predictions beside Airflow's own graphs."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest

from dagcache.advice.sizes import features, frozen_bytes, live_bytes
from dagcache.database.connection import MetadataDatabase
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
    """Of a thawed copy within a tenth, in the worst case: empty tasks only. The usual is in the benchmark.

    A loaded copy has larger or smaller dicts of its tasks, by the DAGs that the process has loaded before.
    """
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select

    version = write(session, f"predicted_{tasks}", tasks=tasks)
    session.expunge_all()  # the row that was just written is not parsed JSON
    row = session.scalars(select(SerializedDagModel).filter_by(dag_version_id=version)).one()
    found = features(json.loads(json.dumps(row.data)), airflow=airflow_of(session))
    assert found.tasks == tasks
    loaded = look_up(bag, version, session)
    assert loaded.live_bytes == pytest.approx(live_bytes(found), rel=0.45)
    assert frozen_bytes(found) == pytest.approx(loaded.frozen_bytes, rel=0.35)
    cache = bag.dagcache
    before = cache.stats()
    cache.resize(before.frozen_bytes + before.overhead_bytes)
    cache.resize(64 * 2**20)
    thawed = look_up(bag, version, session)
    assert cache.stats().hits_frozen == before.hits_frozen + 1
    assert live_bytes(found) == pytest.approx(thawed.live_bytes, rel=0.1 if sys.version_info < (3, 13) else 0.15)


def look_up(bag: Any, version: UUID, session: Any) -> Any:
    """The cache's facts about a version, which is live then."""
    assert bag._get_dag(version_id=version, session=session) is not None
    (entry,) = [entry for entry in bag.dagcache.entries() if entry.key == version]
    assert entry.live_bytes
    return entry


def airflow_of(session: Any) -> str:
    """The version of Airflow, by its database."""
    with closing(MetadataDatabase(session.get_bind())) as database:
        return database.check()
