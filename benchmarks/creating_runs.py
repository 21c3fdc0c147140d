"""A scheduler's process that creates scheduled runs, measured from inside: the child of `benchmarks.created_runs`.

    python -m benchmarks.creating_runs fill --dags 500 --tasks 8
    python -m benchmarks.creating_runs create --runs 500 --rounds 3

It works in Airflow's environment of this process. ``fill`` builds the tables and writes DAGs with a schedule of one
minute, whose runs are due since the start of the year. ``create`` calls the step of the scheduler's loop that creates
runs, until there are as many as asked for. Each round goes to stdout as JSON, with the CPU seconds of reading the DAGs
among all of them. With ``--free`` a DAG is read once and handed out again: the bound of any cache.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from datetime import datetime, timezone
from typing import Any

_SHAPES = 24
_DAG_ID = "__dag_id__"
_BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
_BUNDLE = "dags-folder"
_NEVER_TOO_MANY = 1_000_000  # runs of a DAG


def fill(dags: int, tasks: int) -> None:
    """Write so many DAGs of about so many tasks, each due in every minute."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    from dagcache.demo.playground import migrate

    migrate()
    with create_session() as session:
        session.add(DagBundleModel(name=_BUNDLE))
    shapes = [_shape(tasks, number) for number in range(min(_SHAPES, dags))]
    for number in range(dags):
        with create_session() as session:
            _write(shapes[number % len(shapes)].replace(_DAG_ID, f"each_minute_{number:04}"), session)
    print(json.dumps({"tasks": sum(len(json.loads(shape)["dag"]["tasks"]) for shape in shapes) / len(shapes)}))


def _shape(tasks: int, number: int) -> str:
    """A serialised DAG without an id, of half to one and a half times as many tasks."""
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    from dagcache.demo.synthetic import synthetic_dag

    drawn = random.Random(f"{tasks}/{number}")
    count = max(1, round(tasks * drawn.uniform(0.5, 1.5)))
    dag = synthetic_dag(_DAG_ID, count, drawn, __file__, "* * * * *")
    dag.catchup = True
    dag.max_active_runs = _NEVER_TOO_MANY
    return json.dumps(LazyDeserializedDAG.from_dag(dag).data, sort_keys=True)


def _write(text: str, session: Any) -> None:
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization import serialized_objects

    lazy = serialized_objects.LazyDeserializedDAG(data=json.loads(text))
    vars(serialized_objects)["SerializedDAG"].bulk_write_to_db(_BUNDLE, None, [lazy], session=session)
    SerializedDagModel.write_dag(lazy, bundle_name=_BUNDLE, session=session)


def create(runs: int, rounds: int, free: bool) -> None:
    """Create at least so many runs in each round, and write a line for each; ``free``: each DAG is read once only."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.sqlalchemy import prohibit_commit
    from sqlalchemy import func, select

    scheduler: Any = SchedulerJobRunner(job=Job())
    if free:
        _keep_results(scheduler, "_get_current_dag")
    reading = _timed(scheduler, "_get_current_dag")

    def count() -> int:
        with create_session() as session:
            return int(session.scalar(select(func.count()).select_from(DagRun)) or 0)

    for number in range(rounds):
        before = made = count()
        read_before = sum(reading)
        seconds, cpu_seconds = time.perf_counter(), time.process_time()
        left_out = 0.0
        while made - before < runs:
            with create_session() as session, prohibit_commit(session) as guard:
                scheduler._create_dagruns_for_dags(guard, session)  # noqa: SLF001 - a step of Airflow's loop
            counting = time.process_time()
            made = count()
            left_out += time.process_time() - counting
        seconds, cpu_seconds = time.perf_counter() - seconds, time.process_time() - cpu_seconds - left_out
        line = {"round": number, "runs": made - before, "seconds": seconds, "cpu_seconds": cpu_seconds}
        line["reading_cpu_seconds"] = sum(reading) - read_before
        print(json.dumps(line | _tiers(scheduler.scheduler_dag_bag)), flush=True)


def _keep_results(owner: Any, name: str) -> None:
    """Have a method return the same object for the same DAG from now on."""
    method, kept = getattr(owner, name), dict[str, Any]()

    def read_once(dag_id: str, session: Any) -> Any:
        if dag_id not in kept:
            kept[dag_id] = method(dag_id=dag_id, session=session)
        return kept[dag_id]

    setattr(owner, name, read_once)


def _timed(owner: Any, name: str) -> list[float]:
    """The CPU seconds of each call of a method from now on."""
    method, took = getattr(owner, name), list[float]()

    def timed(*args: Any, **kwargs: Any) -> Any:
        since = time.process_time()
        try:
            return method(*args, **kwargs)
        finally:
            took.append(time.process_time() - since)

    setattr(owner, name, timed)
    return took


def _tiers(bag: Any) -> dict[str, int]:
    cache = getattr(bag, "dagcache", None)
    if cache is None:
        return {}
    stats = cache.stats()
    return {"hits_live": stats.hits_live, "hits_frozen": stats.hits_frozen, "misses": stats.misses}


def main() -> None:
    """Fill the database, or create runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.creating_runs", description=__doc__)
    parser.add_argument("step", choices=("fill", "create"))
    parser.add_argument("--dags", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=8, help="of a DAG, on average (default: 8)")
    parser.add_argument("--runs", type=int, default=500, help="of a round (default: 500)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--free", action="store_true", help="hand each DAG out again, for nothing")
    chosen = parser.parse_args()
    if chosen.step == "fill":
        fill(chosen.dags, chosen.tasks)
    else:
        create(chosen.runs, chosen.rounds, chosen.free)


if __name__ == "__main__":
    main()
