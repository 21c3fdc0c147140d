"""A metadata database on a real PostgreSQL: by each driver, directly and through PgBouncer in transaction mode."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from dagcache import LoadError
from dagcache.advice.report import advise
from dagcache.database.connection import DAG_RUN, DAG_VERSION, MetadataDatabase, seconds
from dagcache.database.loader import SerializedDagLoader
from dagcache.database.warm import cleaning
from dagcache.database.warm.database import WarmDatabase, database_at
from dagcache.database.warm.tables import METADATA, RECORDS
from tests.support import pgbouncer, postgres
from tests.support.databases import payload
from tests.support.warm import errors_of, found_in, key_of
from tests.support.warm_database import execute, filled, live, make_store, new_store, opened, put, rows_in, wait_in_vain
from tests.support.warm_database import stores_are_closed as stores_are_closed

pytestmark = pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())

BEGAN = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
NAME = "airflow"
SCHEMA = (  # the types that Airflow's migrations choose on PostgreSQL
    f"ALTER DATABASE {NAME} SET timezone = 'Asia/Karachi'",
    "CREATE TABLE alembic_version (version_num VARCHAR(32))",
    "CREATE TABLE dag (dag_id VARCHAR(250) PRIMARY KEY, is_paused BOOLEAN, is_stale BOOLEAN)",
    "CREATE TABLE dag_version (id UUID PRIMARY KEY, version_number INTEGER, dag_id VARCHAR(250),"
    " created_at TIMESTAMPTZ)",
    "CREATE TABLE serialized_dag (id UUID PRIMARY KEY, dag_id VARCHAR(250), data JSON, data_compressed BYTEA,"
    " dag_hash VARCHAR(32), dag_version_id UUID UNIQUE)",
    "CREATE TABLE dag_run (id SERIAL PRIMARY KEY, dag_id VARCHAR(250), state VARCHAR(50), start_date TIMESTAMPTZ,"
    " end_date TIMESTAMPTZ, last_scheduling_decision TIMESTAMPTZ, bundle_version VARCHAR(250),"
    " created_dag_version_id UUID)",
    "INSERT INTO alembic_version VALUES ('d2f4e1b3c5a7')",
)


class Servers(NamedTuple):
    """One PostgreSQL and the poolers before it."""

    cluster: postgres.Cluster
    engine: Engine
    """Writes as Airflow does."""
    url: str
    pooler: pgbouncer.PgBouncer | None


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """With Airflow's tables, for all tests."""
    with postgres.Cluster() as cluster:
        url = cluster.create(NAME)
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            for statement in SCHEMA:
                connection.exec_driver_sql(statement)
        engine.dispose()  # a new connection has the time zone
        if pgbouncer.missing():
            yield Servers(cluster, engine, url, None)
        else:
            with pgbouncer.PgBouncer(cluster) as pooler:
                yield Servers(cluster, engine, url, pooler)
        engine.dispose()


