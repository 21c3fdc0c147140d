"""Airflow's own load of a row, between the two halves of sharing: strings before it, immutable parts after it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from dagcache.airflow import foreign
from dagcache.airflow.quarantine import is_of_the_database
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.log_limits import report
from dagcache.reclaim.gc_pause import gc_relaxed

T = TypeVar("T")


def read(row: Any, load: Callable[[], Any], try_step: Callable[..., Any]) -> Any:
    """The DAG that ``load()`` builds from a row, prepared for freezing; with rare garbage collections.

    Errors of the load pass. ``try_step`` runs each step of the preparation: `unless_it_fails` for a component.
    """
    data = row.data  # Airflow parses it, and the row object keeps it
    with gc_relaxed():
        try_step(share_strings, data)
        timetable = foreign.timetable_of(row)  # first: a plugin's code may change what it decodes
        dag = load()
        foreign.note(dag, timetable)
        try_step(_share, dag)
    return dag


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


def _share(dag: Any) -> None:
    if dag is not None:
        share_immutables(dag)
