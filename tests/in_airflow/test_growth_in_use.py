"""The weight of a DAG after a scheduler has used it: unchanged, until a run moves to another version."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

import pytest

from dagcache.core.entry import USES_BEFORE_REWEIGHING
from dagcache.sizing.walk import weigh
from tests.in_airflow.support import write
from tests.support import probe

TASKS = 40
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def create_run(dag: Any, session: Any) -> Any:
    """As the scheduler creates it, and examines it for the first time."""
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    run = dag.create_dagrun(
        run_id="scheduled__0",
        logical_date=BEGIN,
        data_interval=(BEGIN, BEGIN + timedelta(days=1)),
        run_after=BEGIN,
        run_type=DagRunType.SCHEDULED,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        start_date=BEGIN,
        session=session,
    )
    session.flush()
    run.dag = dag
    run.update_state(session=session, execute_callbacks=False)
    return run


def weight_of(bag: Any, dag: Any) -> int:
    """By an exact walk, bytes."""
    shared = frozenset(map(id, probe.shared(bag.dagcache)))
    return weigh(dag, shared=shared).nbytes


@pytest.fixture
def version(session: Any) -> Any:
    """Of a DAG."""
    return write(session, "grows", tasks=TASKS)


def test_a_run_that_is_created_and_examined_leaves_nothing_on_the_tasks(bag: Any, session: Any, version: Any) -> None:
    """So nothing is charged in advance."""
    if not hasattr(import_module("airflow.jobs.scheduler_job_runner"), "CachedDBDagBag"):
        pytest.skip("another Airflow, in which tasks may grow at once")
    dag = bag._get_dag(version, session)
    fresh = weight_of(bag, dag)
    create_run(dag, session)
    assert weight_of(bag, dag) == fresh


def test_what_tasks_keep_once_a_run_is_verified_again_is_accounted(bag: Any, session: Any, version: Any) -> None:
    """Airflow's caches of method results settle on them then: a run moves to another version, for instance."""
    dag = bag._get_dag(version, session)
    run = create_run(dag, session)
    fresh = weight_of(bag, dag)
    run.verify_integrity(session=session, dag_version_id=version)
    grown = weight_of(bag, dag)
    assert grown > 1.2 * fresh
    cache = bag.dagcache
    probe.grant_weighing(cache, 1e6)
    for _ in range(USES_BEFORE_REWEIGHING):
        probe.unfreshen(cache, version)
        assert bag._get_dag(version, session) is dag
    assert cache.stats().live_bytes == grown
    cache.check_invariants()
