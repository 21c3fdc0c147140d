"""Fills the database of THIS process's environment with content for an API server, and lists its routes.

``python -m tests.in_airflow.api_content ROUTES_FILE``: a few rows of each kind that a route reads. Their dates are
fixed, so that an answer holds little that depends on the moment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import cycle
from pathlib import Path
from typing import Any

DAY = timedelta(days=1)
FIRST = datetime(2026, 2, 1, tzinfo=timezone.utc)
UNSCHEDULED = ("mapped_group", "approval", "once")
"""The DAGs with triggered runs, besides the scheduled ones of all DAGs."""
REVISIONS = 14
"""Of one DAG: so many that the frozen copies of all versions fill most of a small budget."""


def fill(session: Any) -> None:
    """All kinds of rows."""
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    dag_ids = session.scalars(select(DagModel.dag_id).order_by(DagModel.dag_id)).all()
    assert len(dag_ids) > 25, dag_ids
    _pools(session)
    states = cycle(_states())
    for dag_id in dag_ids:
        if dag_id != "revised":
            _runs(_latest(dag_id, session), states, session)
    _revisions(states, session)
    _beside_tasks(session)
    _beside_dags(session)
    _assets(session)
    session.commit()


def _states() -> list[Any]:
    from airflow.utils.state import TaskInstanceState

    return [None, *TaskInstanceState]


def _latest(dag_id: str, session: Any) -> Any:
    from airflow.models.dagbag import DBDagBag

    return DBDagBag().get_latest_version_of_dag(dag_id, session=session)


def _pools(session: Any) -> None:
    from airflow.models import Connection, Pool, Variable

    session.add(Pool(pool="narrow", slots=2, description="for few", include_deferred=True))
    session.add(Pool(pool="with/slash", slots=5, include_deferred=False))
    session.add(Variable(key="plain", val="1", description="a variable"))
    session.add(Variable(key="some/secret_password", val='{"a": [1]}'))
    for number in range(3):
        conn = Connection(
            conn_id=f"conn_{number}", conn_type="http", host=f"host{number}", login="me", password="secret"
        )
        conn.extra = json.dumps({"token": "hidden", "n": number})
        session.add(conn)
    session.commit()


def _runs(dag: Any, states: Iterator[Any], session: Any, *, days: int = 2, offset: int = 0) -> None:
    """Some days' runs of a DAG, their tasks in all states."""
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    of_run = cycle((DagRunState.FAILED, DagRunState.RUNNING, DagRunState.SUCCESS, DagRunState.QUEUED))
    for number in range(offset, offset + days):
        triggered = dag.dag_id in UNSCHEDULED and number % 2
        date = FIRST + number * DAY
        run = dag.create_dagrun(
            run_id=f"{'manual' if triggered else 'scheduled'}__{number}",
            logical_date=None if triggered else date,
            data_interval=None if triggered else (date, date + DAY),
            run_after=date + DAY,
            conf={"given": number} if triggered else {},
            run_type=DagRunType.MANUAL if triggered else DagRunType.SCHEDULED,
            triggered_by=DagRunTriggeredByType.TEST,
            state=next(of_run),
            start_date=date + DAY,
            note=f"note {number}" if number % 2 else None,
            session=session,
        )
        session.flush()
        run.dag = dag
        run.task_instance_scheduling_decisions(session=session)  # expands what is mapped over literals
        if run.state in (DagRunState.SUCCESS, DagRunState.FAILED):
            run.end_date = date + DAY + timedelta(minutes=3)
        _tasks(run, states, session)
    session.commit()


def _tasks(run: Any, states: Iterator[Any], session: Any) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState as State
    from sqlalchemy import select

    of_run = select(TaskInstance).filter_by(dag_id=run.dag_id, run_id=run.run_id)
    for number, ti in enumerate(session.scalars(of_run.order_by(TaskInstance.task_id, TaskInstance.map_index))):
        state = next(states) if run.dag_id != "mapped_group" else State.FAILED
        ti.state = State(state) if state else None
        ti.hostname, ti.unixname, ti.pid = "127.0.0.1", "user", 1000 + number
        ti.try_number = 1
        if state and state not in (State.SCHEDULED, State.QUEUED, State.REMOVED):
            ti.start_date = run.start_date + timedelta(seconds=number)
        if state in (State.SUCCESS, State.FAILED, State.SKIPPED, State.UP_FOR_RETRY):
            ti.end_date = ti.start_date + timedelta(seconds=number + 1.5)
            ti.duration = number + 1.5
    session.flush()


