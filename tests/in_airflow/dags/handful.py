"""A handful of DAGs with tasks that really run."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.sdk import dag, task

SETTINGS = {
    "schedule": "@once",
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "is_paused_upon_creation": True,
    "tags": ["handful"],
}


@task
def one() -> int:
    """A value to hand on."""
    return 1


@task
def add(number: int, to: int = 1) -> int:
    """The value that the next task is handed."""
    return number + to


@task(retries=0)
def fails() -> None:
    """A failure."""
    raise RuntimeError("on purpose")


@task.branch
def chooses() -> str:
    """The one branch of two."""
    return "add"


@dag(**SETTINGS)
def really_linear() -> None:
    """Two tasks, one value."""
    add(one())


@dag(**SETTINGS)
def really_branching() -> None:
    """A branch that is taken, and one that is not."""
    chooses() >> [add(1), add.override(task_id="not_chosen")(2)]


@dag(**SETTINGS)
def really_failing() -> None:
    """A failure, and the tasks that it blocks."""
    fails() >> one()


@dag(**SETTINGS)
def really_mapped() -> None:
    """One task, twice."""
    add.expand(number=[1, 2])


really_linear()
really_branching()
really_failing()
really_mapped()