@pytest.fixture(params=["psycopg2", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    """A driver's name."""
    name: str = request.param
    pytest.importorskip(name)
    return name


@pytest.fixture(params=["direct", "pgbouncer"])
def url(servers: Servers, driver: str, request: pytest.FixtureRequest) -> str:
    """The URL of the database."""
    if request.param == "direct":
        return postgres.url_of(NAME, servers.cluster.folder, driver)
    if servers.pooler is None:
        pytest.skip(pgbouncer.missing())
    return servers.pooler.url(NAME, driver)


def add_version(servers: Servers, dag_id: str, *, compressed: bool = False) -> UUID:
    """A version with its serialised DAG, and a run of it."""
    version = uuid4()
    text = json.dumps(payload(dag_id))
    stored = {"data": None, "compressed": zlib.compress(text.encode())} if compressed else {"data": text}
    values = {"id": version, "other": uuid4(), "dag_id": dag_id, "began": BEGAN, "compressed": None, **stored}
    with servers.engine.begin() as connection:
        for statement in (
            "INSERT INTO dag VALUES (:dag_id, false, false) ON CONFLICT DO NOTHING",
            "INSERT INTO dag_version VALUES (:id, 1, :dag_id, :began)",
            "INSERT INTO serialized_dag VALUES (:other, :dag_id, CAST(:data AS JSON), :compressed, 'hash', :id)",
            "INSERT INTO dag_run (dag_id, state, start_date, last_scheduling_decision, created_dag_version_id)"
            " VALUES (:dag_id, 'running', :began, :began, :id)",
        ):
            connection.execute(sa.text(statement), values)
    return version


@pytest.mark.parametrize("compressed", [False, True])
def test_a_version_is_loaded_from_json_and_from_compressed_bytes(servers: Servers, url: str, compressed: bool) -> None:
    dag_id = f"etl_{uuid4().hex}"
    version = add_version(servers, dag_id, compressed=compressed)
    with SerializedDagLoader(url) as loader:
        assert loader.load(version) == payload(dag_id)
        assert loader.load(uuid4()) is None
        assert loader.latest(dag_id) == version


def test_threads_that_load_often_share_the_connections_of_a_pooler(servers: Servers, url: str) -> None:
    """A statement that a driver prepares belongs to a connection of the server, which the next transaction lacks."""
    version = add_version(servers, f"often_{uuid4().hex}")
    with SerializedDagLoader(url) as loader, ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(loader.load, [version] * 60))
    assert all(dag == loaded[0] is not None for dag in loaded)


def test_times_are_utc_although_the_server_is_elsewhere(servers: Servers, url: str) -> None:
    add_version(servers, f"etl_{uuid4().hex}")
    database = MetadataDatabase(url)
    created = {seconds(row[0]) for row in database.rows(sa.select(DAG_VERSION.c.created_at))}
    started = {seconds(row[0]) for row in database.rows(sa.select(DAG_RUN.c.start_date))}
    assert created == started == {BEGAN.timestamp()}
    database.close()


def test_a_statement_ends_at_the_time_limit(url: str) -> None:
    database = MetadataDatabase(url, timeout=0.2)
    with pytest.raises(LoadError, match="statement timeout"), database.load_errors():
        database.rows(sa.select(sa.func.pg_sleep(100)))
    database.close()


def test_a_transaction_cannot_write_and_leaves_nothing_behind(servers: Servers, url: str) -> None:
    """The next transaction on the server's connection belongs to another program."""
    database = MetadataDatabase(url)
    with pytest.raises(LoadError, match="read-only"), database.load_errors(), database.connection() as connection:
        connection.exec_driver_sql("DELETE FROM dag")
    engine = sa.create_engine(url)
    for _ in range(3):  # each connection of the pooler
        database.rows(sa.select(DAG_VERSION.c.id))
        with engine.connect() as connection:
            settings = "SELECT current_setting('transaction_read_only'), current_setting('statement_timeout')"
            assert tuple(connection.exec_driver_sql(settings).one()) == ("off", "0")
    engine.dispose()
    database.close()


def test_advise_reads_the_database(servers: Servers, url: str) -> None:
    for number in range(12):
        add_version(servers, f"advised_{number}_{uuid4().hex}", compressed=number % 2 == 1)
    with SerializedDagLoader(url) as loader:
        report = advise(loader, days=7.0, workers=1, budgets=(), loop_seconds=1.0, progress=lambda *_: None)
    assert report.airflow == "Airflow 3.3"
    assert report.versions >= 12


# ---- the warm store ----


def new_database(servers: Servers) -> str:
    """The name of an empty database."""
    name = f"warm_{uuid4().hex[:8]}"
    servers.cluster.create(name)
    return name


@pytest.mark.parametrize("where", ["direct", "pgbouncer"])
def test_a_warm_store_lives_here(servers: Servers, driver: str, where: str) -> None:
    name = new_database(servers)
    if where == "direct":
        url = postgres.url_of(name, servers.cluster.folder, driver)
    elif servers.pooler is None:
        pytest.skip(pgbouncer.missing())
    else:
        url = servers.pooler.url(name, driver)
    live(lambda: database_at(url))


def test_a_lock_on_the_table_of_a_warm_store_delays_no_lookup(servers: Servers, driver: str) -> None:
    """Such as that of a migration that does not end."""
    url = postgres.url_of(new_database(servers), servers.cluster.folder, driver)
    engine = sa.create_engine(url)

    @contextmanager
    def lock() -> Iterator[None]:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"LOCK TABLE {RECORDS.name} IN ACCESS EXCLUSIVE MODE")
            yield

    wait_in_vain(lambda: database_at(url), lock)
    engine.dispose()


