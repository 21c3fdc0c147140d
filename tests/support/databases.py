"""Made-up metadata databases: Airflow 3's tables as far as they are read, with serialised DAGs of a simple kind."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
SCHEMA = """
CREATE TABLE alembic_version (version_num VARCHAR(32));
CREATE TABLE dag (dag_id VARCHAR(250) PRIMARY KEY, is_paused BOOLEAN, is_stale BOOLEAN);
CREATE TABLE dag_version (id CHAR(32) PRIMARY KEY, version_number INTEGER, dag_id VARCHAR(250), created_at TIMESTAMP);
CREATE TABLE serialized_dag (
    id CHAR(32) PRIMARY KEY, dag_id VARCHAR(250), data JSON, data_compressed BLOB, dag_hash VARCHAR(32),
    dag_version_id CHAR(32) UNIQUE
);
CREATE TABLE dag_run (
    id INTEGER PRIMARY KEY, dag_id VARCHAR(250), state VARCHAR(50), start_date TIMESTAMP, end_date TIMESTAMP,
    last_scheduling_decision TIMESTAMP, bundle_version VARCHAR(250), created_dag_version_id CHAR(32)
);
"""


def payload(dag_id: str, tasks: int = 5, *, text: str = "") -> dict[str, Any]:
    """A serialised DAG: a chain of tasks, the last of them in a group."""
    names = [f"task_{number}" for number in range(tasks)]
    encoded = [
        {
            "__type": "operator",
            "__var": {
                "task_id": name,
                "task_type": "BashOperator",
                "_task_module": "airflow.providers.standard.operators.bash",
                "bash_command": f"echo {text or dag_id} {name}",
                "downstream_task_ids": names[number + 1 : number + 2],
                "template_fields": ["bash_command", "env"],
                "params": [["day", {"__class": "Param", "default": "x", "schema": {"__type": "dict", "__var": {}}}]],
            },
        }
        for number, name in enumerate(names)
    ]
    inner = {"_group_id": "last", "children": {names[-1]: ["operator", names[-1]]}, "downstream_task_ids": []}
    children: dict[str, Any] = {name: ["operator", name] for name in names[:-1]}
    return {
        "__version": 3,
        "dag": {
            "dag_id": dag_id,
            "timetable": {"__type": "airflow.timetables.simple.NullTimetable", "__var": {}},
            "tasks": encoded,
            "task_group": {
                "_group_id": None,
                "children": {**children, "last": ["taskgroup", inner]},
                "upstream_task_ids": [],
            },
        },
    }


def moment(seconds: float) -> str:
    """So long after the epoch of these databases, as Airflow writes it to SQLite."""
    return f"{(EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None):%Y-%m-%d %H:%M:%S.%f}"


class Database:
    """A file of SQLite that tests write to, and the code that is tested opens on its own."""

    def __init__(self, path: Path, revision: str | None = "d2f4e1b3c5a7") -> None:
        self.path = path
        self._versions = 0
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(SCHEMA)
            if revision is not None:
                connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))

    @property
    def url(self) -> str:
        """In SQLAlchemy's notation."""
        return f"sqlite:///{self.path}"

    def execute(self, sql: str, *values: object) -> list[Any]:
        """Any statement, committed."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(sql, values).fetchall()

    def version(
        self,
        dag_id: str,
        number: int = 1,
        *,
        created: float = 0.0,
        data: object = None,
        compressed: bytes | None = None,
        serialized: bool = True,
    ) -> UUID:
        """Write a version: ``data`` as JSON or, if it is text or bytes, as it is; a small DAG by default."""
        self._versions += 1
        version_id = UUID(int=(self._versions << 80) + (7 << 76) + self._versions * 0x9E37_79B9 % 0xFFFF_FFFF)
        self.execute("INSERT OR IGNORE INTO dag VALUES (?, 0, 0)", dag_id)
        self.execute("INSERT INTO dag_version VALUES (?, ?, ?, ?)", version_id.hex, number, dag_id, moment(created))
        if serialized:
            if data is None and compressed is None:
                data = payload(dag_id)
            stored = data if isinstance(data, (str, bytes)) else json.dumps(data)
            row = (version_id.hex, dag_id, stored, compressed, f"{number:032}", version_id.hex)
            self.execute("INSERT INTO serialized_dag VALUES (?, ?, ?, ?, ?, ?)", *row)
        return version_id

    def compressed_version(self, dag_id: str, number: int = 1, *, tasks: int = 5) -> UUID:
        """Write a version as Airflow does with ``[core] compress_serialized_dags``."""
        return self.version(dag_id, number, compressed=zlib.compress(json.dumps(payload(dag_id, tasks)).encode()))

    def run(
        self,
        dag_id: str,
        start: float | None,
        end: float | None = None,
        *,
        state: str | None = None,
        version: UUID | None = None,
        bundle: str | None = None,
    ) -> None:
        """Write a run; one with no end is running, with a version it sticks to it."""
        state = state or ("running" if end is None else "success")
        moments = [None if each is None else moment(each) for each in (start, end, start)]
        bundle = bundle or ("b1" if version else None)
        row = (dag_id, state, *moments, bundle, None if version is None else version.hex)
        self.execute(
            "INSERT INTO dag_run (dag_id, state, start_date, end_date, last_scheduling_decision, bundle_version,"
            " created_dag_version_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *row,
        )


def metadata_file(path: Path, *, versions: int, dags: int, runs: int) -> None:
    """A large database, quickly: versions of a month, runs of the last ten days, 300 of them still running."""
    Database(path)
    month, ten_days = 30 * 86_400.0, 10 * 86_400.0
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous=OFF")
        texts = [json.dumps(payload(f"dag_{index}", 10 + index % 40)) for index in range(min(dags, 50))]
        connection.executemany("INSERT INTO dag VALUES (?, 0, 0)", ((f"dag_{index}",) for index in range(dags)))
        for number in range(versions):
            version_id = UUID(int=(number << 80) + (7 << 76) + number * 0x9E37_79B9 % 0xFFFF_FFFF).hex
            dag_id = f"dag_{number % dags}"
            created = moment(month * number / versions)
            connection.execute(
                "INSERT INTO dag_version VALUES (?, ?, ?, ?)", (version_id, number // dags + 1, dag_id, created)
            )
            row = (version_id, dag_id, texts[number % dags % len(texts)], None, "0" * 32, version_id)
            connection.execute("INSERT INTO serialized_dag VALUES (?, ?, ?, ?, ?, ?)", row)
        for number in range(runs):
            start = month - ten_days + ten_days * number / runs
            running = runs - number <= 300
            ended = None if running else moment(start + 900)
            row_of_run = (f"dag_{number * 7 % dags}", "running" if running else "success", moment(start), ended)
            connection.execute(
                "INSERT INTO dag_run (dag_id, state, start_date, end_date) VALUES (?, ?, ?, ?)", row_of_run
            )
