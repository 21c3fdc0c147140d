"""The number of DAG runs in each state, from the SQLite file of a playground."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dagcache.demo.playground import WAITING

_QUERY = "SELECT state, substr(run_id, 1, length(:waiting)) = :waiting, count(*) FROM dag_run GROUP BY 1, 2"


@dataclass(frozen=True, slots=True)
class RunCounts:
    """DAG runs by state, the generated ones, which only wait, apart."""

    succeeded: int = 0
    failed: int = 0
    running: int = 0
    queued: int = 0
    waiting: int = 0


def read_run_counts(database: Path) -> RunCounts:
    """Read them without ever blocking a writer.

    Raises:
        sqlite3.OperationalError: the file is missing, or locked for more than half a second.

    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0.5)) as connection:
        found = connection.execute(_QUERY, {"waiting": WAITING})
        counts = {(state, bool(waits)): count for state, waits, count in found}
    return RunCounts(
        succeeded=counts.get(("success", False), 0),
        failed=counts.get(("failed", False), 0),
        running=counts.get(("running", False), 0),
        queued=counts.get(("queued", False), 0),
        waiting=counts.get(("running", True), 0),
    )
