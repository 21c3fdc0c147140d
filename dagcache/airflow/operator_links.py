"""A check that a DAG has the operator links that its bag asks for.

Airflow decides by a class attribute, for the whole process, whether a load includes the links. Two bags that load at
the same time with different settings get each other's: links are missing, or there are links that should not be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

_LINKS = "_operator_extra_links"
_ATTRIBUTE = "operator_extra_links"


def are_as_asked(dag: Any, data: Any, wanted: bool) -> bool:
    """Whether the tasks of a DAG have the links of its payload, or no links if none are wanted.

    Raises any exception for a DAG or payload of an unknown shape.
    """
    by_plugin = _links_of_plugins() if wanted else {}
    for encoded in data["dag"]["tasks"]:
        content = encoded["__var"]
        expected = _expected(content, by_plugin) if wanted else set()
        if expected != _names(dag.task_dict[content["task_id"]]):
            return False
    return True


def are_absent(data: Any) -> bool:
    """Whether a payload has no links, and plugins add none: then a load with links equals one without.

    Raises any exception for a payload of an unknown shape.
    """
    by_plugin = _links_of_plugins()
    return not any(_expected(encoded["__var"], by_plugin) for encoded in data["dag"]["tasks"])


def _expected(content: Any, by_plugin: Mapping[tuple[str, str], AbstractSet[str]]) -> set[str]:
    """The names of the links of a task, by its payload and by plugins."""
    return {*(content.get(_LINKS) or ()), *by_plugin.get((content.get("task_type"), content.get("_task_module")), ())}


def _names(task: Any) -> set[str]:
    links: Iterable[Any] = getattr(task, _ATTRIBUTE, None) or ()
    return {link.name for link in links}


def _links_of_plugins() -> dict[tuple[str, str], set[str]]:
    """The names of the links that plugins add to operators, by class and module of the operator."""
    from airflow import plugins_manager as module

    plugins_manager: Any = module  # its names differ between versions
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
