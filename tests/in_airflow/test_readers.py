"""Airflow's readers that bypass the bag, each by Airflow's own function: thawed, with stock's answer and statements."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow import own_process, row_property
from tests.in_airflow.support import api_bag, scheduler_bag, statements_of, write

pytestmark = [
    pytest.mark.served_rows,
    pytest.mark.skipif(
        not version("apache-airflow-core").startswith("3.3."), reason="the functions are those of Airflow 3.3"
    ),
]

DAG_ID = "read_past_the_bag"
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
Read = Callable[[Any], Any]


@pytest.fixture(scope="module")
def engine(sqlite_engine: Any) -> Any:
    """The readers are the same on each backend."""
    return sqlite_engine


@pytest.fixture(scope="module", autouse=True)
def filled(engine: Any) -> None:
    """A DAG that two assets trigger, with a run of its older version, and a queued event of an asset."""
    from airflow.models.asset import AssetDagRunQueue, AssetModel
    from airflow.sdk import Asset, PartitionedAssetTimetable
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    assets = [Asset("first"), Asset("second")]
    with Session(engine, expire_on_commit=False) as session:
        older = write(session, DAG_ID, tasks=4, schedule=assets)
        bag = scheduler_bag()
        bag._get_dag(older, session).create_dagrun(
            run_id="manual__of_the_older_version",
            logical_date=BEGIN,
            data_interval=(BEGIN, BEGIN),
            run_after=BEGIN,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        session.commit()
        assert write(session, DAG_ID, tasks=5, schedule=assets) != older
        write(session, "partitioned", schedule=PartitionedAssetTimetable(assets=Asset("parted")))
        for asset in session.scalars(select(AssetModel).where(AssetModel.name.in_(["first", "second"]))):
            session.add(AssetDagRunQueue(asset_id=asset.id, target_dag_id=DAG_ID))
        session.commit()
        bag._component.close()
    row_property.stop()


def _grid(name: str) -> Read:
    """A function of the grid, without filters."""

    def read(session: Any) -> Any:
        from airflow.api_fastapi.common.parameters import LimitFilter, OffsetFilter, SortParam
        from airflow.api_fastapi.core_api.routes.ui import grid
        from airflow.models.dagrun import DagRun

        order = SortParam(["run_after"], DagRun)
        order.set_value([order.get_primary_key_string()])
        filters = dict.fromkeys(("run_after", "run_type", "state", "triggering_user", "triggering_user_prefix"))
        page = {"offset": OffsetFilter.depends(0), "limit": LimitFilter.depends(10), "order_by": order}
        return getattr(grid, name)(dag_id=DAG_ID, session=session, **page, **filters)

    return read


def _structure_data(session: Any) -> Any:
    from airflow.api_fastapi.core_api.routes.ui.structure import structure_data

    return structure_data(session=session, dag_id=DAG_ID, readable_dags_filter=None, version_number=2)


def _partition_helper(session: Any) -> Any:
    from airflow.api_fastapi.common.partition_helpers import load_partitioned_timetable

    return load_partitioned_timetable("partitioned", session).serialize()


def _partition_helpers(session: Any) -> Any:
    from airflow.api_fastapi.common.partition_helpers import load_partitioned_timetables

    found = load_partitioned_timetables(["partitioned", DAG_ID], session)
    return {dag_id: timetable and timetable.serialize() for dag_id, timetable in found.items()}


def _run_on_latest_version(session: Any) -> Any:
    from airflow.api_fastapi.common.dagbag import resolve_run_on_latest_version

    return resolve_run_on_latest_version(None, DAG_ID, session)


def _bag_for_one_call(session: Any) -> Any:
    from airflow.models.dagbag import DBDagBag

    return sorted(DBDagBag(load_op_links=False).get_latest_version_of_dag(DAG_ID, session=session).task_dict)


def _asset_triggered(session: Any) -> Any:
    from airflow.models.dag import DagModel

    _, triggered = DagModel.dags_needing_dagruns(session)
    return triggered


BY_PROPERTY: dict[str, tuple[str, Read, int]] = {
    "grid/structure": ("api_server", _grid("get_dag_structure"), 2),
    "grid/runs": ("api_server", _grid("get_grid_runs"), 1),
    "structure_data": ("api_server", _structure_data, 1),
    "load_partitioned_timetable": ("api_server", _partition_helper, 1),
    "load_partitioned_timetables": ("api_server", _partition_helpers, 2),
    "resolve_run_on_latest_version": ("api_server", _run_on_latest_version, 1),
    "a bag for one call": ("api_server", _bag_for_one_call, 1),
    "dags_needing_dagruns": ("scheduler", _asset_triggered, 1),
}
"""The process of each reader, the reader, and the number of DAGs that it builds."""
BAGS = {"api_server": api_bag, "scheduler": scheduler_bag}


def answer_of(read: Read, engine: Any) -> tuple[Any, int]:
    """The answer in a session of its own, and the number of statements."""
    from sqlalchemy.orm import Session

    with Session(engine, expire_on_commit=False) as session, statements_of(engine) as heard:
        answer = read(session)
        session.rollback()
    return answer, len(heard.texts)


def has_all_versions(bag: Any, engine: Any) -> None:
    """Have a bag look all versions up."""
    from airflow.models.dag_version import DagVersion
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    with Session(engine) as session:
        for found in session.scalars(select(DagVersion.id).where(DagVersion.dag_id.in_([DAG_ID, "partitioned"]))):
            assert bag._get_dag(found, session) is not None


@pytest.mark.usefixtures("airflows_database")
@pytest.mark.parametrize("name", BY_PROPERTY)
def test_a_reader_past_the_bag_gets_stocks_answer_by_thaws_alone(
    name: str, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thaw for each DAG that it builds, no load, and no statement more."""
    monkeypatch.setattr(own_process, "serves", lambda _: True)
    component, read, dags = BY_PROPERTY[name]
    row_property.stop()
    stock, statements = answer_of(read, engine)
    bag = BAGS[component]()
    has_all_versions(bag, engine)
    before = bag.dagcache.stats()
    assert answer_of(read, engine) == (stock, statements)
    after = bag.dagcache.stats()
    assert after.hits_frozen - before.hits_frozen == dags
    assert (after.loads, after.misses, after.hits_live) == (before.loads, before.misses, before.hits_live)
    bag.dagcache.check_invariants()
    bag._component.close()
    row_property.stop()


@pytest.mark.usefixtures("airflows_database")
def test_summaries_of_task_instances_come_from_the_bag_by_version(engine: Any) -> None:
    """Stock's answer, and no statement for a DAG that the cache has."""
    from airflow.api_fastapi.core_api.routes.ui.grid import _build_ti_summaries
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbag import DBDagBag
    from sqlalchemy.orm import Session

    with Session(engine) as session:
        latest = DagVersion.get_latest_version(DAG_ID, session=session)
        assert latest is not None
        of_task = {"state": "success", "start_date": BEGIN, "end_date": BEGIN, "dag_version_id": latest.id}
    instances = [SimpleNamespace(task_id=f"task_{number}", **of_task) for number in range(5)]

    def read_with(bag: Any) -> Read:
        return lambda session: _build_ti_summaries(DAG_ID, "a run", instances, session, dag_bag=bag)

    bag = api_bag()
    stock, _ = answer_of(read_with(DBDagBag()), engine)
    assert answer_of(read_with(bag), engine)[0] == stock
    assert answer_of(read_with(bag), engine) == (stock, 0)
    assert (bag.dagcache.stats().loads, bag.dagcache.stats().hits_live) == (1, 1)
    bag._component.close()
    row_property.stop()
