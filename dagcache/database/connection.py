"""A read-only connection to Airflow's metadata database: no write, no commit, bounded waits, no password shown.

Every statement runs in a separate transaction that is rolled back, and that is read-only where the database supports
it. Airflow writes to the same tables all the time, and a long snapshot of a reader would disturb it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from dagcache.database.address import Address, parsed_url
from dagcache.errors import LoadError

Statement: TypeAlias = Any
"""A statement of `sqlalchemy.select`, of any number of columns: SQLAlchemy 2.0 and 2.1 write its type differently."""

_CONNECT_SECONDS = 10
_VARIABLES_ARE_SET = "dagcache: the variables of the session are set"
_STEPS_BETWEEN_LOOKS = 100_000  # steps of SQLite's virtual machine: some milliseconds

_metadata = sa.MetaData()
_Moment = sa.DateTime(timezone=True)
# MariaDB's own type takes hexadecimal digits as well; a CHAR(32), which Airflow makes on MySQL, takes nothing else.
VERSION_ID = sa.Uuid().with_variant(sa.Uuid(native_uuid=False), "mysql", "mariadb")

DAG_VERSION = sa.Table(
    "dag_version",
    _metadata,
    sa.Column("id", VERSION_ID, primary_key=True),
    sa.Column("dag_id", sa.String(250)),
    sa.Column("version_number", sa.Integer),
    sa.Column("created_at", _Moment),
)
SERIALIZED_DAG = sa.Table(
    "serialized_dag",
    _metadata,
    sa.Column("dag_version_id", VERSION_ID),
    sa.Column("data", sa.Text),  # JSON or JSONB, read as text: a driver's parser has no limits
    sa.Column("data_compressed", sa.LargeBinary),
    sa.Column("dag_hash", sa.String(32)),
)
DAG_RUN = sa.Table(
    "dag_run",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dag_id", sa.String(250)),
    sa.Column("state", sa.String(50)),
    sa.Column("start_date", _Moment),
    sa.Column("end_date", _Moment),
    sa.Column("last_scheduling_decision", _Moment),
    sa.Column("bundle_version", sa.String(250)),
    sa.Column("created_dag_version_id", VERSION_ID),
)
DAG = sa.Table(
    "dag",
    _metadata,
    sa.Column("dag_id", sa.String(250), primary_key=True),
    sa.Column("is_paused", sa.Boolean),
    sa.Column("is_stale", sa.Boolean),
)
ALEMBIC_VERSION = sa.Table("alembic_version", _metadata, sa.Column("version_num", sa.String(32)))

_AIRFLOWS = {
    "29ce7909c52b": "3.0",
    "fe199e1abd77": "3.0",
    "cc92b33c6709": "3.1",
    "509b94a1042d": "3.1",
    "1d6611b6ab7c": "3.2",
    "d2f4e1b3c5a7": "3.3",
    "9cffe90fa0c0": "3.4",
}


class MetadataDatabase:
    """A database of Airflow 3.1 - 3.4. Thread-safe.

    Args:
        url_or_engine: a URL of SQLAlchemy, ``"postgresql+psycopg2://user:password@host/airflow"``; or an engine, which
            is used as it is and not disposed of. An SQLite file is opened with ``mode=ro``.
        timeout: seconds for one statement, and for the wait for a lock or a free connection.

    Raises:
        LoadError: the URL is invalid or ambiguous, its driver is not installed, or the file does not exist.

    """

    def __init__(self, url_or_engine: str | URL | Engine, *, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._owned = not isinstance(url_or_engine, Engine)
        if isinstance(url_or_engine, Engine):
            self._engine = url_or_engine
            url = url_or_engine.url
        else:
            url = parsed_url(url_or_engine)
            self._engine = _engine(url, timeout)
        self._address = Address(url)

    @property
    def name(self) -> str:
        """The URL as `Address.name` shows it: without its password."""
        return self._address.name

    @property
    def dialect(self) -> str:
        """``sqlite``, ``postgresql`` or ``mysql``."""
        return self._engine.dialect.name

    def __repr__(self) -> str:
        return f"<MetadataDatabase {self.name}>"

    def close(self) -> None:
        """Close all connections, unless they belong to an engine of the caller."""
        if self._owned:
            self._engine.dispose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in a read-only transaction that is rolled back.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: unchanged; its text may show a password.

        """
        with self._engine.connect() as connection:
            session = self._own_session(connection) if self._owned else _borrowed_session(connection, self._timeout)
            for statement in _preamble(self.dialect, self._timeout):
                connection.exec_driver_sql(statement)
            with session:
                yield connection
            # Closing rolls back. A roll-back here would be followed by a second one, of the pool.

    def _own_session(self, connection: Connection) -> AbstractContextManager[None]:
        """Set the variables of a session once: a connection of an engine of our own serves no other program."""
        variables = _session_variables(connection, self._timeout)
        if variables and not connection.info.get(_VARIABLES_ARE_SET):
            _set_variables(connection, variables)
            connection.info[_VARIABLES_ARE_SET] = True  # SQLAlchemy forgets it together with the connection
        return nullcontext()

    def rows(self, statement: Statement) -> list[Any]:
        """All rows of a statement.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: unchanged; its text may show a password.

        """
        if self.dialect in ("mysql", "mariadb"):
            statement = statement.prefix_with(f"/*+ MAX_EXECUTION_TIME({self._timeout * 1000:.0f}) */")
        with self.connection() as connection:
            return list(connection.execute(statement).all())

    @contextmanager
    def load_errors(self) -> Iterator[None]:
        """A block in which each error of the database becomes a `LoadError` without secrets.

        Raises:
            LoadError: with the first line of the driver's message.

        """
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, ValueError, TypeError) as error:
            # "from None": the original error and its causes may show secrets.
            raise LoadError(f"{self.name}: {self._address.reason(error)}") from None

    def check(self) -> str:
        """Check that this is a database of Airflow 3, and return its version: ``"Airflow 3.3"``.

        Raises:
            LoadError: the database cannot be reached, or tables or columns are missing; the message names them.

        """
        with self.load_errors():
            inspector = sa.inspect(self._engine)
            found = set(inspector.get_table_names())
            missing = self._missing(inspector, found)
        if missing:
            old = "serialized_dag" in found and "dag_version" not in found
            raise LoadError(
                f"{self.name}: expected the metadata database of Airflow 3.1 - 3.4, with {', '.join(missing)};"
                f" found {'an Airflow 2 database' if old else _some(found)}"
            )
        if ALEMBIC_VERSION.name not in found:
            return "Airflow 3, of an unknown revision"
        with self.load_errors():
            heads = [str(row[0]) for row in self.rows(sa.select(ALEMBIC_VERSION.c.version_num))]
        known = [_AIRFLOWS[head] for head in heads if head in _AIRFLOWS]
        return f"Airflow {known[0]}" if known else f"Airflow 3, revision {', '.join(heads) or 'unknown'}"

    def _missing(self, inspector: Any, found: set[str]) -> list[str]:
        missing = []
        for table in (DAG_VERSION, SERIALIZED_DAG, DAG_RUN, DAG):
            if table.name not in found:
                missing.append(f"the table {table.name}")
                continue
            there = {column["name"] for column in inspector.get_columns(table.name)}
            missing += [f"the column {table.name}.{name}" for name in table.c.keys() if name not in there]  # noqa: SIM118
        return missing


