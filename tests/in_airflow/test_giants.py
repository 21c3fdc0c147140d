"""The cost of freezing a DAG of very many tasks: its time, and what it leaves on the DAG."""

from __future__ import annotations

from typing import Any

import pytest

from dagcache.airflow.graphs import freezer
from dagcache.freezing import pickling
from dagcache.sizing.walk import weigh
from tests.in_airflow.support import write

TASKS = 120


def add_tasks() -> None:
    """Mapped tasks and groups behind several others: their sets of ids are in slots."""
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import TaskGroup

    earlier = [EmptyOperator(task_id=f"first_{number}") for number in range(8)]
    for number in range(TASKS):
        with TaskGroup(f"group_{number}") as group:
            mapped = BashOperator.partial(task_id=f"mapped_{number}").expand(bash_command=["a", "b"])
        earlier[number % 7 :: 3] >> mapped
        earlier[number % 5 :: 2] >> group
        earlier = [*earlier[1:], EmptyOperator(task_id=f"next_{number}")]


def test_a_dag_is_pickled_once(bag: Any, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some sets need an order of their own; if the freezer learns of them only from a pickle, it makes another one."""
    dumps = []

    class Counted(pickling._Dump):
        def __init__(self, *args: Any) -> None:
            dumps.append(len(args[2]))
            super().__init__(*args)

    monkeypatch.setattr(pickling, "_Dump", Counted)
    version = write(session, "giant", add_tasks=add_tasks)
    dag = bag._get_dag(version, session)
    assert len(dag.task_dict) > 2 * TASKS
    assert len(set(dumps)) == 1, "a second pickle knows of sets that the first did not know of"
    assert dumps[0] > 0, "no set needed an order of its own: the test shows nothing"


def test_a_freeze_hardly_adds_to_a_dag_of_mapped_tasks(session: Any) -> None:
    """Pickle reads attributes by name, which fills cached properties, and creates the dicts of instances."""
    from airflow.models.dag_version import DagVersion

    version = session.get(DagVersion, write(session, "mapped", add_tasks=add_tasks))
    dag = version.serialized_dag.dag
    made, shared = freezer()
    ids = frozenset(map(id, shared))
    before = weigh(dag, shared=ids).nbytes
    made.freeze(dag)
    assert before <= weigh(dag, shared=ids).nbytes < 1.03 * before
