"""A scheduler other than Airflow, on Airflow's metadata database, with `DagCache` for its sweeps.

``python -m examples.other_scheduler [--db URL]`` looks up every version of every DAG, lap after lap, as schedulers do,
and prints the statistics of the cache. Without ``--db`` it creates a small database.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

from dagcache import DagCache, Loaded
from dagcache.database.loader import SerializedDagLoader, VersionRow
from dagcache.sizing.limits import format_bytes

LAPS = 3
SCHEMA = """
CREATE TABLE dag_version (id CHAR(32) PRIMARY KEY, dag_id TEXT, version_number INTEGER, created_at TIMESTAMP);
CREATE TABLE serialized_dag (dag_version_id CHAR(32), data JSON, data_compressed BLOB, dag_hash VARCHAR(32));
"""


def make_database(path: Path, dags: int = 20, versions: int = 3) -> str:
    """Create a database with a few versions of a few DAGs, in Airflow's tables; return its URL."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        for dag in range(dags):
            for number in range(1, versions + 1):
                version = uuid.uuid4().hex
                tasks = [{"task_id": f"task_{task}", "command": f"run {dag} {task}"} for task in range(10 + dag)]
                content = json.dumps({"dag": {"dag_id": f"dag_{dag}", "tasks": tasks}})
                row = (version, f"dag_{dag}", number, "2026-01-01 00:00:00.000000")
                connection.execute("INSERT INTO dag_version VALUES (?, ?, ?, ?)", row)
                connection.execute("INSERT INTO serialized_dag VALUES (?, ?, NULL, ?)", (version, content, str(number)))
    return f"sqlite:///{path}"


def sweep(loader: SerializedDagLoader, cache: DagCache[UUID, dict[str, Any]], versions: list[VersionRow]) -> None:
    """Look every version up once."""
    sizes = {version.id: version.payload_bytes for version in versions}

    def load(version_id: UUID) -> Loaded[dict[str, Any]] | None:
        content = loader.load(version_id)
        return None if content is None else Loaded(content, serialized_bytes=sizes[version_id])

    for version in versions:
        dag = cache.get_or_load(version.id, load)
        assert dag is not None, f"{version.dag_id} has gone meanwhile"
        assert dag["dag"]["dag_id"] == version.dag_id


def main() -> None:
    """Create or open a database, sweep, and print the statistics."""
    parser = argparse.ArgumentParser(prog="python -m examples.other_scheduler", description=__doc__)
    parser.add_argument("--db", help="a metadata database of Airflow 3, as SQLAlchemy writes it")
    parser.add_argument("--max-bytes", default="256KiB", help="the cache's budget (default: 256KiB)")
    chosen = parser.parse_args()
    cache: DagCache[UUID, dict[str, Any]] = DagCache(max_bytes=chosen.max_bytes, name="example")
    with (
        tempfile.TemporaryDirectory() as folder,
        SerializedDagLoader(chosen.db or make_database(Path(folder) / "airflow.db")) as loader,
    ):
        versions = [version for version in loader.versions() if version.dag_hash is not None]
        for _ in range(LAPS):
            sweep(loader, cache, versions)
    stats = cache.stats()
    print(f"{stats.lookups} lookups: {stats.hits_live} live, {stats.hits_frozen} thawed, {stats.misses} loaded")
    print(f"{format_bytes(stats.total_bytes)} of {format_bytes(stats.max_bytes)}")


if __name__ == "__main__":
    main()