def _revisions(states: Iterator[Any], session: Any) -> None:
    """Versions of one DAG, each with runs."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    from tests.in_airflow.api_dags.shapes import revised

    for revision in range(1, REVISIONS + 1):
        dag = revised(revision)
        dag.fileloc = _latest("revised", session).fileloc
        lazy = LazyDeserializedDAG.from_dag(dag)
        SerializedDagModel.write_dag(
            lazy, bundle_name="dags-folder", bundle_version=f"r{revision}" if revision > 1 else None, session=session
        )
        session.commit()
        _runs(_latest("revised", session), states, session, days=2 if revision < 3 else 1, offset=2 * revision)
        for run in _runs_of("revised", session):
            run.bundle_version = run.bundle_version or (f"r{revision}" if revision > 1 else None)
        session.commit()


def _runs_of(dag_id: str, session: Any) -> Any:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    return session.scalars(select(DagRun).filter_by(dag_id=dag_id).order_by(DagRun.id)).all()


def _beside_tasks(session: Any) -> None:
    """Values, rendered fields, earlier tries, notes, states of stores, questions."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.models.xcom import XComModel
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    of_first_runs = select(TaskInstance).where(TaskInstance.run_id.in_(["scheduled__0", "scheduled__2"]))
    order = (TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.map_index)
    for number, ti in enumerate(session.scalars(of_first_runs.order_by(*order)).all()):
        names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        for key, value in (("return_value", {"n": [number, None, "x"]}), ("with/slash", "text")):
            XComModel.set(key=key, value=value, session=session, **names)
        fields = RenderedTaskInstanceFields.__new__(RenderedTaskInstanceFields)
        RenderedTaskInstanceFields.__mapper__.class_manager.setup_instance(fields)
        for name, value in {**names, "rendered_fields": {"bash_command": f"echo {number}"}}.items():
            setattr(fields, name, value)
        session.add(fields)
        store = {"key": "seen", "value": json.dumps(number), "dag_run_id": ti.dag_run.id}
        session.add(TaskStateStoreModel(**names, **store))
        if number % 3 == 0:
            ti.note = f"note of {ti.task_id}"
        if ti.state == TaskInstanceState.UP_FOR_RETRY:
            TaskInstanceHistory.record_ti(ti, session=session)
            ti.try_number = 2
        if ti.dag_id == "approval" and ti.task_id == "ask":
            question = {"options": ["Approve", "Reject"], "subject": "Go on?", "body": "Really?", "params": {}}
            session.add(HITLDetail(ti_id=ti.id, multiple=False, defaults=["Approve"], created_at=FIRST, **question))
    session.commit()


def _beside_dags(session: Any) -> None:
    """Log lines, warnings, favourites, jobs, a backfill."""
    from airflow.jobs.job import Job
    from airflow.models.backfill import Backfill, BackfillDagRun
    from airflow.models.dag_favorite import DagFavorite
    from airflow.models.dagwarning import DagWarning
    from airflow.models.log import Log
    from airflow.utils.state import JobState

    for number, dag_id in enumerate(("mapped_group", "parameters", "revised")):
        line = Log("something", None, owner="owner_one", extra=json.dumps({"n": number}), dag_id=dag_id, task_id="one")
        line.dttm, line.run_id, line.map_index, line.try_number = FIRST + number * DAY, "scheduled__0", -1, 1
        session.add(line)
        session.add(DagWarning(dag_id, "non-existent pool", f"no pool {number}", timestamp=FIRST))
        session.add(DagFavorite(user_id="Anonymous", dag_id=dag_id))
    job = Job(job_type="SchedulerJob", state=JobState.SUCCESS, hostname="host", unixname="user")
    job.start_date = job.latest_heartbeat = FIRST
    job.end_date = FIRST + DAY
    session.add(job)
    dates = {"from_date": FIRST, "to_date": FIRST + DAY, "created_at": FIRST, "completed_at": FIRST + DAY}
    backfill = Backfill(dag_id="nested_groups", dag_run_conf={}, updated_at=FIRST, **dates)
    session.add(backfill)
    session.flush()
    for ordinal, run in enumerate(_runs_of("nested_groups", session), 1):
        run.backfill_id = backfill.id
        session.add(
            BackfillDagRun(
                backfill_id=backfill.id, dag_run_id=run.id, logical_date=run.logical_date, sort_ordinal=ordinal
            )
        )
    session.commit()


