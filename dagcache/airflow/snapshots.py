"""When a session's view of the database began.

A transaction with a snapshot (REPEATABLE READ, which is MySQL's own default; SQLite's WAL) shows the database as it was
when the transaction began, for as long as it lasts. What it finds is then current as of that moment, and not as of now.
At READ COMMITTED each statement has a view of its own.
"""

from __future__ import annotations

import time
import weakref
from typing import Any, NamedTuple

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

UNKNOWN = float("-inf")
"""The beginning of a transaction that was not seen to begin."""

_EACH_STATEMENT = frozenset({"AUTOCOMMIT", "READ COMMITTED", "READ UNCOMMITTED"})
_began: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


class View(NamedTuple):
    """The view that a session's next statement has."""

    since: float
    """When it began, monotonic seconds; a moment before that, if in doubt."""
    lasts: bool
    """Whether the statements after that have the same view."""


def watch() -> None:
    """Take the time of each session's transactions from now on. Twice is harmless."""
    if not event.contains(Session, "after_transaction_create", _note):
        event.listen(Session, "after_transaction_create", _note)


def view(session: Any) -> View:
    """The view of a session. The session has a connection afterwards; errors of the database pass through."""
    now = time.monotonic()
    began = now if session.get_transaction() is None else _began.get(session.get_transaction(), UNKNOWN)
    connection = session.connection()
    if _sees_each_statement(connection):
        return View(now, lasts=False)
    if began == UNKNOWN or not isinstance(session.get_bind(), Engine):
        return View(UNKNOWN, lasts=False)  # the connection may have been in a transaction before the session
    return View(began, lasts=True)


def _sees_each_statement(connection: Any) -> bool:
    if connection.dialect.name == "sqlite":  # its driver begins a transaction with the first change, unless told to
        return not getattr(connection.connection.dbapi_connection, "in_transaction", True)
    options = connection.get_execution_options()
    return options.get("isolation_level", connection.dialect.default_isolation_level) in _EACH_STATEMENT


def _note(_session: Any, transaction: Any) -> None:
    # Before the session has a connection, and so before any snapshot. A savepoint has a parent: it begins no view.
    if transaction.parent is None:
        _began[transaction] = time.monotonic()
