"""A throw-away Airflow: a migrated home, Airflow's example DAGs, and generated versions with runs that wait.

    python -m dagcache.demo.playground --home DIR [--url URL] [--versions N] [--dags N] [--seed S]

A tool for demonstrations, tests and measurements; the hook does not import it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

DAG_FILE = "playground_dags.py"
WAITING = "backfill__waiting_"
"""The prefix of the ids of runs that only keep a version in use."""

# On a busy machine a task's first heartbeat may be late. The scheduler uses the value that is serialised now.
_RETRIES = {"AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "3", "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "5"}

_PULSE = '''"""A DAG that really runs, every twenty seconds."""

from datetime import datetime, timedelta, timezone

from airflow.sdk import dag, task


@dag(
    schedule=timedelta(seconds=20),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["playground"],
)
def playground_pulse():
    @task
    def measure() -> int:
        return 42

    @task
    def report(value: int) -> None:
        print(value)

    report(measure())


playground_pulse()
'''


def environment(
    home: Path, url: str | None = None, *, examples: bool = True, **dagcache_settings: object
) -> dict[str, str]:
    """The environment in which Airflow's processes use ``home``; one call serves all processes of one run.

    The caller's own Airflow has no effect: no ``AIRFLOW*`` variable is inherited. Ports are free at the time of the
    call, and all servers listen on 127.0.0.1. Every user of the machine is an administrator: for demonstrations only.

    Args:
        home: the AIRFLOW_HOME.
        url: the metadata database, as a URL of SQLAlchemy; by default SQLite in ``home``.
        examples: whether to include Airflow's example DAGs.
        dagcache_settings: options of the section ``[dagcache]``: ``max_bytes="64MiB"``.

    """
    api, worker_logs, trigger_logs = free_ports(3)
    settings: dict[str, object] = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url or f"sqlite:///{home}/airflow.db?timeout=30",
        "AIRFLOW__CORE__DAGS_FOLDER": home / "dags",
        "AIRFLOW__CORE__LOAD_EXAMPLES": examples,
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": 2,
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": 30,
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": api,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{api}",
        "AIRFLOW__API__WORKERS": 1,
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": worker_logs,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_logs,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": False,
        "PYTHONUNBUFFERED": 1,
        **{f"AIRFLOW__DAGCACHE__{name.upper()}": value for name, value in dagcache_settings.items()},
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return inherited | {name: str(value) for name, value in settings.items()}


def free_ports(count: int) -> list[int]:
    """Different ports that are free on 127.0.0.1 now. All are held until the last is found, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def build(
    *, versions: int, dags: int, seed: int, trigger: Sequence[str] = (), progress: Callable[[str, int, int], None]
) -> None:
    """Fill the home in the environment of this process.

    Args:
        versions: the number of versions to generate, each used by a waiting run.
        dags: the number of DAGs.
        seed: the same seed generates the same DAGs.
        trigger: example DAGs to unpause and to queue one run of.
        progress: called as ``progress(step, done, of)`` after each step.

    Raises:
        ValueError: fewer versions than DAGs, or less than one DAG.

    """
    if not 1 <= dags <= max(versions, 1):
        raise ValueError(f"dags: {dags} is not between 1 and the number of versions, {versions}")
    from airflow.configuration import conf

    dag_file = Path(conf.get("core", "dags_folder")) / DAG_FILE
    dag_file.parent.mkdir(parents=True, exist_ok=True)
    dag_file.write_text(_PULSE)
    progress("schema", 0, 1)
    migrate()
    progress("examples", 0, 1)
    _airflow("dags", "reserialize")
    for dag_id in trigger:
        _airflow("dags", "unpause", dag_id)
        _airflow("dags", "trigger", dag_id)
    from dagcache.demo.waiting_runs import write_versions

    written = write_versions(versions=versions, dags=dags, seed=seed, dag_file=str(dag_file), run_prefix=WAITING)
    for done in written:
        progress("versions", done, versions)


def migrate() -> None:
    """Build the tables in the database of this process's Airflow."""
    _airflow("db", "migrate")
    _let_readers_and_a_writer_work_together()


def _let_readers_and_a_writer_work_together() -> None:
    """Set WAL mode in an SQLite file; without it each scheduling loop locks the API server out."""
    from airflow import settings
    from sqlalchemy import text

    engine: Any = settings.engine
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.execute(text("PRAGMA journal_mode=WAL"))


def _airflow(*arguments: str) -> None:
    """Run a command of Airflow in this process; a new process would cost seconds."""
    from airflow.cli.cli_parser import get_parser

    parsed = get_parser().parse_args(arguments)
    parsed.func(parsed)


def main(argv: Sequence[str] | None = None) -> int:
    """Build a home. Lines of JSON on stdout report the progress; the last line is ``ready``."""
    parser = argparse.ArgumentParser(prog="python -m dagcache.demo.playground", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the folder to become AIRFLOW_HOME")
    parser.add_argument("--url", help="SQLAlchemy URL of an empty database (default: SQLite in the home)")
    parser.add_argument("--versions", type=int, default=700, help="how many DAG versions to generate (default: 700)")
    parser.add_argument("--dags", type=int, help="how many DAGs they belong to (default: a seventh of the versions)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same versions (default: 1)")
    parser.add_argument("--no-examples", action="store_true", help="leave out Airflow's example DAGs")
    parser.add_argument("--trigger", action="append", default=[], metavar="DAG_ID", help="example DAG to run once")
    chosen = parser.parse_args(argv)
    home = chosen.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(environment(home, chosen.url, examples=not chosen.no_examples, mode="off") | _RETRIES)
    stdout = sys.stdout
    sys.stdout = sys.stderr  # Airflow's commands print; stdout is for the progress

    def progress(step: str, done: int, of: int) -> None:
        print(json.dumps({"step": step, "done": done, "of": of}), file=stdout, flush=True)

    dags = chosen.dags or max(1, chosen.versions // 7)
    build(versions=chosen.versions, dags=dags, seed=chosen.seed, trigger=chosen.trigger, progress=progress)
    print("ready", file=stdout, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
