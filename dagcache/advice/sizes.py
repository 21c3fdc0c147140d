"""What a DAG will weigh in the cache, live and frozen, told from its serialised form, without Airflow.

The JSON is made into a *shadow*: a graph of the shape that deserialising gives it, with stand-ins for Airflow's
classes. It refers to itself as a DAG does, its sets and strings are the real ones, and so weighing and pickling the
shadow follows this Python's own rules of allocation. What Airflow adds to each task is left to a few constants.

The constants are fitted on one half of Airflow's example DAGs and of a playground's generated ones; `python -m
benchmarks.advice --sizes` fits them anew and judges them on the other half and on DAGs of another kind.
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

# live = DAG + task * tasks + weight * shadow's weight. Of thawed copies: most live copies of a full cache are such.
_LIVE_DAG, _LIVE_TASK, _LIVE_WEIGHT = 1670.0, 315.0, 0.943
# frozen = DAG + mapped task * count + deflated * shadow's deflated pickle
_FROZEN_DAG, _FROZEN_MAPPED, _FROZEN_DEFLATED = 200.0, 85.0, 1.028


class Shadow:
    """Stands for a DAG, a task or a group."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is told from a serialised DAG."""

    tasks: int
    mapped: int
    shadow_bytes: int
    deflated_bytes: int


@dataclass(frozen=True, slots=True)
class Size:
    """What a version will take, in bytes, and what bringing it back will take, in seconds on this machine."""

    live_bytes: int
    frozen_bytes: int
    tasks: int
    load_seconds: float
    thaw_seconds: float

    @property
    def frozen_cost(self) -> int:
        """What it takes of a budget while it is frozen only."""
        return self.frozen_bytes + ENTRY_OVERHEAD

    @property
    def full_cost(self) -> int:
        """What it takes of a budget with both copies."""
        return self.frozen_cost + self.live_bytes + LIVE_OVERHEAD

    def scaled(self, factor: float) -> Size:
        """The size of a version of the same DAG whose payload is so many times as long."""
        return Size(
            round(self.live_bytes * factor),
            round(self.frozen_bytes * factor),
            round(self.tasks * factor),
            self.load_seconds * factor,
            self.thaw_seconds * factor,
        )


def features(payload: dict[str, Any], dictionary: Dictionary | None = None) -> Features:
    """Weigh a parsed payload's shadow; equal strings in the payload are one afterwards.

    ``dictionary``: of the shadows seen so far, as a cache has one of the values that it has frozen.

    Raises:
        ValueError: it is no serialised DAG.

    """
    with gc_paused():
        share_strings(payload)  # as the cache's own loading does
        shadow = _shadow(payload)
        pickled = pickle.dumps(shadow, 5)  # before weighing: it leaves UTF-8 on strings beyond ASCII, as freezing does
        tasks = [vars(task) for task in vars(shadow)["task_dict"].values()]
        return Features(
            tasks=len(tasks),
            mapped=sum(1 for task in tasks if task.get("_is_mapped")),
            shadow_bytes=weigh(shadow).nbytes,
            deflated_bytes=deflated(pickled, dictionary.words_for(pickled) if dictionary else b"", LEVEL),
        )


def live_bytes(found: Features) -> int:
    """What a thawed graph weighs in a scheduler's cache."""
    return round(_LIVE_DAG + _LIVE_TASK * found.tasks + _LIVE_WEIGHT * found.shadow_bytes)


def frozen_bytes(found: Features) -> int:
    """What its frozen form weighs."""
    return round(_FROZEN_DAG + _FROZEN_MAPPED * found.mapped + _FROZEN_DEFLATED * found.deflated_bytes)


# Seconds on the machine where they were measured, CPython 3.11: a constant, and per byte of the shadow.
_LOAD = (1.2e-3, 2.27e-8)
_THAW = (1.2e-4, 1.65e-9)
_STEP_SECONDS = 1.0e-3


class Speed:
    """How fast this machine is, beside the one on which the constants were measured."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def size(self, found: Features) -> Size:
        """All that is predicted of a version."""
        return Size(
            live_bytes(found),
            frozen_bytes(found),
            found.tasks,
            self.factor * _linear(_LOAD, found),
            self.factor * _linear(_THAW, found),
        )


def measure_speed(timer: Callable[[], float] = time.process_time, rounds: int = 200) -> Speed:
    """Time a piece of work of the kind that loading and thawing are, for some tenths of a second of CPU time.

    So it does not matter what else the machine is busy with; a busy scheduler will take longer than is predicted.
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
    """A task group; its own groups are entered, as many levels as a person would write."""
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
    """What deserialising makes of a value, as far as its weight goes: the mark of a type is not kept."""
    if isinstance(value, dict):
        if "__type" in value and "__var" in value:
            return _decoded(value["__var"])
        return {name: _decoded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value
