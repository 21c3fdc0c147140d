"""A prediction of a DAG's live and frozen bytes from its serialised form, without Airflow.

The JSON is turned into a *shadow*: a graph of the shape that deserialising produces, with stand-ins for Airflow's
classes. The shadow has the references, sets and strings of a real DAG, so weighing and pickling it follows this
Python's rules of allocation. A few constants stand for the attributes that Airflow adds to each task.

The constants of bytes are fitted on one half of the DAGs of `python -m benchmarks.predicted_sizes`, which fits them
again and tests them on the other half and on other kinds of DAGs. They are those of Airflow 3.2 and later. Tasks of
Airflow 3.1 have other attributes, which are known, and so need no other constants.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dagcache.airflow.confirmations import RECORD_BYTES  # needs no Airflow
from dagcache.airflow.sharing import share_strings  # needs no Airflow
from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD
from dagcache.freezing.pickle_freezer import LEVEL
from dagcache.freezing.zdict import Dictionary, deflated
from dagcache.reclaim.gc_pause import gc_paused
from dagcache.sizing.walk import weigh

VERSION_OVERHEAD = ENTRY_OVERHEAD + RECORD_BYTES
"""Bytes of a version in a scheduler's cache beside its copies."""

# live = DAG + task * tasks + mapped task * count + weight * shadow's weight. Fitted to thawed copies: most copies in a
# full cache are such. The layout of instances changed with CPython 3.13.
_LIVE_DAG, _LIVE_TASK, _LIVE_MAPPED, _LIVE_WEIGHT = (
    (1434.0, 116.0, 548.0, 0.980) if sys.version_info < (3, 13) else (1900.0, 271.0, 650.0, 0.953)
)
# frozen = DAG + deflated * shadow's deflated pickle
_FROZEN_DAG, _FROZEN_DEFLATED = 290.0, 1.03


class Shadow:
    """A stand-in for an object with a ``__dict__`` of its own: a DAG, a task."""


class _Slotted:
    """A stand-in for an object with slots: it has room for so many values, and no names."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, values: dict[str, Any]) -> None:
        for slot, value in zip(self.__slots__, values.values(), strict=False):
            setattr(self, slot, value)


class ShadowOfMapped(_Slotted):
    """A stand-in for a mapped task."""

    __slots__ = tuple(f"slot_{number}" for number in range(36))


class ShadowOfGroup(_Slotted):
    """A stand-in for a group of tasks."""

    __slots__ = tuple(f"slot_{number}" for number in range(18))


class ShadowOfParameters(_Slotted):
    """A stand-in for the parameters of a DAG or a task of Airflow 3.1."""

    __slots__ = ("content", "flag")


class ShadowOfParameter:
    """A stand-in for a parameter."""


class ShadowOfAll:
    """A stand-in for the parameters of a DAG or a task, from Airflow 3.2 on."""


_NOT_OF_THE_DAG = ("tasks", "task_group", "params")
_NOT_OF_TASKS = ("python_callable_name", "_is_sensor")
_OF_TASKS = (
    "_BaseOperator__from_mapped",
    "_can_skip_downstream",
    "_is_empty",
    "_operator_name",
    "dag",
    "deps",
    "downstream_task_ids",
    "end_date",
    "start_date",
    "start_from_trigger",
    "start_trigger_args",
    "task_group",
    "upstream_task_ids",
)
"""The attributes that each task has in Airflow 3.3, beside those in its row and the template fields without a value."""
_ALSO_OF_OLD_TASKS = ("_task_display_name", "email", "execution_timeout", "executor")
"""Those that each one also has until Airflow 3.1, beside parameters of its own."""
_ALSO_OF_NEW_TASKS = ("_arg_bindings", "is_stub")
"""Those that each one also has from Airflow 3.4 on."""
_OLD = ("Airflow 3.0", "Airflow 3.1")
_OF_THE_CONSTANTS = ("", "Airflow 3.2", "Airflow 3.3")
_SPANS = ("retry_delay", "max_retry_delay", "execution_timeout")
_DEPENDENCIES = (1, 2, 3, 4)
"""Stand-ins for the rules that a sensor has in common with all tasks; it has one of its own."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a serialised DAG."""

    tasks: int
    mapped: int
    """The mapped tasks that weigh more than their shadows: none until Airflow 3.1."""
    shadow_bytes: int
    deflated_bytes: int


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of a version's copies, and the CPU seconds to load and to thaw it."""

    live_bytes: int
    frozen_bytes: int
    tasks: int
    load_seconds: float
    thaw_seconds: float

    @property
    def frozen_cost(self) -> int:
        """The accounted bytes with a frozen copy only."""
        return self.frozen_bytes + VERSION_OVERHEAD

    @property
    def full_cost(self) -> int:
        """The accounted bytes with both copies."""
        return self.frozen_cost + self.live_bytes + LIVE_OVERHEAD

    @property
    def release_seconds(self) -> float:
        """The CPU seconds to take such a graph apart, when another one displaces it."""
        return _RELEASE_OF_THAW * self.thaw_seconds

    def scaled(self, factor: float) -> Size:
        """The size of a version of the same DAG with a payload ``factor`` times as long."""
        return Size(
            round(self.live_bytes * factor),
            round(self.frozen_bytes * factor),
            round(self.tasks * factor),
            self.load_seconds * factor,
            self.thaw_seconds * factor,
        )

    def at_speed(self, loads: float, thaws: float) -> Size:
        """The same on another machine; the factors of the seconds."""
        return replace(self, load_seconds=self.load_seconds * loads, thaw_seconds=self.thaw_seconds * thaws)


