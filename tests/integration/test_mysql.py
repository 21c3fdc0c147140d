"""A metadata database on real servers of MySQL and MariaDB, with a time zone that is not UTC, by each driver."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from dagcache import LoadError
from dagcache.advice.report import advise
from dagcache.database.connection import ALEMBIC_VERSION, DAG_RUN, DAG_VERSION, MetadataDatabase, seconds
from dagcache.database.loader import SerializedDagLoader
from dagcache.database.warm import cleaning
from dagcache.database.warm.database import WarmDatabase, database_at
from dagcache.database.warm.tables import RECORDS
from tests.support import mysql
from tests.support.databases import payload
from tests.support.warm import key_of
from tests.support.warm_database import filled, live, rows_in, wait_in_vain
from tests.support.warm_database import stores_are_closed as stores_are_closed

StartServer = Callable[[mysql.Product], mysql.Server]

BEGAN = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
SCHEMA = (  # the types that Airflow's migrations choose on MySQL
    "CREATE TABLE alembic_version (version_num VARCHAR(40))",
    "CREATE TABLE dag (dag_id VARCHAR(250) PRIMARY KEY, is_paused BOOLEAN, is_stale BOOLEAN)",
    "CREATE TABLE dag_version (id CHAR(32) PRIMARY KEY, version_number INTEGER, dag_id VARCHAR(250),"
    " created_at TIMESTAMP(6) NULL)",
    "CREATE TABLE serialized_dag (id CHAR(32) PRIMARY KEY, dag_id VARCHAR(250), data JSON, data_compressed LONGBLOB,"
    " dag_hash VARCHAR(40), dag_version_id CHAR(32) UNIQUE)",
    "CREATE TABLE dag_run (id INTEGER PRIMARY KEY AUTO_INCREMENT, dag_id VARCHAR(250), state VARCHAR(50),"
    " start_date TIMESTAMP(6) NULL, end_date TIMESTAMP(6) NULL, last_scheduling_decision TIMESTAMP(6) NULL,"
    " bundle_version VARCHAR(250), created_dag_version_id CHAR(32))",
    "INSERT INTO alembic_version VALUES ('d2f4e1b3c5a7')",
)


@pytest.fixture(scope="module")
def start_server() -> Iterator[StartServer]:
    """Gives the one server of a product; skips where there is none."""
    started: dict[str, mysql.Server] = {}

    def start(product: mysql.Product) -> mysql.Server:
        if mysql.missing(product):
            pytest.skip(mysql.missing(product))
        if product not in started:
            started[product] = servers.enter_context(mysql.Server(product))
        return started[product]

    with ExitStack() as servers:
        yield start


@pytest.fixture(
    params=[
        ("mysql", "CHAR(32)", "pymysql"),
        ("mysql", "CHAR(32)", "mysqldb"),
        ("mariadb", "CHAR(32)", "mysqldb"),
        ("mariadb", "UUID", "pymysql"),
    ],
    ids=" ".join,
)
def url(start_server: StartServer, request: pytest.FixtureRequest) -> str:
    """An empty metadata database, with the ids that Airflow's migrations make on a product, by a driver."""
    product, type_of_ids, driver = request.param
    if driver == "mysqldb":
        pytest.importorskip("MySQLdb", reason="mysqlclient is not installed")
    server = start_server(product)
    name = f"airflow_{uuid4().hex[:8]}"
    server.run(
        f"CREATE DATABASE {name}", f"USE {name}", *(each.replace(" CHAR(32)", f" {type_of_ids}") for each in SCHEMA)
    )
    return server.url(name, driver)


@pytest.fixture
def writer(url: str) -> Iterator[Engine]:
    """Writes as Airflow does: at UTC."""
    at_utc = {"init_command": "SET time_zone='+00:00'"}
    engine = sa.create_engine(url, connect_args=at_utc)
    yield engine
    engine.dispose()


def add_version(writer: Engine, dag_id: str, *, compressed: bool = False, data: Any = None) -> UUID:
    """A version with its serialised DAG, and a run of it."""
    version = uuid4()
    text = json.dumps(payload(dag_id) if data is None else data)
    with writer.begin() as connection:
        execute = connection.exec_driver_sql
        execute("INSERT INTO dag VALUES (%s, 0, 0)", (dag_id,))
        execute("INSERT INTO dag_version VALUES (%s, 1, %s, %s)", (version.hex, dag_id, BEGAN.replace(tzinfo=None)))
        stored = (None, zlib.compress(text.encode())) if compressed else (text, None)
        row = (uuid4().hex, dag_id, *stored, "hash", version.hex)
        execute("INSERT INTO serialized_dag VALUES (%s, %s, %s, %s, %s, %s)", row)
        run = (dag_id, "running", BEGAN.replace(tzinfo=None), BEGAN.replace(tzinfo=None), version.hex)
        execute(
            "INSERT INTO dag_run (dag_id, state, start_date, last_scheduling_decision, created_dag_version_id)"
            " VALUES (%s, %s, %s, %s, %s)",
            run,
        )
    return version


