"""Looks up all versions of the database in this environment, and prints what the warm store did, as JSON.

Each DAG is compared with Airflow's own load of its row, in lock-step. Run by path: the dagcache of ``PYTHONPATH``, and
not that of the working directory, is under test.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import import_module
from importlib.metadata import version
from itertools import islice
from typing import Any

from dagcache.airflow.fingerprint import Fingerprint, described_objects
from dagcache.demo.sweep import PER_SESSION, Statements, look_up, scheduler_bag
from tests.support.lockstep import assert_is_a_load


def look() -> dict[str, Any]:
    """The figures of the store, the parts of the fingerprint, and the DAGs that are not what Airflow loads."""
    import_module("airflow.jobs.scheduler_job_runner")
    from airflow import settings
    from airflow.models.dag_version import DagVersion
    from airflow.utils.session import create_session
    from sqlalchemy import event, select

    with create_session() as session:
        versions = iter(session.scalars(select(DagVersion.id).order_by(DagVersion.id)).all())
    statements = Statements()
    event.listen(settings.engine, "before_cursor_execute", statements)
    bag = scheduler_bag()
    found: dict[Any, Any] = {}
    while part := list(islice(versions, PER_SESSION)):
        with create_session() as session:
            found |= {each: look_up(bag, each, session) for each in part}
    loaded = statements.payload
    bag._component.close()
    store = bag._component.warm_store.stats()
    return {
        "versions": len(found),
        "thawed": len(found) - loaded,
        **{name: getattr(store, name) for name in ("hits", "stored", "forged", "refused")},
        "errors": sum(store.errors.values()),
        "different": [difference for difference in map(_difference, found.items()) if difference],
        "parts": dict(Fingerprint(described_objects(), load_op_links=False).parts()),
        "airflow": version("apache-airflow-core"),
        "python": platform.python_version(),
        "dagcache": version("dagcache"),
    }


def _difference(item: tuple[Any, Any]) -> str:
    """Where a DAG differs from Airflow's own load of its row; empty: nowhere."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    kind = import_module("airflow.serialization.serialized_objects").DagSerialization
    kind._load_operator_extra_links = False  # as for a scheduler's bag
    version_id, dag = item
    with create_session() as session:
        chosen = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version_id)
        text = json.dumps(session.scalars(chosen).one().data)
    try:
        assert_is_a_load(dag, lambda: kind.from_dict(json.loads(text)))
    except AssertionError as difference:
        return f"{dag.dag_id}: {difference}"
    return ""


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(look())}\n")
