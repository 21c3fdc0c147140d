"""Knowledge of Airflow's DAG graphs: the objects that all graphs share, and the freezer for them.

It goes by attributes, not by classes: classes move between modules from one version of Airflow to the next.
"""

from __future__ import annotations

import datetime as dt
import importlib
import sys
import types
import zoneinfo
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

from dagcache.airflow import foreign
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.reducers import Reducer, plain_reducer
from dagcache.freezing.restricted import AllowList

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
_PARAMS = ("airflow.serialization.definitions.param", "airflow.sdk.definitions.param")  # since Airflow 3.2, and before
_TIMEZONES = ("airflow._shared.timezones.timezone", "airflow.utils.timezone")
_SENTINELS = ("airflow.serialization.definitions.notset", "airflow.utils.types")
_CONNECTIONS = ("airflow.models.connection",)
_OPERATORS = ("SerializedBaseOperator",)  # the class of a task
_PARAMETERS = ("SerializedParam", "SerializedParamsDict")  # several per task
_SETS = ("tags", "upstream_task_ids", "downstream_task_ids", "deps", "upstream_group_ids", "downstream_group_ids")
_SET_TYPES = (set, frozenset)
_SET_AT_WORK = ("_const_fields", "_json_schema", "_load_operator_extra_links")
"""Class attributes that Airflow's serialisation changes while it works. No graph refers to them."""
_SLOT = types.MemberDescriptorType
_SHAREABLE = (list, dict, set, frozenset, tuple, dt.timedelta, dt.tzinfo)


def shared_objects() -> list[object]:
    """The objects of `named_objects`, in the order of their names: the same in all processes with the same Airflow."""
    return list({id(item): item for _, item in named_objects()}.values())


def named_objects() -> list[tuple[str, object]]:
    """Objects that exist once per process, and to which the graphs of all DAGs refer, with their names, sorted.

    These are the defaults of Airflow's serialised classes (class attributes, defaults of arguments) with their parts,
    the time zone UTC, the sentinel NOTSET, and SQLAlchemy's manager of connections, which leads to all of its tables.
    An object that is missing here is copied with each DAG, as pickle does.
    """
    found: list[tuple[str, object]] = []
    for kind in serialised_classes():
        for name, default in defaults_of(kind):
            found += _named(f"{foreign.full_name(kind)}.{name}", default)
    for module in _first(_TIMEZONES):
        found += _named(f"{module.__name__}.utc", module.utc)
    found += ((f"{module.__name__}.NOTSET", module.NOTSET) for module in _first(_SENTINELS))
    for module in _modules(_CONNECTIONS):
        manager = getattr(module.Connection, "_sa_class_manager", None)
        found.append((f"{module.__name__}.Connection._sa_class_manager", manager))
    return sorted(found, key=lambda named: named[0])


def serialised_classes() -> Iterator[type]:
    """The classes that Airflow's serialisation defines, and the parameters of DAGs."""
    for module in _definitions():
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                yield kind


def freezer(allowed: AllowList | None = None) -> tuple[PickleFreezer, list[object]]:
    """A freezer for DAG graphs, and the objects it shares: `shared_objects`, and the attribute names of tasks.

    With an allow-list (`dagcache.airflow.allow_list`) the freezer has portable forms.
    """
    shared = shared_objects()
    reducers = _zones()
    operators, parameters = classes_of_tasks(), classes_of_parameters()
    reducers |= {kind: reduce for kind in parameters if (reduce := plain_reducer(kind)) is not None}
    for kind in operators + parameters:
        shared += map(sys.intern, attribute_names(kind))
    made = PickleFreezer(
        shared,
        reducers,
        alike=operators,
        rule=foreign.rule,
        rebuilt=foreign.rebuilt,
        sets=sets_of,
        hubs=partial(hubs_of, leaves=frozenset(operators)),
        allowed=allowed,
        adding=added_by_tasks,
    )
    return made, shared


def attribute_names(kind: type) -> list[str]:
    """The names of the annotated attributes of a class, sorted."""
    return sorted({name for base in kind.__mro__ for name in vars(base).get("__annotations__", ())})


def _zones() -> dict[type, Reducer]:
    """The reducers of time zones.

    pendulum keeps one zone for each fixed offset, and one for each name. A load takes these.
    """
    reducers: dict[type, Reducer] = {zoneinfo.ZoneInfo: _reduce_zone}
    pendulum = next(iter(_modules(("pendulum.tz",))), None)
    kind = getattr(pendulum, "FixedTimezone", None)
    registered: Any = getattr(pendulum, "fixed_timezone", None)
    named = getattr(pendulum, "Timezone", None)
    if isinstance(named, type) and issubclass(named, zoneinfo.ZoneInfo):
        reducers[named] = _reduce_zone
    if kind is None or registered is None:
        return reducers

    def reduce(zone: Any) -> tuple[Any, ...]:
        offset = zone.offset
        return (registered, (offset,)) if registered(offset) is zone else (kind, (offset, zone.name))

    reducers[kind] = reduce
    return reducers