@pytest.mark.parametrize("compressed", [False, True])
def test_a_version_is_loaded_from_json_and_from_compressed_bytes(url: str, writer: Engine, compressed: bool) -> None:
    version = add_version(writer, "etl", compressed=compressed)
    with SerializedDagLoader(url) as loader:
        assert loader.load(version) == payload("etl")
        assert loader.load(uuid4()) is None
        assert loader.latest("etl") == version


def test_times_are_utc_although_the_server_is_elsewhere(url: str, writer: Engine) -> None:
    add_version(writer, "etl")
    database = MetadataDatabase(url)
    ((created,),) = database.rows(sa.select(DAG_VERSION.c.created_at))
    ((started,),) = database.rows(sa.select(DAG_RUN.c.start_date))
    assert seconds(created) == seconds(started) == BEGAN.timestamp()
    database.close()


def test_the_session_of_a_given_engine_is_as_it_was_before(url: str, writer: Engine) -> None:
    add_version(writer, "etl")
    engine = sa.create_engine(url, pool_size=1, max_overflow=0)
    variables = "SELECT @@session.time_zone, @@session.sql_mode"
    with engine.connect() as connection:
        if getattr(engine.dialect, "is_mariadb", False):
            variables += ", @@session.max_statement_time"
        before = connection.exec_driver_sql(variables).one()
    database = MetadataDatabase(engine)
    assert len(database.rows(sa.select(DAG_VERSION.c.id))) == 1
    with pytest.raises(sa.exc.SQLAlchemyError):
        database.rows(sa.select(sa.column("no_such_column")).select_from(DAG_VERSION))
    with engine.connect() as connection:
        assert connection.exec_driver_sql(variables).one() == before
    engine.dispose()


def test_a_statement_ends_at_the_time_limit(url: str) -> None:
    database = MetadataDatabase(url, timeout=0.2)
    with pytest.raises(LoadError, match=r"max_statement_time|maximum statement execution time"), database.load_errors():
        database.rows(sa.select(sa.func.sleep(100)).select_from(ALEMBIC_VERSION))
    database.close()


def test_the_variables_of_a_session_cost_no_statement_per_query(url: str, writer: Engine) -> None:
    """As the server counts them; the first query on a connection sets the session's variables."""
    version = add_version(writer, "etl")
    database = MetadataDatabase(url)
    loader = SerializedDagLoader(database)
    loader.load(version)
    before = questions(database)
    for _ in range(10):
        loader.load(version)
    assert questions(database) - before == 11 * len(("SET TRANSACTION", "SELECT", "ROLLBACK"))  # itself included
    database.close()


def questions(database: MetadataDatabase) -> int:
    """The statements of this session so far."""
    with database.connection() as connection:
        return int(connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Questions'").one()[1])


def test_a_transaction_cannot_write(url: str) -> None:
    database = MetadataDatabase(url)
    with pytest.raises(sa.exc.SQLAlchemyError, match="READ ONLY"), database.connection() as connection:
        connection.exec_driver_sql("INSERT INTO dag VALUES ('x', 0, 0)")
    database.close()


def test_advise_reads_the_database(url: str, writer: Engine) -> None:
    for number in range(12):
        add_version(writer, f"dag_{number}", compressed=number % 2 == 1)
    with SerializedDagLoader(url) as loader:
        report = advise(loader, days=7.0, workers=1, budgets=(), loop_seconds=1.0, progress=lambda *_: None)
    assert (report.airflow, report.versions, report.dags) == ("Airflow 3.3", 12, 12)
    assert report.as_of - BEGAN.timestamp() < timedelta(hours=1).total_seconds()


# ---- the warm store ----


def test_a_warm_store_lives_here(url: str) -> None:
    live(lambda: database_at(url))


@pytest.mark.parametrize("product", ["mysql", "mariadb"])
def test_a_lock_on_the_table_of_a_warm_store_delays_no_lookup(
    start_server: StartServer, product: mysql.Product
) -> None:
    server, name = start_server(product), f"locked_{uuid4().hex[:8]}"
    server.run(f"CREATE DATABASE {name}")
    url = server.url(name, "pymysql")
    engine = sa.create_engine(url)

    @contextmanager
    def lock() -> Iterator[None]:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"LOCK TABLES {RECORDS.name} WRITE")
            yield
            connection.exec_driver_sql("UNLOCK TABLES")

    wait_in_vain(lambda: database_at(url), lock)
    engine.dispose()


def test_rows_of_versions_that_airflow_has_no_more_are_removed(url: str, writer: Engine) -> None:
    """The ids of the two tables may have different types and collations."""
    versions = [add_version(writer, f"kept_{number}") for number in range(3)]
    ids = [*versions, *(uuid4() for _ in range(3))]
    filled(url, 6, lambda number: key_of(number)._replace(version_id=ids[number])).close()
    engine = sa.create_engine(url)
    database = WarmDatabase(engine, is_airflows=True)
    assert cleaning.remove_gone(database) == 3
    database.close()
    assert {row.version for row in rows_in(url)} == set(versions)
