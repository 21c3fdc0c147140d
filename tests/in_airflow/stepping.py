"""A run in steps, as a scheduler takes them, without an executor: which state each task has after each step."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from tests.in_airflow.zoo.shape import BEGIN

ERROR = "error"
"""The state of a run in the step that ends with an error."""
_number = count()
_PUSHED = [1, 2]
"""The result of each task: those that are mapped over it become two."""

Step = tuple[Any, ...]


def steps_of(dag: Any, most: int, session: Any) -> list[Step]:
    """The steps of a new run, until it ends, stands still or has made ``most``; the database is as before afterwards.

    Each task that is scheduled succeeds. An error ends the run, as a step of its own.
    """
    run_id = f"manual__{next(_number)}"
    steps: list[Step] = []
    try:
        run = _created(dag, run_id, session)
        for _ in range(most):
            ready, _callback = run.update_state(session=session, execute_callbacks=False)
            run.schedule_tis(ready, session=session)
            session.expire_all()
            run.dag = dag
            steps.append(_states(run, session))
            if not _finish(run, dag, session) and steps[-1:] == steps[-2:-1]:
                break
    except Exception as error:
        steps.append((ERROR, type(error).__name__, str(error).replace(run_id, "")))
    finally:
        session.rollback()
    return steps


def _created(dag: Any, run_id: str, session: Any) -> Any:
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    run = dag.create_dagrun(
        run_id=run_id,
        logical_date=BEGIN,
        data_interval=(BEGIN, BEGIN + timedelta(days=1)),
        run_after=BEGIN,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        start_date=BEGIN,
        session=session,
    )
    session.flush()
    run.dag = dag
    return run


def _states(run: Any, session: Any) -> Step:
    tasks = sorted(
        (ti.task_id, ti.map_index, str(ti.state), ti.priority_weight, ti.pool, ti.queue, ti.max_tries)
        for ti in run.get_task_instances(session=session)
    )
    return str(run.state), tuple(tasks)


def _finish(run: Any, dag: Any, session: Any) -> int:
    """Let the scheduled tasks succeed, with results; how many there were."""
    from airflow.models.taskmap import TaskMap
    from airflow.models.xcom import XComModel
    from airflow.utils.state import TaskInstanceState

    of_the_run = {"dag_id": run.dag_id, "run_id": run.run_id}
    scheduled = run.get_task_instances(state=[TaskInstanceState.SCHEDULED], session=session)
    for ti in scheduled:
        ti.task = dag.get_task(ti.task_id)
        where = {**of_the_run, "task_id": ti.task_id, "map_index": ti.map_index}
        if ti.map_index < 0:
            session.add(TaskMap(**where, length=len(_PUSHED), keys=None))
        XComModel.set(key="return_value", value=_PUSHED, **where, session=session)
        ti.set_state(TaskInstanceState.SUCCESS, session=session)
    session.flush()
    return len(scheduled)
