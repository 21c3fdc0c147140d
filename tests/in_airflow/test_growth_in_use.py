"""The weight of a DAG after a scheduler has used it: unchanged, until a run moves to another version."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from dagcache.core.entry import USES_BEFORE_REWEIGHING
from dagcache.sizing.walk import weigh
from tests.in_airflow.support import write
from tests.support import probe

TASKS = 40
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def run_of(current: Any, dag: Any, session: Any) -> Any:
    """A run that is created with one DAG and examined for the first time with another, as in the scheduler."""
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    run = current.create_dagrun(
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


def test_a_dag_is_charged_what_it_weighs_and_no_growth_in_advance(bag: Any, session: Any, version: Any) -> None:
    """The first weight of a DAG is a walk's."""
    dag = bag._get_dag(version, session)
    assert bag.dagcache.stats().live_bytes == weight_of(bag, dag)
    assert [info.live_bytes for info in bag.dagcache.entries()] == [weight_of(bag, dag)]


def test_a_run_that_is_created_and_examined_leaves_nothing_on_the_tasks(bag: Any, session: Any, version: Any) -> None:
    """So no growth needs to be charged in advance.

    Airflow 3.4 leaves method results on the tasks of the DAG that it creates a run with, which no other lookup shares.
    """
    dag = bag._get_dag(version, session)
    current = bag.current_dag(dag.dag_id, session=session)
    fresh = weight_of(bag, dag)
    run_of(current, dag, session)
    assert abs(weight_of(bag, dag) - fresh) < TASKS  # a block of memory has at least 16 bytes


def test_what_tasks_keep_once_a_run_is_verified_again_is_accounted(bag: Any, session: Any, version: Any) -> None:
    """Airflow's caches of method results settle on them then: a run moves to another version, for instance."""
    dag = bag._get_dag(version, session)
    run = run_of(bag.current_dag(dag.dag_id, session=session), dag, session)
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
