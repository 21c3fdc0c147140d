"""A quarantine for versions with unreadable content, so that one of them does not stop the others.

Until Airflow 3.3 the error of a corrupt row ends the scheduler's loop, for every DAG. Airflow 3.4 skips the runs of the
DAG, with tracebacks in each loop. There the loop ends only if a ready task of it has a concurrency limit. A version in
quarantine is served as missing: Airflow logs in one line that it is not found, and continues with the next.
"""

from __future__ import annotations

import logging
from typing import Any

from dagcache.concurrency.lock import Lock
from dagcache.log_limits import LogLimits

_NOT_THE_CONTENT = (OSError, MemoryError)
_DATABASE_ERRORS = {"DBAPIError", "PendingRollbackError", "TimeoutError", "DatabaseError", "InterfaceError"}
"""Errors of SQLAlchemy (a session that needs a rollback, a pool without a free connection), and the error names of all
drivers (PEP 249). Other errors of SQLAlchemy, such as an invalid statement, are not errors of the database."""


class Quarantine:
    """The versions in quarantine, each for ``seconds``; 0 turns the quarantine off.

    Thread-safe. False while it is empty.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[Any, float] = {}
        self._counting = Lock()
        self.taken = 0
        """Times that a version was put in quarantine."""
        self.missed = 0
        """Lookups of versions that were in quarantine, as `count_miss` counts them."""
        self._limits = LogLimits(logging.getLogger("dagcache"))  # separate limits: each version is a cause

    def __bool__(self) -> bool:
        return bool(self._until)

    def holds(self, version: Any, now: float) -> bool:
        """Whether a version is in quarantine at ``now``, in monotonic seconds."""
        until = self._until.get(version)
        if until is None:
            return False
        if now < until:
            return True
        self._until.pop(version, None)
        return False

    def held(self, now: float) -> int:
        """The number of versions in quarantine at ``now``, in monotonic seconds."""
        return sum(now < until for until in list(self._until.values()))

    def count_miss(self) -> None:
        """Count a lookup of a version in quarantine."""
        self._counting.run(self._count_miss)

    def takes(self, version: Any, error: Exception, now: float, dag_id: str | None = None) -> bool:
        """Put a version in quarantine, with an ERROR line, if it is on and the error is one of the content.

        ``dag_id``: its DAG, by which Airflow reports it as not found; None: unknown. A log line names a version at most
        once a minute. Beyond a hundred corrupt versions a minute they are counted.
        """
        if not self._seconds or isinstance(error, _NOT_THE_CONTENT) or is_of_the_database(error):
            return False
        for other, until in list(self._until.items()):
            if now >= until:
                self._until.pop(other, None)
        self._until[version] = now + self._seconds
        self._counting.run(self._count_taken)
        # The error's text may quote content of the DAG, which must not get into the log.
        self._limits.report(
            str(version),
            "DAG version %s%s cannot be read (%s): served as missing for %g s",
            version,
            "" if dag_id is None else f" of DAG {dag_id}",
            type(error).__name__,
            self._seconds,
        )
        return True

    def _count_miss(self) -> None:
        self.missed += 1

    def _count_taken(self) -> None:
        self.taken += 1


def is_of_the_database(error: Exception) -> bool:
    """Whether an error comes from the database and not from the content; then an immediate retry is right."""
    return not {base.__name__ for base in type(error).__mro__}.isdisjoint(_DATABASE_ERRORS)
