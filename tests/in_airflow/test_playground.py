"""A small playground, built and swept for real, each in a process of its own."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dagcache.demo.playground import environment
from tests.support.measured import measured

VERSIONS, DAGS, DEADLINE = 5, 2, 120  # seconds


def _run(module: str, *arguments: str, env: dict[str, str] | None = None) -> list[str]:
    command = [sys.executable, "-m", f"dagcache.demo.{module}", *arguments]
    env = {**(os.environ if env is None else env), **measured()}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _build(home: Path) -> list[str]:
    return _run("playground", f"--home={home}", f"--versions={VERSIONS}", f"--dags={DAGS}", "--seed=3", "--no-examples")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once."""
    path = tmp_path_factory.mktemp("playground")
    told = _build(path)
    assert json.loads(told[-2]) == {"step": "versions", "done": VERSIONS, "of": VERSIONS}
    assert told[-1] == "ready"
    return path


@pytest.fixture
def database(home: Path) -> Iterator[sqlite3.Connection]:
    """The home's metadata."""
    with closing(sqlite3.connect(f"file:{home}/airflow.db?mode=ro", uri=True)) as opened:
        yield opened


def _payloads(database: sqlite3.Connection) -> dict[tuple[str, int], tuple[Any, str]]:
    query = """
        SELECT v.dag_id, v.version_number, s.data, s.dag_hash FROM dag_version v
        JOIN serialized_dag s ON s.dag_version_id = v.id WHERE v.dag_id LIKE 'generated%'
    """
    return {(dag_id, number): (json.loads(data), digest) for dag_id, number, data, digest in database.execute(query)}


def test_the_versions_are_spread_over_the_dags(database: sqlite3.Connection) -> None:
    """Numbered as Airflow numbers them."""
    assert sorted(_payloads(database)) == [
        ("generated_0000", 1),
        ("generated_0000", 2),
        ("generated_0000", 3),
        ("generated_0001", 1),
        ("generated_0001", 2),
    ]


def test_every_hash_is_the_one_that_airflow_gives_to_the_payload(database: sqlite3.Connection) -> None:
    """And no two versions have the same."""
    hash_of: Any = import_module("airflow.models.serialized_dag").SerializedDagModel.hash
    found = _payloads(database).values()
    assert all(digest == hash_of(data) for data, digest in found)
    assert len({digest for _, digest in found}) == VERSIONS


def test_a_generated_dag_has_operators_of_several_kinds_groups_and_parameters(database: sqlite3.Connection) -> None:
    """As DAGs have."""
    dags = [data["dag"] for data, _ in _payloads(database).values()]
    assert all(10 < len(dag["tasks"]) <= 301 and dag["params"] for dag in dags)
    kinds = {task["__var"]["task_type"] for dag in dags for task in dag["tasks"]}
    assert kinds == {"BashOperator", "DateTimeSensorAsync", "EmptyOperator", "PythonOperator"}
    assert any(task["__var"].get("_is_mapped") for dag in dags for task in dag["tasks"])
    assert any("." in task["__var"]["task_id"] for dag in dags for task in dag["tasks"])


def test_each_version_is_kept_in_use_by_a_run_that_waits(database: sqlite3.Connection) -> None:
    """In the order of the scheduler's sweep each comes up once."""
    query = """
        SELECT r.state, t.state, r.created_dag_version_id = t.dag_version_id, r.bundle_version, count(*)
        FROM dag_run r JOIN task_instance t USING (dag_id, run_id) GROUP BY 1, 2, 3, 4 ORDER BY 4
    """
    assert database.execute(query).fetchall() == [
        ("running", "deferred", 1, "r1", 2),
        ("running", "deferred", 1, "r2", 2),
        ("running", "deferred", 1, "r3", 1),
    ]


def test_the_dags_are_not_paused(database: sqlite3.Connection) -> None:
    """The scheduler leaves the runs of paused ones alone."""
    assert database.execute("SELECT count(*), max(is_paused), max(is_stale) FROM dag").fetchone() == (DAGS + 1, 0, 0)


def test_the_same_seed_gives_the_same_payloads(home: Path, database: sqlite3.Connection, tmp_path: Path) -> None:
    """But for the home's path, which Airflow writes into them."""
    _build(tmp_path)
    with closing(sqlite3.connect(tmp_path / "airflow.db")) as again:
        other = [json.dumps(data).replace(str(tmp_path), str(home)) for data, _ in _payloads(again).values()]
    assert sorted(other) == sorted(json.dumps(data) for data, _ in _payloads(database).values())


def _swept(home: Path, **settings: str) -> list[dict[str, Any]]:
    env = environment(home, examples=False, metrics_port=0, **settings)
    return [json.loads(line) for line in _run("sweep", "--json", "--sweeps=2", env=env)]


def test_airflows_own_bag_reads_each_payload_once_when_it_has_room(home: Path) -> None:
    """Five versions are fewer than its 512; the pulse's version makes six."""
    first, second = _swept(home, mode="off")
    assert (first["lookups"], first["payload_statements"]) == (VERSIONS + 1, VERSIONS + 1)
    assert (second["payload_statements"], second["misses"]) == (0, None)


def test_with_the_cache_the_sweep_shows_the_tiers(home: Path) -> None:
    """With room for all, the second sweep is live throughout."""
    first, second = _swept(home, max_bytes="64MiB")
    assert (first["misses"], first["payload_statements"]) == (VERSIONS + 1, VERSIONS + 1)
    assert (second["hits_live"], second["misses"], second["payload_statements"]) == (VERSIONS + 1, 0, 0)
