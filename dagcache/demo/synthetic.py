"""Generated authoring DAGs: the shapes of a playground's versions. A tool; the hook does not import it."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, BaseOperator, Param, TaskGroup
from airflow.sdk.definitions.mappedoperator import MappedOperator

Task: TypeAlias = "BaseOperator | MappedOperator"

REVISION = "@revision@"
"""The placeholder for the revision's number, wherever two revisions of a DAG differ."""

WAIT = "wait"
"""The first task of every generated DAG, which stays deferred."""

_FEWEST, _MEAN, _MOST, _SIGMA = 10, 75, 300, 0.6


def task_count(random_: random.Random) -> int:
    """A DAG's number of tasks: lognormal around 75, from 10 to 300."""
    drawn = random_.lognormvariate(math.log(_MEAN) - _SIGMA**2 / 2, _SIGMA)
    return min(_MOST, max(_FEWEST, round(drawn)))


def synthetic_dag(dag_id: str, tasks: int, random_: random.Random, fileloc: str, schedule: str | None = None) -> DAG:
    """A DAG of mixed operators, some in groups and some mapped, with `REVISION` in places that an edit changes."""
    parameters: Any = {"day": Param("2026-01-01", type="string"), "limit": Param(100, type="integer", minimum=1)}
    dag = DAG(
        dag_id,
        schedule=schedule,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        description=f"Generated, revision {REVISION}",
        default_args={"owner": "playground", "retries": 2, "retry_delay": timedelta(minutes=5)},
        params=parameters,
        tags=["generated"],
        is_paused_upon_creation=False,
    )
    dag.fileloc = fileloc
    dag.relative_fileloc = fileloc.rsplit("/", 1)[-1]
    with dag:
        earlier: list[Task] = [DateTimeSensorAsync(task_id=WAIT, target_time="2100-01-01T00:00:00+00:00")]
        while len(earlier) < tasks:
            batch = min(random_.randint(3, 12), tasks - len(earlier))
            if random_.random() < 0.3:
                with TaskGroup(f"stage_{len(earlier)}"):
                    _grow(earlier, batch, random_)
            else:
                _grow(earlier, batch, random_)
    return dag


def _grow(earlier: list[Task], batch: int, random_: random.Random) -> None:
    for _ in range(batch):
        task = _task(f"task_{len(earlier)}", random_)
        recent = earlier[-15:]
        task.set_upstream(random_.sample(recent, min(len(recent), random_.randint(1, 3))))
        earlier.append(task)


def _task(task_id: str, random_: random.Random) -> Task:
    kind = random_.choices(("bash", "python", "empty", "mapped"), weights=(45, 35, 15, 5))[0]
    if kind == "bash":
        return BashOperator(task_id=task_id, bash_command=_script(task_id, random_), env=_environment(task_id))
    if kind == "python":
        document = f"Reads what came for `{task_id}`, checks it against the contract, writes it by day. " * 3
        return PythonOperator(
            task_id=task_id, python_callable=_transform, op_kwargs=_arguments(task_id, random_), doc_md=document
        )
    if kind == "mapped":
        shards = [f"shard {n}" for n in range(random_.randint(2, 8))]
        return BashOperator.partial(task_id=task_id, retries=1).expand(bash_command=shards)
    return EmptyOperator(task_id=task_id)


def _script(task_id: str, random_: random.Random) -> str:
    """A script that submits a job: the longest part of many real tasks."""
    options = "".join(
        f" \\\n  --conf spark.sql.setting.{n}={random_.randint(1, 10_000)}" for n in range(random_.randint(10, 30))
    )
    return f"set -euo pipefail\nsubmit --table {task_id} --day '{{{{ params.day }}}}' --revision {REVISION}{options}\n"


def _environment(task_id: str) -> dict[str, str]:
    return {"TABLE": task_id, "POOL": "default", "BUCKET": f"s3://warehouse/{task_id}", "LOG_LEVEL": "INFO"}


def _arguments(task_id: str, random_: random.Random) -> dict[str, object]:
    columns = [{"name": f"column_{n}", "type": random_.choice(("text", "int"))} for n in range(random_.randint(4, 14))]
    source = {"bucket": "warehouse", "prefix": f"raw/{task_id}/", "format": "parquet", "partition": "{{ params.day }}"}
    return {"table": task_id, "columns": columns, "source": source}


def _transform(table: str, columns: list[dict[str, str]], source: dict[str, str]) -> None:
    """The callable of the Python tasks."""
