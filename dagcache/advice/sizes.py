"""A prediction of a DAG's live and frozen bytes from its serialised form, without Airflow.

The JSON is turned into a *shadow*: a graph of the shape that deserialising produces, with stand-ins for Airflow's
classes. The shadow has the references, sets and strings of a real DAG, so weighing and pickling it follows this
Python's rules of allocation. A few constants stand for the attributes that Airflow adds to each task.

The constants are fitted on one half of Airflow's example DAGs and of a playground's generated DAGs. `python -m
benchmarks.advice --sizes` fits them again, and tests them on the other half and on other kinds of DAGs.
"""

from __future__ import annotations

import marshal
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dagcache.airflow.sharing import share_strings  # needs no Airflow
from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD
from dagcache.freezing.pickle_freezer import LEVEL
from dagcache.freezing.zdict import Dictionary, deflated
from dagcache.reclaim.gc_pause import gc_paused
from dagcache.sizing.walk import weigh

# live = DAG + task * tasks + weight * shadow's weight. For thawed copies, as most in a full cache are.
_LIVE_DAG, _LIVE_TASK, _LIVE_WEIGHT = 1670.0, 315.0, 0.943
# frozen = DAG + mapped task * count + deflated * shadow's deflated pickle
_FROZEN_DAG, _FROZEN_MAPPED, _FROZEN_DEFLATED = 200.0, 85.0, 1.028


class Shadow:
    """A stand-in for a DAG, a task or a group."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a serialised DAG."""

    tasks: int
    mapped: int
    shadow_bytes: int
    deflated_bytes: int


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of a version's copies, and the seconds to load and to thaw it on this machine."""

    live_bytes: int
    frozen_bytes: int
    tasks: int
    load_seconds: float
    thaw_seconds: float

    @property
    def frozen_cost(self) -> int:
        """The accounted bytes with a frozen copy only."""
        return self.frozen_bytes + ENTRY_OVERHEAD

    @property
    def full_cost(self) -> int:
        """The accounted bytes with both copies."""
        return self.frozen_cost + self.live_bytes + LIVE_OVERHEAD

    def scaled(self, factor: float) -> Size:
        """The size of a version of the same DAG with a payload ``factor`` times as long."""
        return Size(
            round(self.live_bytes * factor),
            round(self.frozen_bytes * factor),
            round(self.tasks * factor),
            self.load_seconds * factor,
            self.thaw_seconds * factor,
        )


def features(payload: dict[str, Any], dictionary: Dictionary | None = None) -> Features:
    """Weigh the shadow of a parsed payload. Equal strings in the payload become one object.

    ``dictionary``: the zlib dictionary of earlier shadows; a cache has one of the values that it has frozen.

    Raises:
        ValueError: the payload is not a serialised DAG.

    """
    with gc_paused():
        share_strings(payload)  # as the cache does at a load
        shadow = _shadow(payload)
        pickled = pickle.dumps(
            shadow, 5
        )  # before weighing: it adds cached UTF-8 to non-ASCII strings, as freezing does
        tasks = [vars(task) for task in vars(shadow)["task_dict"].values()]
        return Features(
            tasks=len(tasks),
            mapped=sum(1 for task in tasks if task.get("_is_mapped")),
            shadow_bytes=weigh(shadow).nbytes,
            deflated_bytes=deflated(pickled, dictionary.words_for(pickled) if dictionary else b"", LEVEL),
        )


def live_bytes(found: Features) -> int:
    """The bytes of a thawed graph in a scheduler's cache."""
    return round(_LIVE_DAG + _LIVE_TASK * found.tasks + _LIVE_WEIGHT * found.shadow_bytes)


def frozen_bytes(found: Features) -> int:
    """The bytes of the frozen form."""
    return round(_FROZEN_DAG + _FROZEN_MAPPED * found.mapped + _FROZEN_DEFLATED * found.deflated_bytes)


# Seconds on the machine of the measurements, CPython 3.11: a constant, and seconds per byte of the shadow.
_LOAD = (1.2e-3, 2.27e-8)
_THAW = (1.2e-4, 1.65e-9)
_STEP_SECONDS = 1.0e-3


class Speed:
    """The speed of this machine relative to the one of the measurements."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def size(self, found: Features) -> Size:
        """The predicted size of a version."""
        return Size(
            live_bytes(found),
            frozen_bytes(found),
            found.tasks,
            self.factor * _linear(_LOAD, found),
            self.factor * _linear(_THAW, found),
        )


def measure_speed(timer: Callable[[], float] = time.process_time, rounds: int = 200) -> Speed:
    """Time work that resembles loading and thawing, for some tenths of a second of CPU time.

    CPU time does not depend on other load of the machine. A busy scheduler takes longer than predicted.
    """
    work = pickle.dumps([{"id": f"task_{n}", "parts": [n, str(n), {"a": float(n)}]} for n in range(2000)], 5)
    started = timer()
    with gc_paused():
        for _ in range(rounds):
            pickle.loads(work)
    return Speed((timer() - started) / rounds / _STEP_SECONDS)


def _linear(factors: tuple[float, float], found: Features) -> float:
    constant, per_byte = factors
    return constant + per_byte * found.shadow_bytes


def _shadow(payload: dict[str, Any]) -> Shadow:
    try:
        return _graph(payload["dag"])
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"expected a serialised DAG; {type(error).__name__} at {str(error)[:60]}") from None


def _graph(dag: dict[str, Any]) -> Shadow:
    root, top = Shadow(), Shadow()
    once = dict[bytes, Any]().setdefault
    tasks: dict[str, Shadow] = {}
    for encoded in dag["tasks"]:
        fields = encoded["__var"]
        task = tasks[fields["task_id"]] = Shadow()
        vars(task).update({name: _decoded(value) for name, value in fields.items()})
        vars(task).update(
            downstream_task_ids=set(fields.get("downstream_task_ids", ())),
            upstream_task_ids=set(),
            _dag=root,
            task_group=top,
            start_date=None,
            end_date=None,
            _log=None,
            _pre_execute_hook=None,
        )
        if params := vars(task).get("params"):  # as `dagcache.airflow.sharing` has it
            vars(task)["params"] = once(marshal.dumps(params, 2), params)
    for task_id, task in tasks.items():
        for later in vars(task)["downstream_task_ids"]:
            if later in tasks:
                vars(tasks[later])["upstream_task_ids"].add(task_id)
    vars(root).update(
        {name: _decoded(value) for name, value in dag.items() if name not in ("tasks", "task_group")},
        task_dict=tasks,
        task_group=_group(top, dag["task_group"], None, root, tasks),
    )
    return root


def _group(
    group: Shadow, encoded: dict[str, Any], parent: Shadow | None, root: Shadow, tasks: dict[str, Shadow]
) -> Shadow:
    """A task group with its nested groups, to a limited depth."""
    children: dict[str, Shadow] = {}
    for label, (kind, content) in encoded["children"].items():
        if kind == "taskgroup":
            children[label] = _group(Shadow(), content, group, root, tasks)
        else:
            children[label] = child = tasks.get(content) or Shadow()
            vars(child)["task_group"] = group
    fields = {name: set(value) if isinstance(value, list) else value for name, value in encoded.items()}
    vars(group).update(fields, parent_group=parent, dag=root, children=children, used_group_ids=set(children))
    return group


def _decoded(value: Any) -> Any:
    """A value as deserialising makes it, as far as its weight is concerned: type marks are dropped."""
    if isinstance(value, dict):
        if "__type" in value and "__var" in value:
            return _decoded(value["__var"])
        return {name: _decoded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value
