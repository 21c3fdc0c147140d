"""A home of Airflow's for this process, set before anything imports Airflow; databases on SQLite, PostgreSQL, MySQL."""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.in_airflow.support import prepare, variables
from tests.support import mysql, postgres

HOME = Path(tempfile.mkdtemp(prefix="airflow"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    variables(HOME, f"sqlite:///{HOME}/airflow.db", metrics_port=0, max_bytes="64MiB", ttl=10_800, memory_limit="auto"),
    AIRFLOW__CORE__EXECUTOR="tests.in_airflow.instant.InstantExecutor",
)

BACKENDS = ("sqlite", "postgresql", "mysql")
_ON_MYSQL = ("test_advise.py", "test_bag.py", "test_in_place_updates.py", "test_loader.py", "test_sessions.py")
"""The files whose tests run on MySQL each time. The others run on it as a part of `make soak`."""
MakeDatabase = Callable[[str], str]


def pytest_configure(config: pytest.Config) -> None:
    """Airflow's own deprecation warnings do not count as errors."""
    config.addinivalue_line("filterwarnings", "default")
    config.addinivalue_line("markers", "served_rows: bags of this test serve the property of row objects")


@pytest.fixture(autouse=True)
def _rows_are_airflows_own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bag of a test serves the property of row objects, unless the test is marked with ``served_rows``.

    The property is the process's: Airflow's own bags, which tests compare with, would get their DAGs from the cache.
    """
    if request.node.get_closest_marker("served_rows") is None:
        from dagcache.airflow import row_property

        monkeypatch.setattr(row_property, "serve", lambda _: False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest chooses by marker."""
    for item in items:
        chosen = getattr(item, "callspec", None)
        if chosen is not None and "mysql" in chosen.params.values() and item.path.name not in _ON_MYSQL:
            item.add_marker(pytest.mark.soak)


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test() -> None:
    """Not asked for here: Airflow has threads of its own, and a clock ticks for as long as Airflow holds its bag."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL server; skips where there is none."""
    if postgres.missing():
        pytest.skip(postgres.missing())
    with postgres.Cluster() as started:
        yield started


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[mysql.Server]:
    """A MySQL server; skips where there is none."""
    if mysql.missing("mysql"):
        pytest.skip(mysql.missing("mysql"))
    for package in ("MySQLdb", "aiomysql"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"MySQL cannot be Airflow's database: {package} is not installed")
    with mysql.Server("mysql") as started:
        yield started


@pytest.fixture(scope="session")
def make_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MakeDatabase:
    """Gives the URL of a new database, ``make_database("sqlite")``, with Airflow's tables and our DAGs in it.

    The tables take seconds to build, so it returns a copy.
    """
    built: set[str] = set()
    folder = tmp_path_factory.mktemp("databases")
    number = iter(range(1000))

    def make(backend: str) -> str:
        name = f"copy_{next(number)}"
        if backend == "sqlite":
            template = folder / "template.db"
            if backend not in built:
                prepare(folder / "home", f"sqlite:///{template}")
            built.add(backend)
            shutil.copy(template, folder / f"{name}.db")
            return f"sqlite:///{folder / name}.db"
        if backend == "mysql":
            other: mysql.Server = request.getfixturevalue("mysql_server")
            if backend not in built:
                other.run("CREATE DATABASE template_of_airflow")
                prepare(folder / "my_home", other.url("template_of_airflow", "mysqldb"))
            built.add(backend)
            other.copy("template_of_airflow", name)
            return other.url(name, "mysqldb")
        server: postgres.Cluster = request.getfixturevalue("cluster")
        if backend not in built:
            prepare(folder / "pg_home", server.create("template_of_airflow"))
        built.add(backend)
        return server.create(name, "template_of_airflow")

    return make


@pytest.fixture(scope="module", params=BACKENDS)
def engine(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Any]:
    """An engine of a module's own database, on each backend in turn."""
    from sqlalchemy import create_engine

    as_airflow = {"isolation_level": "READ COMMITTED"} if request.param == "mysql" else {}
    made = create_engine(make_database(request.param), pool_pre_ping=True, **as_airflow)  # the server may be restarted
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def sqlite_engine(make_database: MakeDatabase) -> Iterator[Any]:
    """An engine of a module's own SQLite database, for a module that does not depend on the backend."""
    from sqlalchemy import create_engine

    made = create_engine(make_database("sqlite"))
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Any) -> Iterator[Any]:
    """A session as Airflow makes them: rows outlive a commit."""
    from sqlalchemy.orm import Session

    with Session(engine, expire_on_commit=False, autoflush=False) as opened:
        yield opened


@pytest.fixture
def airflows_database(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The engine, as that of this process's Airflow, whose own database has no tables."""
    from airflow import settings
    from sqlalchemy.orm import sessionmaker

    monkeypatch.setattr(settings, "engine", engine)
    for name in ("Session", "NonScopedSession"):
        monkeypatch.setattr(settings, name, sessionmaker(engine, expire_on_commit=False))
    return engine


@pytest.fixture
def bag() -> Iterator[Any]:
    """A scheduler's bag; its threads are stopped afterwards."""
    from tests.in_airflow.support import scheduler_bag

    made = scheduler_bag()
    yield made
    made._component.close()


class Recorder(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


@pytest.fixture
def complaints() -> Iterator[list[logging.LogRecord]]:
    """The lines of dagcache from WARNING on; pytest's own handler does not survive Airflow's set-up of logging."""
    handler = Recorder(logging.WARNING)
    logger = logging.getLogger("dagcache")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


class Clock:
    """A stand-in for `time` in the bag, and in the module that times transactions."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moves the window within which a version's content is not asked for again."""
    from dagcache.airflow import bag, snapshots

    clock = Clock()
    monkeypatch.setattr(bag, "time", clock)
    monkeypatch.setattr(snapshots, "time", clock)
    return clock
