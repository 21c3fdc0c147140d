"""Parts of a load that the bag and the readers of rows have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from dagcache.airflow.quarantine import is_of_the_database
from dagcache.log_limits import report

T = TypeVar("T")


def unless_it_fails(count_fault: Callable[[], object], step: Callable[..., T], *args: Any) -> T | None:
    """Run a step of ours within Airflow's load; None, a counted fault and a log line if it fails.

    Errors of the database pass.
    """
    try:
        return step(*args)
    except Exception as error:
        if is_of_the_database(error):
            raise
        count_fault()
        report(step.__name__, "load step %s failed", step.__name__, error=error, level=logging.WARNING)
        return None


def as_just_loaded(dag: Any) -> Any:
    """Set ``last_loaded`` of a private copy to now, as Airflow's own load does."""
    try:
        loaded = vars(dag).get("last_loaded")
        if loaded is not None:
            dag.last_loaded = type(loaded).now(loaded.tzinfo)
    except (AttributeError, TypeError):
        pass
    return dag