def features(payload: dict[str, Any], dictionary: Dictionary | None = None, *, airflow: str = "") -> Features:
    """Weigh the shadow of a parsed payload. Equal strings in the payload become one object.

    ``dictionary``: the zlib dictionary of earlier shadows; a cache has one of the values that it has frozen.
    ``airflow``: the version that loads the payload, as `MetadataDatabase.check` returns it; empty: 3.3.

    Raises:
        ValueError: the payload is not a serialised DAG, or its groups nest too deep.

    """
    with gc_paused():
        share_strings(payload)  # as the cache does at a load
        is_old = airflow in _OLD
        shadow = _shadow(payload, airflow)
        nbytes = weigh(shadow).nbytes  # before pickling, which adds cached UTF-8 to strings: thawed strings have none
        pickled = _pickled(shadow)
        tasks = vars(shadow)["task_dict"].values()
        return Features(
            tasks=len(tasks),
            mapped=0 if is_old else sum(type(task) is ShadowOfMapped for task in tasks),
            shadow_bytes=nbytes,
            deflated_bytes=deflated(pickled, dictionary.words_for(pickled) if dictionary else b"", LEVEL),
        )


def live_bytes(found: Features) -> int:
    """The bytes of a thawed graph in a scheduler's cache."""
    return round(_LIVE_DAG + _LIVE_TASK * found.tasks + _LIVE_MAPPED * found.mapped + _LIVE_WEIGHT * found.shadow_bytes)


def frozen_bytes(found: Features) -> int:
    """The bytes of the frozen form."""
    return round(_FROZEN_DAG + _FROZEN_DEFLATED * found.deflated_bytes)


# CPU seconds of one machine, with CPython 3.11 and Airflow 3.3: a constant, and seconds per byte of the shadow.
# `dagcache.advice.speed` scales them to other machines. Loads include freezing and weighing.
_LOAD = (5.8e-4, 1.25e-8)
_THAW = (6.8e-5, 1.6e-9)
_RELEASE_OF_THAW = 0.9


def size_of(found: Features) -> Size:
    """The predicted size of a version."""
    return Size(live_bytes(found), frozen_bytes(found), found.tasks, _linear(_LOAD, found), _linear(_THAW, found))


def _linear(factors: tuple[float, float], found: Features) -> float:
    constant, per_byte = factors
    return constant + per_byte * found.shadow_bytes


def _pickled(shadow: Shadow) -> bytes:
    try:
        return pickle.dumps(shadow, 5)
    except RecursionError:
        raise ValueError("expected groups within groups to a depth that can be pickled") from None


def _shadow(payload: dict[str, Any], airflow: str) -> Shadow:
    try:
        defaults = payload.get("client_defaults", {}).get("tasks", {})
        names = (*_OF_TASKS, *defaults, *_also_of_tasks(airflow))
        return _Graph(names, is_old=airflow in _OLD).of(payload["dag"])
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"expected a serialised DAG; {type(error).__name__} at {str(error)[:60]}") from None


def _also_of_tasks(airflow: str) -> tuple[str, ...]:
    """Attributes that each task has in one version of Airflow only."""
    if airflow in _OLD:
        return _ALSO_OF_OLD_TASKS
    return () if airflow in _OF_THE_CONSTANTS else _ALSO_OF_NEW_TASKS