def seconds(moment: datetime | None) -> float | None:
    """A time in the database as seconds since 1970. Without a time zone it is UTC, as Airflow writes it."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _engine(url: URL, timeout: float) -> Engine:
    if url.get_backend_name() == "sqlite":
        return sa.create_engine("sqlite://", creator=_sqlite(url, timeout), poolclass=NullPool, hide_parameters=True)
    arguments: dict[str, Any] = {}
    if url.get_driver_name() in ("psycopg2", "psycopg"):
        arguments = {"connect_timeout": _CONNECT_SECONDS, "keepalives_idle": 10, "keepalives_interval": 5}
        arguments = {name: value for name, value in arguments.items() if name not in url.query}
    elif url.get_backend_name() in ("mysql", "mariadb"):
        arguments = {"connect_timeout": _CONNECT_SECONDS}
    return sa.create_engine(url, connect_args=arguments, pool_pre_ping=True, pool_timeout=timeout, hide_parameters=True)


def _sqlite(url: URL, timeout: float) -> Callable[[], sqlite3.Connection]:
    name = unquote((url.database or "").removeprefix("file:"))
    path = Path(name)
    if not name or not path.is_file():
        raise LoadError(f"expected an SQLite file; {f'there is no file {name}' if name else 'none is named'}")
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, check_same_thread=False)
        deadline = time.monotonic() + timeout
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        return connection

    return connect


def _preamble(dialect: str, timeout: float) -> tuple[str, ...]:
    """The statements that make a transaction harmless. They end with it: a pooler may give the connection to others."""
    if dialect == "postgresql":
        return "SET TRANSACTION READ ONLY", f"SET LOCAL statement_timeout = {timeout * 1000:.0f}"
    if dialect in ("mysql", "mariadb"):
        return ("SET TRANSACTION READ ONLY",)
    return ()


def _session_variables(connection: Connection, timeout: float) -> dict[str, Any]:
    """The variables that a session of MySQL or MariaDB needs; empty for other databases.

    MySQL converts a TIMESTAMP into the time zone of the session; Airflow writes UTC. MariaDB does not know MySQL's hint
    for the time of a statement.
    """
    if connection.dialect.name not in ("mysql", "mariadb"):
        return {}
    variables: dict[str, Any] = {"time_zone": "+00:00"}
    if getattr(connection.dialect, "is_mariadb", False):
        variables["max_statement_time"] = timeout
    return variables


def _set_variables(connection: Connection, variables: Mapping[str, Any]) -> None:
    assigned = ", ".join(f"{name} = %s" for name in variables)
    connection.exec_driver_sql(f"SET {assigned}", tuple(variables.values()))


@contextmanager
def _borrowed_session(connection: Connection, timeout: float) -> Iterator[None]:
    """Set the variables of a session, and restore them: a rollback does not, and the pool is the caller's."""
    variables = _session_variables(connection, timeout)
    if not variables:
        yield
        return
    selected = ", ".join(f"@@session.{name}" for name in variables)
    before = connection.exec_driver_sql(f"SELECT {selected}").one()
    _set_variables(connection, variables)
    try:
        yield
    finally:
        _set_variables(connection, dict(zip(variables, before, strict=True)))


def _some(names: set[str]) -> str:
    few = sorted(names)[:5]
    return f"{', '.join(few)}{', ...' if len(names) > len(few) else ''}" if few else "no tables"
