"""An executor that records the work of its scheduler: each task that it ended, each DAG that was looked up, each loop.

Both are needed from inside of a scheduler that may be killed at any moment. The end of a task is written in the same
transaction as its end state; lookups and loops go into a file of the process, `DIARY`, which the kernel has at once.
"""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select, text

from tests.in_airflow.instant import CHOOSES, FAILS, NOT_CHOSEN, InstantExecutor
from tests.in_airflow.support import use_site

TABLE = "CREATE TABLE ended (dag_id TEXT, run_id TEXT, task_id TEXT, map_index INT)"
"""The table for the ends of tasks. It has no key, so that a task that ends twice is visible."""
DIARY = "diary-{}.jsonl"
"""A process's own, in its home, by its id."""
JOB = "job"
"""The file in a scheduler's home that holds the id of its job."""
HOLD = "hold"
"""A scheduler ends no task as long as its home has a file of this name: they stay queued."""

_INSERT = text("INSERT INTO ended VALUES (:dag_id, :run_id, :task_id, :map_index)")


class Lookup(NamedTuple):
    """A found version."""

    since: float
    """When it was asked for, in seconds of the machine's monotonic clock."""
    key: str
    """The id of the version, or of the DAG if the newest version was asked for."""
    revision: int


def revision_of(document: str | None) -> int:
    """The number of the revision in a DAG's document; 0 before the first."""
    return int(document.rpartition(" ")[2]) if document else 0


class WitnessedExecutor(InstantExecutor):
    """Ends each task in a transaction of its own, and only if it is still the scheduler's to end."""

    def start(self) -> None:
        """Begin to take down; only a scheduler that really runs starts its executor."""
        super().start()
        home = Path(os.environ["AIRFLOW_HOME"])
        self._hold = home / HOLD
        self._diary = os.open(home / DIARY.format(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._watch_lookups()
        self._note("loop", time.monotonic())
        (home / JOB).write_text(str(self.job_id))

    def sync(self) -> None:
        """Once in each of the scheduler's loops."""
        self._note("loop", time.monotonic())
        while self._handed_over and not self._hold.exists():
            names = self._handed_over.pop(0)
            if names["task_id"] == CHOOSES:
                self._set(names | {"task_id": NOT_CHOSEN}, TaskInstanceState.SKIPPED)
            self._run(names)

    def _run(self, names: dict[str, Any]) -> None:
        """As the API server lets a task begin only if it is queued: if it has been taken away, it does not run."""
        with create_session() as session:
            row = select(TaskInstance).filter_by(**names).with_for_update(of=TaskInstance)
            task = session.scalars(row).one()
            if task.state == TaskInstanceState.QUEUED:
                self._end(task, session)
                session.execute(_INSERT, names)

    def _set(self, names: dict[str, Any], state: TaskInstanceState) -> None:
        with create_session() as session:
            session.scalars(select(TaskInstance).filter_by(**names)).one().set_state(state, session=session)

    def _end(self, task: TaskInstance, session: Any) -> None:
        failed = task.task_id == FAILS
        task.set_state(TaskInstanceState.FAILED if failed else TaskInstanceState.SUCCESS, session=session)

    def _watch_lookups(self) -> None:
        module, name = use_site("scheduler")
        bag: Any = getattr(module, name)
        look_up = bag._get_dag

        def watched(bag: Any, version_id: Any, session: Any) -> Any:
            since = time.monotonic()
            dag = look_up(bag, version_id=version_id, session=session)
            if dag is not None:
                self._note("lookup", Lookup(since, str(version_id), revision_of(dag.doc_md)))
            return dag

        bag._get_dag = watched

    def _note(self, kind: str, what: object) -> None:
        os.write(self._diary, json.dumps([kind, what]).encode() + b"\n")


class Diary(NamedTuple):
    """The record of a scheduler's process."""

    lookups: list[Lookup]
    longest_loop: float
    """Seconds."""


def looks_up(home: Path, pid: int, times: int = 1) -> bool:
    """Whether a process has looked DAGs up, so many times."""
    path = home / DIARY.format(pid)
    return path.exists() and path.read_bytes().count(b'["lookup"') >= times


def read_diaries(home: Path) -> list[Diary]:
    """The records of the processes of a home."""
    return [_read_diary(path) for path in home.glob(DIARY.format("*"))]


def _read_diary(path: Path) -> Diary:
    entries = [json.loads(line) for line in path.read_text().splitlines(True) if line[-1] == "\n"]  # it may be killed
    lookups = [Lookup(*what) for kind, what in entries if kind == "lookup"]
    loops = [at for kind, at in entries if kind == "loop"] + [lookup.since for lookup in lookups[-1:]]
    gaps = (later - earlier for earlier, later in pairwise(loops))
    return Diary(lookups, max(gaps, default=0.0))
