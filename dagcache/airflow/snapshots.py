"""When a session's view of the database began.

A transaction with a snapshot (REPEATABLE READ, which is MySQL's default; SQLite's WAL) shows the database as it was
when the transaction began, for as long as it lasts. What it finds is then current as of that moment, and not as of now.
At READ COMMITTED each statement sees more than that; the moment is on the safe side there.
"""

from __future__ import annotations

import logging
import time
import weakref
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

_log = logging.getLogger("dagcache")

UNKNOWN = float("-inf")
"""The beginning of a transaction that was not seen to begin."""

_began: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


def watch() -> None:
    """Take the time of each session's transactions from now on. Twice is harmless."""
    if not event.contains(Session, "after_transaction_create", _note):
        event.listen(Session, "after_transaction_create", _note)


def began(session: Any) -> float:
    """When the view of a session began, monotonic seconds; now, if the next statement begins it."""
    try:
        transaction = session.get_transaction()
    except Exception:
        _log.debug("no transaction can be read off a %s", type(session).__name__, exc_info=True)
        return UNKNOWN
    return time.monotonic() if transaction is None else _began.get(transaction, UNKNOWN)


def _note(_session: Any, transaction: Any) -> None:
    # Before the session has a connection, and so before any snapshot. A savepoint has a parent: it begins no view.
    if transaction.parent is None:
        _began[transaction] = time.monotonic()
