"""DAGs of the sizes that people have, written to the database of THIS process's environment, each to be run once.

``python -m benchmarks.typical --dags 2000``. Half of them have three tasks or fewer, one in twenty more than seventeen;
the last ones are large, up to 5,000 tasks. Every fourth DAG of more than three tasks has a mapped group, too.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Iterator
from typing import Any

LARGE = (300, 700, 1800, 5000)
"""Tasks of the largest DAGs."""
_MEDIAN, _P95, _Z95 = 3, 17, 1.6449
_SIGMA = math.log(_P95 / _MEDIAN) / _Z95
_MOST = 200
_BUNDLE = "dags-folder"
_AT_ONCE = 100


def task_counts(dags: int, seed: int = 1, largest: int = LARGE[-1]) -> list[int]:
    """How many tasks each DAG has: lognormal, and then those large ones that have ``largest`` tasks at most."""
    drawn = random.Random(seed)
    large = [tasks for tasks in LARGE if tasks <= largest]
    small = dags - len(large)
    return [min(_MOST, max(1, round(drawn.lognormvariate(math.log(_MEDIAN), _SIGMA)))) for _ in range(small)] + large


def payloads(counts: list[int], seed: int) -> Iterator[dict[str, Any]]:
    """The same DAGs as a row has them, without a database."""
    from airflow.serialization import serialized_objects

    lazily: Any = serialized_objects.LazyDeserializedDAG
    for number, tasks in enumerate(counts):
        payload: dict[str, Any] = json.loads(json.dumps(lazily.from_dag(_authored(number, tasks, seed)).data))
        yield payload


def _authored(number: int, tasks: int, seed: int) -> Any:
    from dagcache.demo.synthetic import synthetic_dag

    drawn = random.Random(f"{seed}/{number}")
    first = tasks if tasks <= _MOST else 1
    dag = synthetic_dag(f"typical_{number:05}", first, drawn, __file__, schedule="@once")
    if tasks > first:
        _add_chains(dag, tasks - first, drawn)
    if tasks > 3 and number % 4 == 0:
        _add_mapped_group(dag, number, drawn)
    return dag


def _add_mapped_group(dag: Any, number: int, drawn: random.Random) -> None:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import task_group

    def each_shard(shard: str) -> None:
        extract = BashOperator(task_id="extract", bash_command=f"extract {shard}")
        extract >> BashOperator(task_id="load", bash_command="load", env={"DAG": str(number)})

    with dag:
        grouped: Any = task_group(each_shard)
        grouped.expand(shard=[f"shard {index}" for index in range(drawn.randint(2, 6))])


def _add_chains(dag: Any, tasks: int, drawn: random.Random) -> None:
    """Short chains behind the first task, in groups: large DAGs are wide.

    In a deep one Airflow's own weights of priority take quadratic time: minutes for the run of 5,000 tasks.
    """
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import TaskGroup

    (earliest,) = dag.tasks
    done = 0
    with dag:
        while done < tasks:
            with TaskGroup(f"table_{done}"):
                last = earliest
                for step in range(min(drawn.randint(2, 6), tasks - done)):
                    command = f"step --table {done} --number {step} " + "--set option=value " * drawn.randint(0, 20)
                    task = BashOperator(task_id=f"step_{step}", bash_command=command, env={"TABLE": str(done)})
                    last >> task
                    last = task
                    done += 1


def _written(counts: list[int], seed: int) -> Iterator[int]:
    """Write them, some at a time; yields how many are written."""
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization import serialized_objects
    from airflow.utils.session import create_session

    lazily: Any = serialized_objects.LazyDeserializedDAG
    for first in range(0, len(counts), _AT_ONCE):
        some = counts[first : first + _AT_ONCE]
        dags = [lazily.from_dag(_authored(first + index, tasks, seed)) for index, tasks in enumerate(some)]
        with create_session() as session:
            vars(serialized_objects)["SerializedDAG"].bulk_write_to_db(_BUNDLE, None, dags, session=session)
            for dag in dags:
                SerializedDagModel.write_dag(dag, bundle_name=_BUNDLE, session=session)
        yield first + len(some)


def main() -> None:
    """Build the tables and write the DAGs; their properties go to stdout, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.typical", description=__doc__)
    parser.add_argument("--dags", type=int, default=2000)
    parser.add_argument("--largest", type=int, default=LARGE[-1], help="tasks of the largest DAG, at most")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    stdout, sys.stdout = sys.stdout, sys.stderr  # Airflow's commands print
    from airflow import settings
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session
    from sqlalchemy import text

    from dagcache.demo.playground import migrate

    migrate()
    engine: Any = settings.engine
    with create_session() as session:
        session.add(DagBundleModel(name=_BUNDLE))
    counts = task_counts(chosen.dags, chosen.seed, chosen.largest)
    for done in _written(counts, chosen.seed):
        print(f"{done} of {len(counts)}", flush=True)
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))  # so that a copy of the file is all of it
    print(json.dumps({"dags": len(counts), "tasks": sum(counts)}), file=stdout)


if __name__ == "__main__":
    main()
