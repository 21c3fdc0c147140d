"""Versions whose content cannot be read, set aside for a while, so that one of them does not stop all the others.

Airflow lets the error of a corrupt row end the scheduler's loop, for every DAG. In quarantine a version is what a
missing one is: Airflow logs that it is not found, and goes on with the next.
"""

from __future__ import annotations

import logging
from typing import Any

from dagcache.log_limits import LogLimits

_NOT_THE_CONTENT = (OSError, MemoryError)
_DATABASE_ERRORS = {"DBAPIError", "PendingRollbackError", "TimeoutError", "DatabaseError", "InterfaceError"}
"""SQLAlchemy's (a session that needs a rollback, a pool without a free connection), and the names that every driver
gives its errors (PEP 249). Not all of SQLAlchemy's: a statement that cannot be built is no trouble of the database."""


class Quarantine:
    """Which versions are set aside, and until when. ``seconds``: for how long; 0: none is ever set aside.

    Thread-safe; false while nothing is set aside.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[Any, float] = {}
        self._limits = LogLimits(logging.getLogger("dagcache"))  # of its own: each version is a cause

    def __bool__(self) -> bool:
        return bool(self._until)

    def holds(self, version: Any, now: float) -> bool:
        """Whether a version is set aside now (seconds); once it no longer is, it may be tried again."""
        until = self._until.get(version)
        if until is None:
            return False
        if now < until:
            return True
        self._until.pop(version, None)
        return False

    def takes(self, version: Any, error: Exception, now: float) -> bool:
        """Set a version aside if that is wanted and the error is one of its content; one ERROR line if so.

        A version is named once a minute at most; beyond a hundred corrupt versions a minute they are counted.
        """
        if not self._seconds or isinstance(error, _NOT_THE_CONTENT) or is_of_the_database(error):
            return False
        for other, until in list(self._until.items()):
            if now >= until:
                self._until.pop(other, None)
        self._until[version] = now + self._seconds
        # The error's text may hold content of the DAG; a developer finds it in the database.
        self._limits.report(
            str(version),
            "DAG version %s cannot be read (%s): served as missing for %g s",
            version,
            type(error).__name__,
            self._seconds,
        )
        return True


def is_of_the_database(error: Exception) -> bool:
    """Whether the error tells of the way to the content; then trying again at once is right."""
    return not {base.__name__ for base in type(error).__mro__}.isdisjoint(_DATABASE_ERRORS)
