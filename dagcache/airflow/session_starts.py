"""The start of a session, as the moment when callers have dropped the DAGs of the session before.

A scheduler holds the DAGs of a loop until its end, and then opens a session for the next loop. Those that have left the
cache are free by then, but the next lookup comes only after many rows were read. A collection in between would find the
graphs.
"""

from __future__ import annotations

import weakref
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from dagcache.core.cache import DagCache
from dagcache.log_limits import report

_caches: dict[int, weakref.ref[DagCache[Any, Any]]] = {}
"""By id. Single operations on a dictionary are atomic, unlike those on a weak set."""


def watch(cache: DagCache[Any, Any]) -> None:
    """Free values that callers of this cache have dropped at the start of each transaction, for a millisecond at most.

    Idempotent. Does not keep the cache alive.
    """
    _caches[id(cache)] = weakref.ref(cache)
    if not event.contains(Session, "after_transaction_create", _free_dropped):
        event.listen(Session, "after_transaction_create", _free_dropped)


def _free_dropped(_session: Any, transaction: Any) -> None:
    if transaction.parent is not None:  # a savepoint: the session goes on
        return
    for number, reference in list(_caches.items()):
        cache = reference()
        if cache is None:
            _caches.pop(number, None)
        else:
            _free_dropped_of(cache)


def _free_dropped_of(cache: DagCache[Any, Any]) -> None:
    try:
        cache.free_dropped()
    except Exception as error:
        report("session start", "values that were dropped could not be freed: a lookup frees them", error=error)
