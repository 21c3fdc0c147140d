"""Fills the database of THIS process's environment with DAGs for an API server's pages, each with one finished run.

``python -m benchmarks.api_dags --large 150 --small 50``: large ones have some 75 tasks, small ones three to nine.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

KINDS = ("large", "small")
_SHAPES = 12
_DAG_ID = "__dag_id__"
_BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def dag_id(kind: str, number: int) -> str:
    """The id of a DAG."""
    return f"{kind}_{number:04}"


def _shapes(kind: str) -> list[str]:
    """Serialised DAGs without ids, which are filled in later: serialising takes several times as long as writing."""
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    from dagcache.demo.synthetic import synthetic_dag, task_count

    found = []
    for number in range(_SHAPES):
        drawn = random.Random(f"{kind}/{number}")
        tasks = task_count(drawn) if kind == "large" else drawn.randint(3, 9)
        dag = synthetic_dag(_DAG_ID, tasks, drawn, __file__)  # Airflow keeps the source, too
        found.append(json.dumps(LazyDeserializedDAG.from_dag(dag).data, sort_keys=True))
    return found


def _write(text: str, session: Any) -> None:
    from airflow.models.dagbag import DBDagBag
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization import serialized_objects
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    lazy = serialized_objects.LazyDeserializedDAG(data=json.loads(text))
    vars(serialized_objects)["SerializedDAG"].bulk_write_to_db("dags-folder", None, [lazy], session=session)
    SerializedDagModel.write_dag(lazy, bundle_name="dags-folder", session=session)
    session.flush()
    dag: Any = DBDagBag().get_latest_version_of_dag(lazy.dag_id, session=session)
    run = dag.create_dagrun(
        run_id="finished",
        logical_date=_BEGIN,
        data_interval=(_BEGIN, _BEGIN + timedelta(days=1)),
        run_after=_BEGIN,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.SUCCESS,
        start_date=_BEGIN,
        session=session,
    )
    for task in run.get_task_instances(session=session):
        task.state = TaskInstanceState.SUCCESS


def main() -> None:
    """Build the tables, write the DAGs; the number of tasks of each goes to stdout, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_dags", description=__doc__)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0)
    chosen = parser.parse_args()
    stdout, sys.stdout = sys.stdout, sys.stderr  # Airflow's commands print
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    from dagcache.demo.playground import migrate

    migrate()
    with create_session() as session:
        session.add(DagBundleModel(name="dags-folder"))
    for kind in KINDS:
        shapes = _shapes(kind)
        for number in range(getattr(chosen, kind)):
            with create_session() as session:
                _write(shapes[number % _SHAPES].replace(_DAG_ID, dag_id(kind, number)), session)
        tasks = [len(json.loads(shape)["dag"]["tasks"]) for shape in shapes]
        print(json.dumps({"kind": kind, "tasks": sum(tasks) / len(tasks)}), file=stdout)


if __name__ == "__main__":
    main()