def _reduce_zone(zone: Any) -> tuple[Any, ...]:
    """As ``ZoneInfo.__reduce__``, but without a method, which pickle looks up by ``getattr``."""
    kind = type(zone)
    reduced: tuple[Any, ...] = zone.__reduce__()
    is_by_name = reduced == (kind._unpickle, (zone.key, True))  # noqa: SLF001 - as in ZoneInfo
    return (zone_by_name, (kind, zone.key)) if is_by_name else reduced


def zone_by_name(kind: type[zoneinfo.ZoneInfo], name: str) -> zoneinfo.ZoneInfo:
    """The process's own time zone of a class and a name.

    Raises:
        TypeError: the class is not one of time zones.

    """
    if not (isinstance(kind, type) and issubclass(kind, zoneinfo.ZoneInfo)):
        raise TypeError(f"{kind!r} is not a class of time zones")
    return kind(name)


def hubs_of(dag: Any, leaves: AbstractSet[type]) -> Iterator[object]:
    """The parts of a graph that form its long paths: groups within groups, and mapped tasks, by the inputs of others.

    ``leaves`` are the classes of tasks that do not refer to other tasks.
    """
    yield from _groups(getattr(dag, "task_group", None))
    yield from (task for task in getattr(dag, "task_dict", {}).values() if type(task) not in leaves)


def sets_of(dag: Any) -> list[AbstractSet[Any]]:
    """Most of the sets in a graph: its tags, the ids of tasks' and groups' neighbours, and a sensor's own rules."""
    slots: dict[type, list[Any]] = {}
    found: list[Any] = []
    for part in chain((dag,), getattr(dag, "task_dict", {}).values(), _groups(getattr(dag, "task_group", None))):
        kind = type(part)
        if kind not in slots:
            slots[kind] = [slot for name in _SETS if type(slot := getattr(kind, name, None)) is _SLOT]
        own: Any = getattr(part, "__dict__", {})
        found += map(own.get, _SETS)
        found += [slot.__get__(part, kind) for slot in slots[kind]]
    return [each for each in found if type(each) in _SET_TYPES and len(each) > 1]


def added_by_tasks(dag: Any) -> dict[int, list[Any]]:
    """The sets that a load fills while it goes through the tasks, by id, with their elements in that order.

    Other sets of a graph come from sorted lists.
    """
    tasks: Any = getattr(dag, "task_dict", {})
    position = {task_id: at for at, task_id in enumerate(tasks)}
    sets = (getattr(task, "upstream_task_ids", ()) for task in tasks.values())
    return {id(found): sorted(found, key=position.__getitem__) for found in sets if len(found) > 1}


def _groups(root: Any) -> Iterator[Any]:
    """A group of tasks and the groups within it."""
    groups, kind = [] if root is None else [root], type(root)
    for group in groups:  # grows during the loop
        yield group
        groups += [child for child in getattr(group, "children", {}).values() if isinstance(child, kind)]


def classes_of_tasks() -> list[type]:
    """Airflow's class of a task that is not mapped."""
    return _found(_OPERATORS)


def classes_of_parameters() -> list[type]:
    """Airflow's immutable mapping of parameters and its parts; none before Airflow 3.2."""
    return _found(_PARAMETERS)


def _found(names: tuple[str, ...]) -> list[type]:
    """The classes of these names, each from the first module that has it."""
    modules = _definitions()
    kinds = (next((found for module in modules if (found := getattr(module, name, None))), None) for name in names)
    return [kind for kind in kinds if isinstance(kind, type)]


def _definitions() -> list[Any]:
    return [*_first(_PARAMS), *_modules(_DEFINITIONS)]


def _modules(names: tuple[str, ...]) -> list[Any]:
    modules = []
    for name in names:
        with suppress(ImportError):  # another version of Airflow
            modules.append(importlib.import_module(name))
    return modules


def _first(names: tuple[str, ...]) -> list[Any]:
    """The first module that exists: versions of Airflow keep the same object in different modules."""
    return next((found for name in names if (found := _modules((name,)))), [])


def defaults_of(kind: type) -> Iterator[tuple[str, object]]:
    """The attributes of a class, and the defaults of its functions' arguments and `attrs` attributes, with names."""
    for name, value in vars(kind).items():
        if isinstance(value, types.FunctionType):
            yield from ((f"{name}({at})", default) for at, default in enumerate(value.__defaults__ or ()))
            yield from ((f"{name}({key}=)", default) for key, default in (value.__kwdefaults__ or {}).items())
        elif not name.startswith("__") and name not in _SET_AT_WORK:
            yield name, value
    for attribute in getattr(kind, "__attrs_attrs__", ()):
        yield f"{attribute.name}=", attribute.default


def _named(name: str, item: object) -> Iterator[tuple[str, object]]:
    """An object to share, and the parts that stay shared with it."""
    if not isinstance(item, _SHAREABLE) or item == ():
        return
    yield name, item
    if isinstance(item, (frozenset, tuple)):  # immutable: its parts stay shared
        for at, part in enumerate(item):
            if not isinstance(part, (str, bytes, int, float, type, type(None))):
                # A set has another order in each process.
                yield f"{name}[{at if isinstance(item, tuple) else foreign.full_name(type(part))}]", part
