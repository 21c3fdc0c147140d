"""An executor that ends tasks immediately, as their names say: processes for hundreds of runs would take minutes."""

from __future__ import annotations

from typing import Any

from airflow.executors.base_executor import BaseExecutor
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select

FAILS = "fails"
"""The id of tasks that end in a failure."""
CHOOSES, NOT_CHOSEN = "chooses", "not_chosen"
"""The ids of tasks that take a branch, and of those in the branch that they do not take."""


class InstantExecutor(BaseExecutor):  # type: ignore[misc, unused-ignore]
    """Writes the end states that a task's process would report."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handed_over: list[dict[str, Any]] = []

    def queue_workload(self, workload: Any, session: Any) -> None:
        """Take a task over; the scheduler's transaction is still open."""
        names = ("dag_id", "run_id", "task_id", "map_index")  # the id's type is not the same in all versions
        self._handed_over.append({name: getattr(workload.ti, name) for name in names})

    def sync(self) -> None:
        """End what was taken over."""
        if not self._handed_over:
            return
        with create_session() as session:
            for names in self._handed_over:
                self._end(session.scalars(select(TaskInstance).filter_by(**names)).one(), session)
        self._handed_over.clear()

    def _end(self, task: TaskInstance, session: Any) -> None:
        task.set_state(
            TaskInstanceState.FAILED if task.task_id == FAILS else TaskInstanceState.SUCCESS, session=session
        )
        if task.task_id == CHOOSES:
            of_this_run = (TaskInstance.dag_id == task.dag_id, TaskInstance.run_id == task.run_id)
            other = select(TaskInstance).where(*of_this_run, TaskInstance.task_id == NOT_CHOSEN)
            session.scalars(other).one().set_state(TaskInstanceState.SKIPPED, session=session)

    def end(self) -> None:
        """Nothing is running."""

    def terminate(self) -> None:
        """Nothing is running."""
