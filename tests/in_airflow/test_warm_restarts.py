"""Real processes with a warm store: those that start later thaw the versions that earlier ones have loaded."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest

from dagcache.demo.playground import free_ports
from dagcache.metrics.scrape import Scrape
from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import Airflow, answers, scrapes, variables
from tests.in_airflow.test_api_server import DAG_IDS, GUNICORN, Client, serving
from tests.in_airflow.test_scheduler import INSTANT, Observer, States

KEY = "a key of sixteen characters and more"
IMPATIENT = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "1",
}
"""A scheduler takes the tasks of a killed one over at once."""


def warm(home: Path, url: str, **settings: object) -> dict[str, str]:
    """The environment of processes with a warm store in their home."""
    first = free_ports(1)[0]
    settings = {"metrics_port": f"{first}-{first + 9}", **settings}
    return variables(home, url, warm_start="disk", warm_start_path=home / "warm", warm_start_key=KEY, **settings)


def ends(states: States) -> dict[tuple[str, str, int], set[str | None]]:
    """The ends of each task of a shape, over all of its DAGs; those of the runs have no name of a task."""
    found: dict[tuple[str, str, int], set[str | None]] = defaultdict(set)
    for (dag_id, task_id, index), state in states.tasks.items():
        found[dag_id.partition("_")[0], task_id, index].add(state)
    for dag_id, state in states.runs.items():
        found[dag_id.partition("_")[0], "", -1].add(state)
    return found


def test_a_scheduler_that_replaces_a_killed_one_thaws_what_that_had_loaded(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Under load: a hundred DAGs run. Each task ends as in a scheduler that is not killed."""
    url = make_database("sqlite")
    env = warm(tmp_path, url) | IMPATIENT
    env |= {"AIRFLOW__CORE__EXECUTOR": INSTANT, "AIRFLOW__CORE__PARALLELISM": "200"}
    observer = Observer(url)
    observer.unpause_only("hundred")

    def has_stored(least: int) -> bool:
        return any(scrape.total("dagcache_warm_start_stored_total") >= least for scrape in scrapes(tmp_path).values())

    with Airflow(env, "scheduler", "--skip-serve-logs") as scheduler:
        scheduler.wait_for("most versions are stored", lambda: has_stored(60))
        assert not observer.is_done(100)
        scheduler.kill()
    with Airflow(env, "scheduler", "--skip-serve-logs") as scheduler:
        scheduler.wait_for("a hundred runs end", lambda: observer.is_done(100))
        told = scrapes(tmp_path)[scheduler.pid]
        assert scheduler.stop(), "the scheduler did not end when it was asked to"
    found = ends(observer.states())
    assert {task: state for task, state in found.items() if len(state) != 1} == {}
    assert {shape: state for (shape, task, _), (state,) in found.items() if not task} == {
        "linear": "success",
        "branching": "success",
        "failing": "failed",
        "mapped": "success",
    }
    hits, misses = (told.total(f"dagcache_warm_start_{name}_total") for name in ("hits", "misses"))
    assert hits >= 60 > misses
    assert told.total("dagcache_warm_start_rejected_total") == told.total("dagcache_warm_start_errors_total") == 0


@pytest.mark.parametrize("server_type", [GUNICORN])
def test_api_workers_that_are_replaced_one_by_one_thaw_what_the_others_had_loaded(
    server_type: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """As in a rolling restart. The answers stay the same, byte for byte."""
    env = warm(tmp_path, make_database("sqlite"))
    env |= {"AIRFLOW__API__WORKERS": "2", "AIRFLOW__API__SERVER_TYPE": server_type}
    with Airflow(env, "api-server") as server:
        server.wait_for("the server answers", lambda: answers(env))
        client = Client(env)

        def replies() -> list[bytes]:
            return [client.tasks(dag_id) for dag_id in DAG_IDS]

        def both() -> dict[int, Scrape]:
            """The two workers, once each of them has served all the DAGs."""
            assert replies() == first
            found = {pid: scrape for pid, scrape in scrapes(tmp_path).items() if _is_served(scrape)}
            return found if len(found) == 2 else {}

        def is_replaced(pid: int) -> bool:
            try:
                found = both()
            except ConnectionError:  # the worker that ends had accepted a connection
                return False
            return bool(found) and pid not in found

        first = replies()
        old = server.wait_for("both workers serve", both)
        for pid in old:
            os.kill(pid, signal.SIGTERM)
            server.wait_for("a new worker serves", partial(is_replaced, pid))
        new = both()
    assert not set(new) & set(old)
    for worker in new.values():
        assert worker.total("dagcache_warm_start_misses_total") == 0
        assert worker.total("dagcache_warm_start_hits_total") >= len(DAG_IDS)
    assert first == _of_stock(env)


def _is_served(scrape: Scrape) -> bool:
    return scrape.total("dagcache_entries") >= len(DAG_IDS)


def _of_stock(env: dict[str, str]) -> list[bytes]:
    with serving(env | {"AIRFLOW__DAGCACHE__MODE": "off"}) as client:
        return [client.tasks(dag_id) for dag_id in DAG_IDS]
