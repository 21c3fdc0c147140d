"""A process that changes DAGs all the while, as a DAG processor does: versions in place where it may, else new ones.

    python -m tests.in_airflow.rewriting BOOK DAG_ID ...

Each line on its stdin has every DAG that was named triggered once more; when stdin ends, so does the process. Beside
those DAGs it makes some with a newest version that is only rewritten in place, although it has active runs. BOOK has
the time of each write.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any, NamedTuple

from airflow.api.common.trigger_dag import trigger_dag
from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import text

from dagcache.demo.waiting_runs import BUNDLE, write_versions
from tests.in_airflow.support import DAGS

IN_PLACE = tuple(f"generated_{number:04}" for number in range(4))
"""The DAGs with a newest version that is rewritten in place."""

_PAUSE = 0.1  # seconds between two changes
# Airflow writes a new version if a task instance refers to the newest: here the run of the newest has its task
# instance refer to the version before.
_DETACH = text("""
    UPDATE task_instance SET dag_version_id = (
        SELECT id FROM dag_version WHERE dag_version.dag_id = task_instance.dag_id AND version_number = 1
    ) WHERE state = 'deferred'
""")


class Writing(NamedTuple):
    """One revision of a DAG."""

    at: float
    """When it was visible to all, in seconds of the machine's monotonic clock."""
    dag_id: str
    version_id: str
    revision: int


def rewrite(dag_id: str, revision: int) -> Writing:
    """Change only a DAG's document, and commit."""
    with create_session() as session:
        newest: Any = SerializedDagModel.get(dag_id, session=session)
        data = json.loads(json.dumps(newest.data))
        data["dag"]["doc_md"] = f"revision {revision}"
        bundle_version = newest.dag_version.bundle_version
        dag = LazyDeserializedDAG(data=data)
        SerializedDagModel.write_dag(dag, bundle_name=BUNDLE, bundle_version=bundle_version, session=session)
        session.flush()
        version: Any = DagVersion.get_latest_version(dag_id, session=session)
        version_id = str(version.id)
    return Writing(time.monotonic(), dag_id, version_id, revision)


def read_book(path: Path) -> list[Writing]:
    """All that was written, in order."""
    return [Writing(*json.loads(line)) for line in path.read_text().splitlines()]


def _prepare() -> None:
    dags = len(IN_PLACE)
    deque(write_versions(versions=2 * dags, dags=dags, seed=7, dag_file=str(DAGS / "hundred.py"), run_prefix="w"), 0)
    with create_session() as session:
        session.execute(_DETACH)


def main(argv: Sequence[str]) -> int:
    """Say so when everything is prepared, and change DAGs until stdin ends."""
    book, *dag_ids = argv
    _prepare()
    print("ready", flush=True)  # noqa: T201 - the parent process waits for it
    due: deque[tuple[str, int]] = deque()
    in_place, others = cycle(IN_PLACE), cycle(dag_ids)
    rounds = count(1)
    revisions = count(1)
    with Path(book).open("w") as written:
        while True:
            if select.select([sys.stdin], [], [], _PAUSE)[0]:
                if not sys.stdin.readline():
                    return 0
                number = next(rounds)
                due.extend((dag_id, number) for dag_id in dag_ids)
            for dag_id in (next(in_place), next(others)):
                written.write(json.dumps(rewrite(dag_id, next(revisions))) + "\n")
                written.flush()
            if due:
                dag_id, number = due.popleft()
                trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.TEST, run_id=f"asked_for_{number}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
