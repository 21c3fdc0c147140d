"""Generated versions, written by Airflow's own code, each used by one run that waits without end.

A version stays in a scheduler's working set as long as a run of it is active. The cheapest active run has one deferred
task instance: the scheduler examines it in each sweep and has no work to do. All waiting runs belong to backfills. The
scheduler examines those last, so that a working run does not wait for a sweep.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, cast

from airflow.models.backfill import Backfill, BackfillDagRun
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.serialization import serialized_objects
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy.orm import Session

from dagcache.demo.synthetic import REVISION, WAIT, synthetic_dag, task_count

SerializedDAG: Any = vars(serialized_objects)["SerializedDAG"]  # defined there in 3.1, imported there since
BUNDLE = "dags-folder"
_DAG_ID = "__dag_id__"
_SHAPES = 24
_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def write_versions(*, versions: int, dags: int, seed: int, dag_file: str, run_prefix: str) -> Iterator[int]:
    """Write the versions, one DAG at a time, and yield the number written so far. Equal seeds give equal payloads."""
    written = 0
    for index in range(dags):
        dag_id, revisions = f"generated_{index:04}", len(range(index, versions, dags))
        shape = _shape(f"{seed}/{index % _SHAPES}", dag_file).replace(_DAG_ID, dag_id)
        with create_session() as session:
            _write_dag(dag_id, shape, revisions, run_prefix, session)
        written += revisions
        yield written


def _write_dag(dag_id: str, shape: str, revisions: int, run_prefix: str, session: Session) -> None:
    backfill = Backfill(dag_id=dag_id, from_date=_START, to_date=_START)
    wait = None
    for revision in range(1, revisions + 1):
        data = json.loads(shape.replace(REVISION, str(revision)))
        version = _write_revision(LazyDeserializedDAG(data=data), revision, session)
        wait = wait or version.serialized_dag.dag.get_task(WAIT)
        run = _waiting_run(f"{run_prefix}{revision}", version, wait, backfill)
        session.add(BackfillDagRun(backfill=backfill, dag_run=run, logical_date=_START, sort_ordinal=1))
        session.flush()


@lru_cache(_SHAPES)
def _shape(seed: str, dag_file: str) -> str:
    """A serialised DAG with placeholders for id and revision: replacing them is much faster than serialising."""
    random_ = random.Random(seed)
    dag = synthetic_dag(_DAG_ID, task_count(random_), random_, dag_file)
    return json.dumps(LazyDeserializedDAG.from_dag(dag).data, sort_keys=True)


def _write_revision(dag: LazyDeserializedDAG, revision: int, session: Session) -> DagVersion:
    if revision == 1:
        SerializedDAG.bulk_write_to_db(BUNDLE, None, [dag], session=session)
    # Airflow writes a new version, instead of updating in place, because the previous revision has a run.
    SerializedDagModel.write_dag(dag, bundle_name=BUNDLE, bundle_version=f"r{revision}", session=session)
    session.flush()
    return cast(DagVersion, DagVersion.get_latest_version(dag.dag_id, session=session))


def _waiting_run(run_id: str, version: DagVersion, wait: Any, backfill: Backfill) -> DagRun:
    now = datetime.now(timezone.utc)
    run = DagRun(
        dag_id=version.dag_id,
        run_id=run_id,
        run_after=now,
        start_date=now,
        run_type=DagRunType.BACKFILL_JOB,
        triggered_by=DagRunTriggeredByType.BACKFILL,
        state=DagRunState.RUNNING,
        # With a bundle version, the scheduler looks up the version of the run's creation, not the latest.
        bundle_version=version.bundle_version,
    )
    run.created_dag_version = version
    run.backfill = backfill
    run.task_instances = [
        TaskInstance(wait, dag_version_id=version.id, run_id=run_id, state=TaskInstanceState.DEFERRED)
    ]
    return run