def _assets(session: Any) -> None:
    """Events, queues, and the store of an asset."""
    from airflow.models.asset import AssetAliasModel, AssetDagRunQueue, AssetEvent, AssetModel
    from airflow.models.asset_state_store import AssetStateStoreModel
    from sqlalchemy import select

    assets = session.scalars(select(AssetModel).order_by(AssetModel.id)).all()
    alias = session.scalars(select(AssetAliasModel)).first()
    for number, asset in enumerate(assets):
        source = {"source_dag_id": "producer", "source_task_id": "orders", "source_run_id": "scheduled__0"}
        event = AssetEvent(asset_id=asset.id, extra={"n": number}, source_map_index=-1, **source)
        event.timestamp = FIRST + number * DAY
        event.created_dagruns = _runs_of("of_both", session)[:1]
        session.add(event)
        if alias is not None:
            alias.asset_events.append(event)
        session.add(AssetStateStoreModel(asset_id=asset.id, key="seen", value=json.dumps(number), updated_at=FIRST))
    for dag_id in ("of_both", "of_either"):
        session.add(AssetDagRunQueue(asset_id=assets[0].id, target_dag_id=dag_id, created_at=FIRST))
    session.commit()


# ---- what the server has ----


def routes() -> list[dict[str, Any]]:
    """Each route of the API server: its path, its parameters, and whether it looks DAGs up in the server's bag.

    The execution API is for tasks and not for pages; of it, only the routes that look DAGs up.
    """
    from airflow.api_fastapi.app import create_app
    from airflow.api_fastapi.execution_api.routes import execution_api_router

    found = list(_walk(create_app(apps="all").routes))
    of_tasks = _walk(execution_api_router.routes, "/execution")
    return found + [route for route in of_tasks if route["uses_bag"]]


def _walk(routes: Any, prefix: str = "") -> Iterator[dict[str, Any]]:
    from fastapi.routing import APIRoute
    from starlette.routing import Mount

    for route in routes:
        path = prefix + getattr(route, "path", "")
        if isinstance(route, Mount):
            if path != "/execution":
                yield from _walk(getattr(route, "routes", []) or [], path)
            continue
        known = route.dependant if isinstance(route, APIRoute) else None
        for method in sorted(route.methods or ()):
            yield {
                "method": method,
                "path": path,
                "uses_bag": known is not None and _uses_bag(known),
                "query": [] if known is None else sorted(_names(known, "query_params")),
                "dry": path.endswith("/dry_run") or (known is not None and _has_dry_run(known)),
            }


def _uses_bag(known: Any) -> bool:
    from airflow.api_fastapi.common.dagbag import dag_bag_from_app

    return known.call is dag_bag_from_app or any(map(_uses_bag, known.dependencies))


def _names(known: Any, kind: str) -> Iterator[str]:
    yield from (parameter.alias for parameter in getattr(known, kind))
    for each in known.dependencies:
        yield from _names(each, kind)


def _has_dry_run(known: Any) -> bool:
    bodies = [getattr(body.field_info.annotation, "model_fields", {}) for body in known.body_params]
    return any("dry_run" in fields for fields in bodies)


def tokens(session: Any) -> dict[str, str]:
    """The token of each task instance for the execution API, by its id."""
    from airflow.executors.base_executor import BaseExecutor
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    generator = BaseExecutor().jwt_generator
    ids = session.scalars(select(TaskInstance.id)).all()
    return {str(key): generator.generate({"sub": str(key)}) for key in ids}


def main() -> None:
    """Build the tables, write the DAGs, fill the rest, write the file."""
    from airflow.cli.cli_parser import get_parser
    from airflow.utils.session import create_session

    for words in (["db", "migrate"], ["dags", "reserialize"]):
        parsed = get_parser().parse_args(words)
        parsed.func(parsed)
    with create_session() as session:
        fill(session)
    with create_session() as session:
        told = {"routes": routes(), "tokens": tokens(session)}
    Path(sys.argv[1]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
