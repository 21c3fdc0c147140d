"""Real schedulers: with the cache everything ends as it ends without it."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dagcache.metrics.scrape import Scrape
from tests.in_airflow.conftest import BACKENDS, MakeDatabase
from tests.in_airflow.support import Airflow, answers, scrapes, variables
from tests.support.children import listening_ports

INSTANT = "tests.in_airflow.instant.InstantExecutor"
SMALL = "1MiB"  # for a hundred DAGs that weigh several


class States(NamedTuple):
    """How everything ended."""

    runs: dict[str, str]
    """By the DAG's id."""
    tasks: dict[tuple[str, str, int], str | None]
    """By the DAG's id, the task's id and its index if it is mapped."""

    @property
    def done(self) -> bool:
        """Whether there are runs, and none is under way."""
        return bool(self.runs) and set(self.runs.values()) <= {"success", "failed"}


class Observer:
    """Looks into a database from outside."""

    def __init__(self, url: str) -> None:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        self._engine = create_engine(url, poolclass=NullPool)

    def ask(self, statement: str) -> list[Any]:
        """All rows."""
        from sqlalchemy import text

        with self._engine.connect() as connection:
            return list(connection.execute(text(statement)))

    def tasks(self, condition: str = "1 = 1") -> list[Any]:
        """DAG, run, task, index and state of the task instances that meet a condition, each in its latest attempt."""
        from sqlalchemy import inspect

        columns = {column["name"] for column in inspect(self._engine).get_columns("task_instance")}
        index = "region_index" if "region_index" in columns else "map_index"  # since Airflow 3.4
        latest = "working_set" if "working_set" in columns else "1 = 1"  # 3.4 keeps earlier attempts in the same table
        return self.ask(f"""
            SELECT dag_id, run_id, task_id, {index}, state FROM task_instance WHERE {latest} AND ({condition})
        """)

    def unpause_only(self, tag: str) -> None:
        """Leave the DAGs of one tag to be scheduled."""
        tagged = f"SELECT dag_id FROM dag_tag WHERE name = '{tag}'"
        self.change(f"UPDATE dag SET is_paused = (dag_id NOT IN ({tagged}))")

    def change(self, statement: str) -> None:
        """Do it, and commit."""
        from sqlalchemy import text

        with self._engine.begin() as connection:
            connection.execute(text(statement))

    def states(self) -> States:
        """As they are now."""
        runs = self.ask("SELECT dag_id, state FROM dag_run")
        return States(
            dict(map(tuple, runs)), {(dag, task, index): state for dag, _, task, index, state in self.tasks()}
        )

    def is_done(self, dags: int) -> bool:
        """Whether that many DAGs have run."""
        states = self.states()
        return states.done and len(states.runs) == dags


def run_hundred(home: Path, url: str, **settings: object) -> tuple[States, dict[int, Scrape]]:
    """Have a scheduler run the hundred DAGs; their end states, and the last metrics of the endpoint."""
    env = variables(home, url, **settings)
    env |= {"AIRFLOW__CORE__EXECUTOR": INSTANT, "AIRFLOW__CORE__PARALLELISM": "200"}
    observer = Observer(url)
    observer.unpause_only("hundred")
    with Airflow(env, "scheduler", "--skip-serve-logs") as scheduler:
        scheduler.wait_for("a hundred runs end", lambda: observer.is_done(100))
        told = scrapes(home)
        assert scheduler.stop(), "the scheduler did not end when it was asked to"
    return observer.states(), told


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_hundred_dags_end_as_they_do_without_the_cache(
    backend: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Though the cache is far too small for them: it evicts and thaws all the time.

    The tasks do not run: an executor writes their end states at once. Below is a test in which they do.
    """
    ours, told = run_hundred(tmp_path / "ours", make_database(backend), max_bytes=SMALL)
    stock, nothing = run_hundred(tmp_path / "stock", make_database(backend), mode="off")
    assert ours == stock
    assert nothing == {}
    assert len(ours.runs) == 100
    assert set(ours.runs.values()) == {"success", "failed"}
    assert {"success", "failed", "skipped", "upstream_failed"} <= set(ours.tasks.values())
    assert {index for dag, task, index in ours.tasks if task == "mapped"} == {0, 1, 2}
    (scrape,) = told.values()
    assert scrape.total("dagcache_hits_total", tier="frozen") > 100
    assert scrape.total("dagcache_demotions_total") > 100
    resident = scrape.total("dagcache_bytes") - scrape.total("dagcache_bytes", tier="waiting")
    assert resident <= scrape.total("dagcache_max_bytes") == 2**20
    assert scrape.total("dagcache_unbroken_cycles_total") <= 0.02 * scrape.total("dagcache_demotions_total")
    assert scrape.total("dagcache_load_failures_total") == scrape.total("dagcache_thaw_failures_total") == 0


REALLY = States(
    runs={
        "really_linear": "success",
        "really_branching": "success",
        "really_failing": "failed",
        "really_mapped": "success",
    },
    tasks={
        ("really_linear", "one", -1): "success",
        ("really_linear", "add", -1): "success",
        ("really_branching", "chooses", -1): "success",
        ("really_branching", "add", -1): "success",
        ("really_branching", "not_chosen", -1): "skipped",
        ("really_failing", "fails", -1): "failed",
        ("really_failing", "one", -1): "upstream_failed",
        ("really_mapped", "add", 0): "success",
        ("really_mapped", "add", 1): "success",
    },
)


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    children = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # gone meanwhile
            continue
        children[int(path.parent.name)] = parent
    found = {pid}
    while True:
        more = {child for child, parent in children.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def test_tasks_that_really_run_end_as_they_should_and_inherit_no_port(
    backend: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """With Airflow's LocalExecutor, which forks its workers from the scheduler, and with an API server."""
    url = make_database(backend)
    env = variables(tmp_path, url)
    observer = Observer(url)
    observer.unpause_only("handful")
    server_env = env | {"AIRFLOW__DAGCACHE__METRICS_PORT": "0"}
    port = int(env["AIRFLOW__DAGCACHE__METRICS_PORT"])
    # How many times in a row each child had the port: once, if it was looked at while it was being born.
    seen: dict[int, int] = {}

    def all_ended() -> bool:
        for child in descendants(scheduler.pid):
            with suppress(OSError):  # gone meanwhile
                seen[child] = seen.get(child, 0) + 1 if port in listening_ports(child) else 0
        return observer.is_done(len(REALLY.runs))

    with ExitStack() as running:
        server = running.enter_context(Airflow(server_env, "api-server"))
        server.wait_for("the API server answers", lambda: answers(env))
        scheduler = running.enter_context(Airflow(env, "scheduler", "--skip-serve-logs"))
        scheduler.wait_for("the runs end", all_ended)
        assert port in listening_ports(scheduler.pid)
        assert scheduler.stop(), "the scheduler did not end when it was asked to"
        socket.create_server(("127.0.0.1", port)).close()
    assert observer.states() == REALLY
    assert len(seen) >= 2, "no workers were seen"
    assert max(seen.values()) <= 1
    assert os.listdir(tmp_path / "dagcache" / "targets") == []
