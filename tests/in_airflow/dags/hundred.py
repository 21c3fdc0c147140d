"""A hundred DAGs of four shapes, each to run once; the names of their tasks say how they end (`InstantExecutor`)."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseOperator


def _task(task_id: str, **settings: str) -> BaseOperator:
    return BashOperator(task_id=task_id, bash_command="true", retries=0, **settings)


def _linear() -> None:
    _task("first") >> _task("second") >> _task("third")


def _branching() -> None:
    join = _task("join", trigger_rule="none_failed_min_one_success")
    _task("first") >> _task("chooses") >> [_task("chosen"), _task("not_chosen")] >> join


def _failing() -> None:
    fails, cleans_up = _task("fails"), _task("cleans_up", trigger_rule="all_done")
    _task("first") >> fails >> [_task("after"), cleans_up]
    cleans_up >> _task("watcher", trigger_rule="one_failed")


def _mapped() -> None:
    mapped = BashOperator.partial(task_id="mapped", retries=0).expand(bash_command=["true", "false", ":"])
    _task("first") >> mapped >> _task("last")


SHAPES = (_linear, _branching, _failing, _mapped)

for number in range(100):
    shape = SHAPES[number % len(SHAPES)]
    with DAG(
        f"{shape.__name__.strip('_')}_{number:03}",
        schedule="@once",
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        is_paused_upon_creation=False,
        tags=["hundred"],
    ) as dag:
        shape()
    globals()[dag.dag_id] = dag
