"""The start of a session's view of the database.

A transaction with a snapshot (REPEATABLE READ, the default of MySQL; SQLite's WAL) shows the database as of its first
statement, for as long as it lasts. A row is then current as of that moment, and not as of now. The moment that is noted
is the start of the transaction, which is earlier: a row is then taken for older than it is. At READ COMMITTED each
statement has its own view.
"""

from __future__ import annotations

import time
import weakref
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

UNKNOWN = float("-inf")
"""The start of a transaction that was not observed."""

_EACH_STATEMENT = frozenset({"AUTOCOMMIT", "READ COMMITTED", "READ UNCOMMITTED"})
_began: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


class View(NamedTuple):
    """The view that a session's next statement has."""

    since: float
    """The start of the view in monotonic seconds; an earlier moment if in doubt."""
    lasts: bool
    """Whether later statements have the same view."""


def watch() -> None:
    """Note the start of each session's transactions from now on. Idempotent."""
    if not event.contains(Session, "after_transaction_create", _note):
        event.listen(Session, "after_transaction_create", _note)


def view(session: Any) -> View:
    """The view of a session. Gives the session a connection; database errors pass through."""
    now = time.monotonic()
    began = now if session.get_transaction() is None else _began.get(session.get_transaction(), UNKNOWN)
    connection = session.connection()
    if _sees_each_statement(connection):
        return View(now, lasts=False)
    if began == UNKNOWN or not isinstance(session.get_bind(), Engine):
        return View(UNKNOWN, lasts=False)  # the connection may have been in a transaction before the session
    return View(began, lasts=True)


def _sees_each_statement(connection: Any) -> bool:
    if connection.dialect.name == "sqlite":  # its driver starts a transaction at the first change, or on request
        return not getattr(connection.connection.dbapi_connection, "in_transaction", True)
    options = connection.get_execution_options()
    return options.get("isolation_level", connection.dialect.default_isolation_level) in _EACH_STATEMENT


def _note(_session: Any, transaction: Any) -> None:
    # The session has no connection yet, and so no snapshot. A savepoint has a parent and starts no view.
    if transaction.parent is None:
        _began[transaction] = time.monotonic()
