"""A pattern's DAGs in an Airflow home: written, triggered and changed, in a process of that home's environment."""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from airflow.api.common.trigger_dag import trigger_dag
from airflow.configuration import conf
from airflow.models.pool import Pool
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select

from benchmarks.policies.recorded.executor import IDLE
from benchmarks.policies.recorded.patterns import PATTERNS, Pattern
from dagcache.demo.playground import DAG_FILE
from dagcache.demo.synthetic import REVISION, synthetic_dag
from dagcache.demo.waiting_runs import BUNDLE, SerializedDAG

_SIGMA, _FEWEST, _MOST = 0.9, 3, 200
_SLOTS = 10_000  # in the pool: tasks that last as long as these take nothing
_ALPHA = 0.7  # of the Zipf law by which DAGs are drawn for a burst


class Installation:
    """The DAGs of one pattern; the same seed makes the same."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._random = random.Random(pattern.seed)
        self._file = f"{conf.get('core', 'dags_folder')}/{DAG_FILE}"
        self._ids = [f"busy_{number:04}" for number in range(pattern.dags)]
        self._texts = {dag_id: self._text(dag_id) for dag_id in self._ids}
        self._revisions = dict.fromkeys(self._ids, 1)

    def write(self) -> None:
        """Write the first version of each; the idle ones get their run."""
        with create_session() as session:
            session.scalars(select(Pool).filter_by(pool=Pool.DEFAULT_POOL_NAME)).one().slots = _SLOTS
        for dag_id in self._ids:
            self._write(dag_id, self._texts[dag_id])
        for number in range(self._pattern.idle):
            dag_id = f"{IDLE}_{number:04}"
            self._write(dag_id, self._text(dag_id))
            self._trigger(dag_id, "waits")

    def live(self) -> None:
        """Run the events beside the schedule until the process is ended."""
        for seconds, happens in self._happenings():
            time.sleep(seconds)
            happens()

    def _happenings(self) -> Iterator[tuple[float, Any]]:
        """Iterate over seconds to wait and the event that follows."""
        pattern = self._pattern
        plans = [(pattern.new_version_every, self._change)] if pattern.new_version_every else []
        plans += [(pattern.burst_every, self._burst)] if pattern.burst else []
        due = [time.monotonic() + 1] * len(plans)
        while plans:
            place = due.index(min(due))
            every, happens = plans[place]
            yield max(0.0, due[place] - time.monotonic()), happens
            due[place] += every * self._random.uniform(0.5, 1.5)

    def _change(self) -> None:
        dag_id = self._random.choice(self._ids)
        self._revisions[dag_id] += 1
        self._write(dag_id, self._texts[dag_id], self._revisions[dag_id])

    def _burst(self) -> None:
        weights = [(number + 1) ** -_ALPHA for number in range(len(self._ids))]
        drawn = dict.fromkeys(self._random.choices(self._ids, weights, k=self._pattern.burst))
        for dag_id in drawn:
            self._trigger(dag_id, f"burst_{time.time():.3f}")

    def _trigger(self, dag_id: str, run_id: str) -> None:
        trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.TEST, run_id=run_id)

    def _write(self, dag_id: str, text: str, revision: int = 1) -> None:
        dag = LazyDeserializedDAG(data=json.loads(text.replace(REVISION, str(revision))))
        bundle_version = f"r{revision}" if self._pattern.keeps_versions else None
        with create_session() as session:
            SerializedDAG.bulk_write_to_db(BUNDLE, bundle_version, [dag], session=session)
            SerializedDagModel.write_dag(dag, bundle_name=BUNDLE, bundle_version=bundle_version, session=session)

    def _text(self, dag_id: str) -> str:
        """The serialised DAG, in which `REVISION` stands for the revision's number."""
        pattern, random_ = self._pattern, self._random
        drawn = random_.lognormvariate(math.log(pattern.mean_tasks) - _SIGMA**2 / 2, _SIGMA)
        tasks = min(_MOST, max(_FEWEST, round(drawn)))
        dag = synthetic_dag(dag_id, tasks, random_, self._file)
        dag.max_active_runs = pattern.active_runs
        if pattern.every and not dag_id.startswith(IDLE):
            self._schedule(dag)
        return json.dumps(LazyDeserializedDAG.from_dag(dag).data, sort_keys=True)

    def _schedule(self, dag: DAG) -> None:
        every = timedelta(seconds=self._random.choice(self._pattern.every))
        dag.timetable = DAG("like_it", schedule=every, start_date=dag.start_date).timetable
        dag.catchup = self._pattern.catchup


def main() -> None:
    """Write, or live."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.recorded.installation", description=__doc__)
    parser.add_argument("pattern", choices=[pattern.name for pattern in PATTERNS])
    parser.add_argument("what", choices=["write", "live"])
    chosen = parser.parse_args()
    (pattern,) = (pattern for pattern in PATTERNS if pattern.name == chosen.pattern)
    installation = Installation(pattern)
    if chosen.what == "write":
        installation.write()
        return
    print("ready", flush=True)
    installation.live()


if __name__ == "__main__":
    main()