def test_a_warm_store_survives_the_end_of_its_connections(servers: Servers, driver: str) -> None:
    """As after a restart of the server."""
    name = new_database(servers)
    url = postgres.url_of(name, servers.cluster.folder, driver)
    store = filled(url, 3)
    with servers.engine.begin() as connection:
        ended = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
        assert len(connection.execute(ended, {"name": name}).all()) > 0
    assert found_in(store, 3) == [0, 1, 2]
    assert errors_of(store.stats()) == {}
    store.close()


def test_a_warm_store_keeps_no_transaction_open(servers: Servers, driver: str) -> None:
    """One would keep the server from cleaning up Airflow's tables."""
    name = new_database(servers)
    store = filled(postgres.url_of(name, servers.cluster.folder, driver), 3)
    found_in(store, 3)
    with servers.engine.begin() as connection:
        state = sa.text("SELECT state FROM pg_stat_activity WHERE datname = :name")
        assert set(connection.execute(state, {"name": name}).scalars()) == {"idle"}
    store.close()


def test_a_user_who_may_not_create_tables_gets_one_line(servers: Servers, caplog: pytest.LogCaptureFixture) -> None:
    name = new_database(servers)
    url = postgres.url_of(name, servers.cluster.folder)
    for statement in ("CREATE ROLE reader LOGIN", "REVOKE ALL ON SCHEMA public FROM PUBLIC"):
        execute(url, statement)
    execute(url, "GRANT USAGE ON SCHEMA public TO reader")
    store = new_store(lambda: database_at(url.replace("postgres@", "reader@")))
    for _ in range(2):
        opened(store)
    assert (errors_of(store.stats()), store.stats().is_passed_over) == ({"open": 1}, True)
    [line] = caplog.records
    assert line.levelno == logging.ERROR
    assert "this user cannot create it (permission denied for schema public)" in line.getMessage()
    store.close()


def test_the_tables_are_in_the_schema_of_airflow(servers: Servers) -> None:
    url = postgres.url_of(new_database(servers), servers.cluster.folder)
    execute(url, "CREATE SCHEMA other")
    engine = sa.create_engine(url)
    live(lambda: WarmDatabase(engine, schema="other"))
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names(schema="other")) == set(METADATA.tables)
    assert inspector.get_table_names() == []
    engine.dispose()


KILLED = """
import sys
from uuid import UUID
import sqlalchemy as sa
from dagcache.database.warm.tables import RECORDS
connection = sa.create_engine(sys.argv[1]).connect()
row = {"generation": sys.argv[2], "version": UUID(sys.argv[3]), "content": b"x" * 16, "lasting": False}
connection.execute(sa.insert(RECORDS), row | {"stored_at": 1, "nbytes": 1, "record": b"x"})
print("written", flush=True)
sys.stdin.read()
"""


def test_a_writer_that_is_killed_in_a_transaction_blocks_no_other(servers: Servers) -> None:
    """Its row is not there, and the version can be stored."""
    url = postgres.url_of(new_database(servers), servers.cluster.folder)
    store = filled(url, 1)
    [row] = rows_in(url)
    command = [sys.executable, "-c", KILLED, url, row.generation, str(key_of(1).version_id)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert len(rows_in(url)) == 1
        process.send_signal(signal.SIGKILL)
    put(store, key_of(1), 1)
    store._write_and_keep_up()
    store.close()
    again = make_store(url)
    assert found_in(again, 2) == [0, 1]
    again.close()


def test_rows_of_versions_that_airflow_has_no_more_are_removed(servers: Servers) -> None:
    url = postgres.url_of(new_database(servers), servers.cluster.folder)
    execute(url, "CREATE TABLE dag_version (id UUID PRIMARY KEY)")
    versions = [uuid4() for _ in range(6)]
    for version in versions[:3]:
        execute(url, "INSERT INTO dag_version VALUES (:id)", {"id": version})
    filled(url, 6, lambda number: key_of(number)._replace(version_id=versions[number])).close()
    database = WarmDatabase(sa.create_engine(url), is_airflows=True)
    assert cleaning.remove_gone(database) == 3
    database.close()
    assert {row.version for row in rows_in(url)} == set(versions[:3])
