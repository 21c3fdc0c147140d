"""The database of a warm store: an engine of its own, short transactions, bounded waits, no password shown.

The engine shares no connection and no session with Airflow. A transaction has at most a few hundred small rows, and
none stays open between two calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dagcache.database.address import Address, parsed_url
from dagcache.database.warm.tables import METADATA
from dagcache.errors import LoadError
from dagcache.warm_start.circuit_breaker import SLOWEST_SECONDS
from dagcache.warm_start.opening import OffError

READ_SECONDS: Final = 1.0
"""The limit of a statement whose result a lookup wants. It does not wait as long; the database ends its work."""
WRITE_SECONDS: Final = 5.0
"""The limit of a statement in the background."""

MOST_CONNECTIONS: Final = 3
"""The connections of a process that are open at the same time. One stays open."""

_CONNECT_SECONDS: Final = 2  # the least that libpq accepts
_SOCKET_SECONDS: Final = 10
_LOCK_SECONDS: Final = 1  # the least that MySQL accepts
_RECYCLE_SECONDS: Final = 1800
_BEING_CHANGED: Final = 1684
"""MySQL's code of an error: the table is being modified by a concurrent statement."""
_PAUSE_SECONDS: Final = 0.05
_ARE_SET: Final = "dagcache: the variables of the session are set"


class WarmDatabase:
    """Transactions on an engine that belongs to the store. Thread-safe.

    Args:
        engine: made with `engine_arguments`.
        schema: the schema of the tables; empty for the default one.
        is_airflows: whether it is the metadata database, so that gone versions can be recognised.

    """

    def __init__(self, engine: Engine, *, schema: str = "", is_airflows: bool = False) -> None:
        self._address = Address(engine.url)
        self._schema = schema
        self._engine = engine.execution_options(schema_translate_map={None: schema}) if schema else engine
        self.is_airflows = is_airflows

    @property
    def name(self) -> str:
        """The URL without its password and query."""
        return self._address.name

    def reason(self, error: Exception) -> str:
        """The first line of an error's message, without secrets."""
        return self._address.reason(error)

    @contextmanager
    def transaction(self, seconds: float) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end. A statement ends after so many seconds.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: unchanged; its text may show a password.

        """
        with self._engine.begin() as connection:
            dialect = connection.dialect.name
            if dialect == "postgresql":
                # Ends with the transaction: a pooler may give the connection to others.
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {seconds * 1000:.0f}")
            elif dialect in ("mysql", "mariadb") and not connection.info.get(_ARE_SET):
                is_mariadb = bool(getattr(connection.dialect, "is_mariadb", False))
                connection.exec_driver_sql(_limits_of_mysql(is_mariadb=is_mariadb))
                connection.info[_ARE_SET] = True  # SQLAlchemy forgets it together with the connection
            yield connection

    @contextmanager
    def load_errors(self) -> Iterator[None]:
        """A block in which each error of the database becomes a `LoadError` without secrets.

        Raises:
            LoadError: with the first line of the driver's message.

        """
        try:
            yield
        except SQLAlchemyError as error:
            raise LoadError(f"{self.name}: {self.reason(error)}") from None

    def has_tables(self) -> bool:
        """Whether the tables exist."""
        return all(map(self._has, METADATA.sorted_tables))

    def prepare(self) -> None:
        """Create the tables, if they do not exist.

        Raises:
            OffError: the database refuses to create them.
            sqlalchemy.exc.SQLAlchemyError: unchanged; the next try may succeed.

        """
        for table in METADATA.sorted_tables:  # one by one: MySQL does not create two in one step
            if not self._has(table):
                self._create(table)

    def _has(self, table: sa.Table) -> bool:
        """Whether a table exists. Waits for another process that creates it at this moment."""
        until = time.monotonic() + WRITE_SECONDS
        while True:
            try:
                with self.transaction(WRITE_SECONDS) as connection:
                    return sa.inspect(connection).has_table(table.name, schema=self._schema or None)
            except DBAPIError as error:
                if _code(error) != _BEING_CHANGED or time.monotonic() > until:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _create(self, table: sa.Table) -> None:
        began = time.monotonic()
        try:
            with self.transaction(WRITE_SECONDS) as connection:
                table.create(connection)
        except SQLAlchemyError as error:
            took = time.monotonic() - began
            if self._has(table):  # another process was faster
                return
            if took > SLOWEST_SECONDS / 2:  # a lock, or a busy server; a refusal comes at once
                raise
            raise OffError(
                f"{self.name} has no table {table.name}, and this user cannot create it ({self.reason(error)}):"
                " grant the right to create tables, or set [dagcache] warm_start_url to another database"
            ) from None

    def close(self) -> None:
        """Close all connections that are not in use."""
        self._engine.dispose()


def engine_arguments(url: URL, connect_args: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of `sqlalchemy.create_engine` for a warm store, and those of the driver's ``connect``.

    ``connect_args``: of the caller; they precede. At most three connections are open at the same time, and one stays.
    """
    backend, driver = url.get_backend_name(), url.get_driver_name()
    arguments: dict[str, Any] = {"hide_parameters": True, "pool_pre_ping": True, "pool_recycle": _RECYCLE_SECONDS}
    connecting: dict[str, Any] = {}
    if backend == "sqlite":
        connecting = {"timeout": SLOWEST_SECONDS, "check_same_thread": False}
    else:
        arguments |= {"pool_size": 1, "max_overflow": MOST_CONNECTIONS - 1, "pool_timeout": SLOWEST_SECONDS}
    if driver in ("psycopg2", "psycopg"):
        connecting = {"connect_timeout": _CONNECT_SECONDS, "keepalives_idle": 10, "keepalives_interval": 5}
        if driver == "psycopg":  # behind a pooler, a prepared statement belongs to another connection
            connecting["prepare_threshold"] = None
    elif driver in ("mysqldb", "pymysql"):
        connecting = {"connect_timeout": _CONNECT_SECONDS}
        connecting |= {"read_timeout": _SOCKET_SECONDS, "write_timeout": _SOCKET_SECONDS}
    if backend in ("mysql", "mariadb"):
        arguments["isolation_level"] = "READ COMMITTED"  # no locks on gaps between rows
    connecting = {name: value for name, value in connecting.items() if name not in url.query}
    return arguments, connecting | dict(connect_args or {})


def database_at(url: str | URL) -> WarmDatabase:
    """A database by its URL, not connected yet.

    Raises:
        LoadError: the URL is invalid or ambiguous, its driver is not installed, or an SQLite file does not exist.

    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise LoadError(f"expected an SQLite file; there is no file {parsed.database}")  # SQLite would create it
    arguments, connecting = engine_arguments(parsed)
    return WarmDatabase(sa.create_engine(parsed, connect_args=connecting, **arguments))


def _limits_of_mysql(*, is_mariadb: bool) -> str:
    of_statements = f"max_statement_time = {WRITE_SECONDS:g}"
    if not is_mariadb:
        of_statements = f"max_execution_time = {WRITE_SECONDS * 1000:.0f}"  # of SELECT alone
    return f"SET lock_wait_timeout = {_LOCK_SECONDS}, innodb_lock_wait_timeout = {_LOCK_SECONDS}, {of_statements}"


def _code(error: DBAPIError) -> object:
    """The number of a driver's error, where it has one: the first argument, with the drivers of MySQL."""
    return next(iter(getattr(error.orig, "args", ())), None)
