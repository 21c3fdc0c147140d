"""Whether a DAG has the operator links that its bag asked for.

Airflow decides by an attribute of a class, for the whole process, whether a load brings the links along. Two bags with
different wishes that load at the same time get each other's: links that are missing, or that should not be there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_LINKS = "_operator_extra_links"
_ATTRIBUTE = "operator_extra_links"


def are_as_asked(dag: Any, data: Any, wanted: bool) -> bool:
    """Whether the tasks of a DAG that was loaded from a payload have these links, or none of them if none are wanted.

    Raises whatever an unknown shape of DAG or payload makes it raise.
    """
    by_plugin = _links_of_plugins() if wanted else {}
    for encoded in data["dag"]["tasks"]:
        content = encoded["__var"]
        expected = set(content.get(_LINKS) or ()) if wanted else set()
        if wanted and by_plugin:
            expected |= by_plugin.get((content.get("task_type"), content.get("_task_module")), set())
        if expected != _names(dag.task_dict[content["task_id"]]):
            return False
    return True


def _names(task: Any) -> set[str]:
    links: Iterable[Any] = getattr(task, _ATTRIBUTE, None) or ()
    return {link.name for link in links}


def _links_of_plugins() -> dict[tuple[str, str], set[str]]:
    """The names of the links that plugins give to operators, by the operators' class and module."""
    from airflow import plugins_manager

    read = getattr(plugins_manager, "get_operator_extra_links", None)
    if read is None:  # Airflow 3.1
        plugins_manager.initialize_extra_operators_links_plugins()
        links = plugins_manager.operator_extra_links or ()
    else:
        links = read()
    found: dict[tuple[str, str], set[str]] = {}
    for link in links:
        for operator in link.operators:
            found.setdefault((operator.__name__, operator.__module__), set()).add(link.name)
    return found
