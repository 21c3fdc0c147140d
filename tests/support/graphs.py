"""Synthetic DAGs in the shape of deserialised ones: cyclic, full of small strings, about 6 KB per task.

``make_dag`` builds one, ``as_json`` and ``from_json`` are its slow way through a database column, and
``SHARED`` lists what all DAGs of a process have in common.
"""

from __future__ import annotations

import json
import random
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

Json = dict[str, Any]


class Dep:
    """A scheduling rule: a process-wide singleton, compared by type."""

    __slots__ = ("ignorable", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ignorable = name.startswith("not")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dep) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class Zone(tzinfo):
    """A time zone that, as in most libraries, exists once per process."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        """No offset."""
        return timedelta(0)

    def dst(self, dt: datetime | None) -> timedelta:
        """No summer time."""
        return timedelta(0)

    def tzname(self, dt: datetime | None) -> str:
        """The name."""
        return "UTC"


SHARED_DEPS = frozenset(Dep(name) for name in ("not-running", "not-skipped", "retry-period", "trigger", "mapped"))
SHARED_OWNERS: list[str] = []
SHARED_LINKS: list[str] = []
SHARED_ZONE = Zone()
SHARED_DELAY = timedelta(seconds=300)
SHARED: tuple[object, ...] = (
    SHARED_DEPS,
    *SHARED_DEPS,
    SHARED_OWNERS,
    SHARED_LINKS,
    SHARED_ZONE,
    SHARED_DELAY,
)


class Param:
    """A parameter: a class without an instance dict."""

    __slots__ = ("__weakref__", "default", "description", "schema")

    def __init__(self, default: object, description: str, schema: Json) -> None:
        self.default = default
        self.description = description
        self.schema = schema


class Asset:
    """An input or output of a task: few attributes, inline in the instance where the interpreter supports it."""

    def __init__(self, uri: str, extra: Json) -> None:
        self.uri = uri
        self.name = uri.rpartition("/")[2]
        self.group = "asset"
        self.extra = extra


class Group:
    """A node of the tree of groups: strong references down and up, a weak proxy from each task."""

    def __init__(self, group_id: str, parent: Group | None, dag: Dag) -> None:
        self.group_id = group_id
        self.parent_group = parent
        self.dag = dag
        self.children: dict[str, Task | Group] = {}
        self.tooltip = f"tooltip of {group_id}"
        self.prefix_group_id = True
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        self.used_group_ids: set[str] = {group_id}
        if parent is not None:
            parent.children[group_id] = self


class Task:
    """A task with about 40 attributes, set one by one from its JSON."""

    dag: Dag
    task_group: Group
    task_id: str
    upstream_task_ids: set[str]
    downstream_task_ids: set[str]
    params: dict[str, Param]
    template_dict: Json
    outlets: list[Asset]
    deps: frozenset[Dep]


class Dag:
    """The root: every task and every group points back at it."""

    def __init__(self, dag_id: str, zone: tzinfo = SHARED_ZONE) -> None:
        self.dag_id = dag_id
        self.timezone = zone
        self.task_dict: dict[str, Task] = {}
        self.task_group = Group("root", None, self)
        self.start_date = datetime(2026, 1, 1, tzinfo=zone)
        self.tags = {"synthetic", dag_id}
        self.default_args: Json = {"owner": "data", "retries": 2, "retry_delay": SHARED_DELAY}
        self.params = {"region": Param("eu", "where it runs", {"type": "string", "enum": ["eu", "us"]})}
        self.owners = SHARED_OWNERS
        self.doc_md = f"# {dag_id}\n\nA synthetic DAG."
        self.fileloc = f"/opt/dags/{dag_id}.py"
        self.catchup = False


_FIXED: Json = {
    "_task_module": "operators.bash",
    "_is_mapped": False,
    "_needs_expansion": False,
    "_is_setup": False,
    "_is_teardown": False,
    "start_trigger_args": None,
    "template_fields": ["bash_command", "env", "cwd"],
    "ui_color": "#f0ede4",
    "weight_rule": "downstream",
    "trigger_rule": "all_success",
    "depends_on_past": False,
    "ignore_first_depends_on_past": True,
    "do_xcom_push": True,
    "multiple_outputs": False,
    "has_on_failure_callback": False,
    "has_on_success_callback": False,
    "inlets": [],
    "pool": "default_pool",
}
"""The parts of every task, equal but not shared: each load makes its own."""


def _task_json(task_id: str, group: str, rng: random.Random) -> Json:
    word = f"{rng.getrandbits(40):010x}"
    return _FIXED | {
        "task_id": task_id,
        "label": task_id.rpartition(".")[2],
        "group": group,
        "owner": f"team-{rng.randrange(1000)}",
        "bash_command": f"run --job {word} --shard {rng.randrange(10_000)} --date '{{{{ ds }}}}'",
        "env": {f"VAR_{i}_{rng.randrange(100)}": f"{word}-{i}" for i in range(rng.randrange(2, 6))},
        "template_dict": {
            "path": f"s3://bucket/{word}",
            "parts": [f"{word}/{i}" for i in range(rng.randrange(1, 5))],
        },
        "retries": rng.randrange(1, 500),
        "pool_slots": 1 + rng.randrange(3),
        "priority_weight": rng.randrange(300, 2000),
        "start_date": {"__type": "datetime", "__var": 1.76e9 + rng.randrange(10**7)},
        "execution_timeout": {"__type": "timedelta", "__var": float(rng.randrange(600, 9000))},
        "max_retry_delay": {"__type": "timedelta", "__var": float(rng.randrange(60, 600))},
        "params": {
            f"p{i}": {
                "__type": "param",
                "__var": {"default": rng.randrange(10**6), "description": f"{word} {i}"},
            }
            for i in range(rng.randrange(3))
        },
        "outlets": [{"__type": "asset", "__var": {"uri": f"s3://lake/{word}", "extra": {"owner": word}}}],
        "upstream": [],
        "doc_md": f"Task **{task_id}** does {word}." if rng.random() < 0.3 else None,
    }


def make_json(tasks: int, seed: int = 0, *, dag_id: str | None = None, groups: int | None = None) -> Json:
    """The JSON form of a DAG of ``tasks`` tasks with random edges; equal arguments give equal JSON."""
    rng = random.Random(f"{seed}/{tasks}")
    dag_id = dag_id or f"dag_{seed}_{tasks}"
    paths = ["root", *(f"g{i}" for i in range(tasks // 15 if groups is None else groups))]
    children = [_task_json(f"{rng.choice(paths)}.task_{i}", "", rng) for i in range(tasks)]
    for i, task in enumerate(children):
        task["group"] = task["task_id"].partition(".")[0]
        known = children[max(0, i - 8) : i]
        task["upstream"] = sorted({rng.choice(known)["task_id"] for _ in range(2)}) if known else []
    nested = {path: paths[rng.randrange(i)] for i, path in enumerate(paths) if i}
    return {"dag_id": dag_id, "groups": nested, "tasks": children}


def make_dag(tasks: int, seed: int = 0, *, dag_id: str | None = None, groups: int | None = None) -> Dag:
    """A synthetic deserialised DAG. Only the objects in ``SHARED`` have references from outside.

    ``seed`` varies its strings, sizes and edges; ``groups`` defaults to one per 15 tasks.
    """
    return from_json(json.dumps(make_json(tasks, seed, dag_id=dag_id, groups=groups)))


_DECODERS: Mapping[str, Callable[[Any], object]] = {
    "datetime": lambda var: datetime.fromtimestamp(var, tz=SHARED_ZONE),
    "timedelta": lambda var: timedelta(seconds=var),
    "param": lambda var: Param(var["default"], var["description"], {"type": "integer"}),
    "asset": lambda var: Asset(var["uri"], _decode(var["extra"])),
}


def _decode(value: Any) -> Any:
    """Decode by type tags, level by level, as serialisation libraries do."""
    if isinstance(value, dict):
        if "__type" in value:
            return _DECODERS[value["__type"]](value["__var"])
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value


def _check(name: str, value: object) -> None:
    """Stand in for the schema validation that loading does for every field."""
    if not name.isidentifier() or isinstance(value, (bytes, complex)):
        raise ValueError(f"{name} = {value!r} is not a field of a task")


def _load_task(encoded: Json, dag: Dag, groups: Mapping[str, Group]) -> Task:
    task = Task()
    group = groups[encoded["group"]]
    for name, value in encoded.items():
        _check(name, value)
        if name not in ("group", "upstream"):
            setattr(task, name, _decode(value))
    task.upstream_task_ids = set(encoded["upstream"])
    task.downstream_task_ids = set()
    task.deps = SHARED_DEPS
    task.__dict__.update(retry_delay=SHARED_DELAY, operator_extra_links=SHARED_LINKS)
    task.dag = dag
    task.task_group = weakref.proxy(group)
    group.children[task.task_id] = task
    return task


def from_json(text: str) -> Dag:
    """Build a DAG the slow way, from the text that ``as_json`` gives; several times the cost of a thaw."""
    encoded = json.loads(text)
    dag = Dag(encoded["dag_id"])
    groups = {"root": dag.task_group}
    for path, parent in encoded["groups"].items():
        groups[path] = Group(path, groups[parent], dag)
    for item in encoded["tasks"]:
        task = _load_task(item, dag, groups)
        dag.task_dict[task.task_id] = task
    for task in dag.task_dict.values():
        for upstream in task.upstream_task_ids:
            dag.task_dict[upstream].downstream_task_ids.add(task.task_id)
    return dag


def _encode(value: object) -> Any:
    if isinstance(value, datetime):
        return {"__type": "datetime", "__var": value.timestamp()}
    if isinstance(value, timedelta):
        return {"__type": "timedelta", "__var": value.total_seconds()}
    if isinstance(value, Param):
        return {"__type": "param", "__var": {"default": value.default, "description": value.description}}
    if isinstance(value, Asset):
        return {"__type": "asset", "__var": {"uri": value.uri, "extra": value.extra}}
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    return value


_LINKS = {"dag", "task_group", "upstream_task_ids", "downstream_task_ids"}
_DERIVED = _LINKS | {"deps", "retry_delay", "operator_extra_links"}


def _task_as_json(task: Task) -> Json:
    # A task has more attributes than interpreters keep in the instance: vars() does not make it heavier.
    fields = {name: _encode(value) for name, value in vars(task).items() if name not in _DERIVED}
    return {**fields, "group": task.task_group.group_id, "upstream": sorted(task.upstream_task_ids)}


def as_json(dag: Dag) -> str:
    """The text from which ``from_json`` builds an equal DAG."""
    nested: dict[str, str] = {}
    pending = [dag.task_group]
    for group in pending:
        for child in group.children.values():
            if isinstance(child, Group):
                nested[child.group_id] = group.group_id
                pending.append(child)
    tasks = [_task_as_json(task) for task in dag.task_dict.values()]
    return json.dumps({"dag_id": dag.dag_id, "groups": nested, "tasks": tasks})