@dataclass(slots=True)
class _Task:
    """The shadow of a task, and the ids of its neighbours."""

    shadow: Any
    earlier: set[str]
    later: set[str]


class _Graph:
    """The shadow of a DAG of a version of Airflow.

    ``names``: the attributes that each task has, beside those in its row.
    """

    def __init__(self, names: tuple[str, ...], *, is_old: bool) -> None:
        self._names = names
        self._is_old = is_old
        self._root = Shadow()
        self._once = dict[Any, Any]().setdefault

    def of(self, dag: dict[str, Any]) -> Shadow:
        """The shadow of a DAG's content."""
        root = self._root
        tasks: dict[str, Any] = {}
        for encoded in dag["tasks"]:
            fields = encoded["__var"]
            tasks[fields["task_id"]] = self._task(fields)
        for task_id, task in tasks.items():
            for later in task.later:
                if later in tasks:
                    tasks[later].earlier.add(task_id)
        fields = {name: _decoded(value) for name, value in dag.items() if name not in _NOT_OF_THE_DAG}
        vars(root).update(
            fields,
            params=self._params(dag.get("params")),
            task_dict={task_id: task.shadow for task_id, task in tasks.items()},
            task_group=_group(dag["task_group"], None, root, tasks),
        )
        return root

    def _task(self, fields: dict[str, Any]) -> _Task:
        earlier, later = set[str](), set(fields.get("downstream_task_ids", ()))
        is_mapped = bool(fields.get("_is_mapped"))
        attributes = dict.fromkeys((*self._names, *fields.get("template_fields", ())))
        attributes |= {name: _decoded(value) for name, value in fields.items() if name not in _NOT_OF_TASKS}
        spans = [name for name in _SPANS if name in attributes]
        attributes |= {name: self._once((name, attributes[name]), attributes[name]) for name in spans}
        attributes |= {"dag": self._root, "upstream_task_ids": earlier, "downstream_task_ids": later}
        if fields.get("_is_sensor"):
            attributes["deps"] = frozenset({*_DEPENDENCIES, object()})
        params = fields.get("params")
        if params or (self._is_old and not is_mapped):
            attributes["params"] = self._params(params)
        return _Task(ShadowOfMapped(attributes) if is_mapped else _with(attributes), earlier, later)

    def _params(self, params: Any) -> Any:
        """An object that holds a dict of objects."""
        content: dict[str, Any] = {}
        for name, part in params or ():
            content[name] = _parameter(part)
        if self._is_old:
            return ShadowOfParameters({"content": content, "flag": False})
        shadow = ShadowOfAll()
        shadow.__dict__["parameters"] = content
        return shadow


def _parameter(fields: Mapping[str, Any]) -> ShadowOfParameter:
    """A parameter whose dict was filled in place, so that it shares its keys with others: as unpickling fills it."""
    shadow = ShadowOfParameter()
    filled = shadow.__dict__
    for name, value in fields.items():
        if name != "__class":
            filled[name] = _decoded(value)
    return shadow


def _with(attributes: Mapping[str, Any]) -> Shadow:
    """An object with a dict that has grown item by item, and shares no keys with others: thawed objects have such."""
    shadow = Shadow()
    shadow.__dict__ = {name: value for name, value in attributes.items()}  # noqa: C416 - a copy would keep spare room
    return shadow


def _group(encoded: dict[str, Any], parent: Any, root: Shadow, tasks: dict[str, _Task]) -> ShadowOfGroup:
    """A task group with its nested groups, to a limited depth."""
    children: dict[str, Any] = {}
    fields = {name: set(value) if isinstance(value, list) else value for name, value in encoded.items()}
    group = ShadowOfGroup({**fields, "parent": parent, "dag": root, "children": children})
    for label, (kind, content) in encoded["children"].items():
        if kind == "taskgroup":
            children[label] = _group(content, group, root, tasks)
        else:
            children[label] = tasks[content].shadow if content in tasks else Shadow()
    return group


def _decoded(value: Any) -> Any:
    """A value as deserialising makes it, as far as its weight is concerned: type marks are dropped."""
    if isinstance(value, dict):
        if "__type" in value and "__var" in value:
            return _decoded(value["__var"])
        return {name: _decoded(item) for name, item in value.items()}
    if isinstance(value, list):
        decoded: list[Any] = []
        decoded[:] = [_decoded(item) for item in value]  # with the spare room of an unpickled list
        return decoded
    return value
