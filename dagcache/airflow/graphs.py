"""What the cache has to know of Airflow's DAG graphs: what all of them share, and where their cycles run.

Told by attributes, not by classes: the classes have moved between modules from one version of Airflow to the next.
"""

from __future__ import annotations

import datetime as dt
import importlib
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from dagcache.reclaim import HubBreaker, empty

_DEFINITIONS = (
    "airflow.serialization.definitions.baseoperator",
    "airflow.serialization.definitions.mappedoperator",
    "airflow.serialization.definitions.dag",
    "airflow.serialization.definitions.taskgroup",
    "airflow.serialization.serialized_objects",
    "airflow.models.mappedoperator",
    "airflow.timetables.trigger",
    "airflow.timetables.interval",
    "airflow.timetables.simple",
)
_TIMEZONES = ("airflow._shared.timezones.timezone", "airflow.utils.timezone")
_SHAREABLE = (list, dict, set, frozenset, tuple, dt.timedelta, dt.tzinfo)


def shared_objects() -> list[object]:
    """Objects of which the process has one each, and to which the graphs of all DAGs refer.

    The defaults of Airflow's serialised classes (a class attribute, or the default of an argument), what those contain,
    and the time zone UTC. What is missing here is merely copied with each DAG, as pickle does.
    """
    found: dict[int, object] = {}
    for module in _modules(_DEFINITIONS):
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                for default in _defaults(kind):
                    _add(found, default)
    for module in _modules(_TIMEZONES[:1]) or _modules(_TIMEZONES[1:]):
        _add(found, module.utc)
    return list(found.values())


def hubs(dag: Any) -> Iterator[object]:
    """The parts through which all cycles run: the table of tasks, the tasks, the task groups."""
    tasks = dag.task_dict
    yield tasks
    yield from tasks.values()
    groups = [dag.task_group]
    while groups:
        group = groups.pop()
        yield group
        # A child that is no task is a group: asking it for an attribute would run code of Airflow's, for each task.
        groups += [child for name, child in group.children.items() if name not in tasks]


def sever(dag: Any) -> None:
    """Break the cycles of a graph that nobody holds: empty its hubs. All other parts stay as they are."""
    parts = [*hubs(dag), dag]
    for part in parts:
        empty(part)


def breaker() -> HubBreaker:
    """A cycle breaker for DAG graphs."""
    return HubBreaker(hubs, sever)


def _modules(names: tuple[str, ...]) -> list[Any]:
    modules = []
    for name in names:
        with suppress(ImportError):  # another version of Airflow
            modules.append(importlib.import_module(name))
    return modules


def _defaults(kind: type) -> Iterator[object]:
    for name, value in vars(kind).items():
        if isinstance(value, types.FunctionType):
            yield from value.__defaults__ or ()
            yield from (value.__kwdefaults__ or {}).values()
        elif not name.startswith("__"):
            yield value
    for attribute in getattr(kind, "__attrs_attrs__", ()):
        yield attribute.default


def _add(found: dict[int, object], item: object) -> None:
    if not isinstance(item, _SHAREABLE) or item == ():
        return
    found[id(item)] = item
    if isinstance(item, (frozenset, tuple)):  # immutable: what it contains is shared for ever
        for part in item:
            if not isinstance(part, (str, bytes, int, float, type, type(None))):
                found[id(part)] = part
