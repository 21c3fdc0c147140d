"""A warm store in the metadata database of a real Airflow: a restart thaws, and Airflow's commands work as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dagcache.airflow import warm
from dagcache.airflow.settings import read_settings
from dagcache.airflow.warm_database import warm_database
from dagcache.database.warm import cleaning
from dagcache.database.warm.database import WarmDatabase
from dagcache.warm_start.opening import OffError
from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import run_python, variables
from tests.support.warm_database import rows_in

KEY = "a key of sixteen characters or more"
SWEEP = "from dagcache.demo.sweep import main; main(['--sweeps', '1', '--json'])"
COMMANDS = """
from airflow.cli.cli_parser import get_parser
for words in (
    ["db", "check-migrations"],
    ["db", "clean", "--clean-before-timestamp", "2020-01-01", "--yes"],
    ["db", "reset", "--yes"],
    ["db", "check-migrations"],
):
    parsed = get_parser().parse_args(words)
    parsed.func(parsed)
"""


def sweep(env: dict[str, str]) -> dict[str, Any]:
    """The first lookups of a new process, one of each version."""
    [line] = [each for each in run_python(SWEEP, env).splitlines() if each.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_a_restarted_process_thaws_and_airflows_commands_work(
    make_database: MakeDatabase, tmp_path: Path, backend: str
) -> None:
    """A database that was reset has none of the stored versions: their rows are removed."""
    url = make_database(backend)
    env = variables(tmp_path, url, metrics_port=0, warm_start="database", warm_start_key=KEY)
    first = sweep(env)
    assert first["payload_statements"] == first["lookups"] > 0
    stored = len(rows_in(url))
    assert 0 < stored <= first["lookups"] + 1  # not those with a plugin's classes; and a dictionary
    second = sweep(env)
    assert second["payload_statements"] <= first["lookups"] + 1 - stored
    assert len(rows_in(url)) == stored
    run_python(COMMANDS, env)
    assert len(rows_in(url)) == stored
    database = WarmDatabase(sa.create_engine(url), is_airflows=True)
    assert cleaning.remove_gone(database) >= stored - 1
    database.close()


@pytest.fixture
def engine(make_database: MakeDatabase) -> Any:
    """Of an Airflow on PostgreSQL."""
    made = sa.create_engine(make_database("postgresql"))
    yield made
    made.dispose()


def test_the_metadata_database_is_reached_as_airflow_reaches_it(
    airflows_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the arguments of its driver, in its schema, and by an engine that is not Airflow's."""
    from airflow import settings

    made: list[dict[str, Any]] = []

    def make(url: str, *, engine_args: dict[str, Any], connect_args: dict[str, Any]) -> Any:
        made.append({"url": url, "engine": engine_args, "connect": connect_args})
        return sa.create_engine(url, connect_args=connect_args, **engine_args)

    monkeypatch.setattr(settings, "create_metadata_engine", make, raising=False)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS", f"{__name__}.CONNECT_ARGS")
    database = warm_database()
    assert database.is_airflows
    [call] = made
    assert sa.make_url(call["url"]) == airflows_database.url
    assert call["connect"]["application_name"] == "airflow"
    assert call["connect"]["connect_timeout"] == 2
    database.prepare()
    assert database.has_tables()
    database.close()
    monkeypatch.delattr(settings, "create_metadata_engine")  # as in older versions
    without = warm_database()
    assert without.has_tables()
    without.close()


CONNECT_ARGS = {"application_name": "airflow"}


def test_the_doctor_reads_the_store_in_the_metadata_database(
    airflows_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DAGCACHE__WARM_START_KEY", KEY)
    settings = read_settings({"warm_start": "database"}.get, "scheduler")
    found = warm.diagnose(settings)
    assert (found["kind"], found["missing"], found["has_separate_key"]) == ("database", True, True)
    database = warm_database()
    database.prepare()
    database.close()
    assert warm.diagnose(settings)["generations"] == []
    monkeypatch.delenv("AIRFLOW__DAGCACHE__WARM_START_KEY")
    assert "needs [dagcache] warm_start_key" in warm.diagnose(settings)["error"]


def test_sqlite_is_refused_and_a_process_without_a_database_has_no_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Airflow opens SQLite with a write-ahead log: a reader that then writes fails at once if another has written."""
    from airflow import settings

    monkeypatch.setattr(settings, "engine", sa.create_engine(f"sqlite:///{tmp_path}/airflow.db"))
    with pytest.raises(OffError, match="is refused on SQLite, where another writer can fail the scheduler's"):
        warm_database()
    monkeypatch.setattr(settings, "engine", None)
    with pytest.raises(OffError, match="no metadata database"):
        warm_database()


def test_another_writer_fails_a_statement_of_a_reader_on_sqlite(tmp_path: Path) -> None:
    """The reason for the refusal: no time limit of the other writer, and no patience of the reader, avoids it."""
    url = f"sqlite:///{tmp_path}/airflow.db"
    scheduler = sa.create_engine(url, connect_args={"timeout": 60})
    other = sa.create_engine(url, connect_args={"timeout": 0})
    with scheduler.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # as Airflow sets it
        connection.exec_driver_sql("CREATE TABLE task (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO task VALUES (1), (2)")
        connection.commit()
        rows = connection.execution_options(stream_results=True, max_row_buffer=1)
        reading = rows.exec_driver_sql("SELECT id FROM task")
        reading.fetchone()
        with other.begin() as writer:
            writer.exec_driver_sql("CREATE TABLE warm (id INTEGER)")
        with pytest.raises(sa.exc.OperationalError, match="database is locked"):
            connection.exec_driver_sql("INSERT INTO task VALUES (3)")
    scheduler.dispose()
    other.dispose()
