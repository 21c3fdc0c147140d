"""Requests to an API server: each of its GET routes and dry runs, filled in from a database."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

NOBODY = "no token"
FEW = ("mapped_group", "parameters", "revised")
"""DAGs that routes are tried on that look nothing up in the server's bag."""
GRAPHS = ("mapped_group", "mapped_nested", "mapped_tasks", "nested_groups", "setups", "branching", "revised")
"""DAGs that dry runs are tried on, and routes that look something up in the bag."""
ONLY = {"hitlDetails": ("approval",), "queuedEvents": ("of_both", "revised")}
"""DAGs that routes with these words in their paths are tried on instead."""
TOLD_BY_GRAPHS = ("/dags/{dag_id}", "/details", "/tasks", "/calendar/{dag_id}", "/ti_summaries/{dag_id}")
"""The ends of paths with answers from a DAG's graph: they are tried on all DAGs."""
THOROUGH = (*FEW, "mapped_nested", "nested_groups", "own_timetable")
"""DAGs that routes are tried on with all queries; the others with the first one only."""
PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
CHANGED = ("mapped_group", "mapped_nested", "mapped_tasks", "nested_groups", "setups")
"""DAGs that are changed, for calls that are not dry runs."""
OF_TASKS = "/taskInstances/{task_id}"
LIST = ("", "limit=2&offset=1")
ALL_DAGS = {"dag_id": "~", "dag_run_id": "~"}

QUERIES: dict[str, tuple[str, ...]] = {
    "/ui/partitioned_dag_runs": ("", "dag_id=of_partitions", "has_created_dag_run_id=false"),
    "/ui/pending_partitioned_dag_run/{dag_id}": ("partition_key=2026-02-01",),
    "/ui/dags": ("", "limit=5&order_by=-dag_id", "tags=one", "dag_ids=revised&dag_runs_limit=1", "is_favorite=true"),
    "/ui/dependencies": ("", "node_id=dag:revised", "node_id=asset:1&dependency_type=data"),
    "/ui/dashboard/historical_metrics_data": ("start_date=2026-01-01T00:00:00Z&end_date=2026-03-01T00:00:00Z",),
    "/ui/structure/structure_data": (
        "dag_id={dag_id}",
        "dag_id={dag_id}&external_dependencies=true",
        "dag_id={dag_id}&root={task}&include_upstream=true",
        "dag_id={dag_id}&root={task}&include_downstream=true&depth=1",
        "dag_id={dag_id}&version_number=1",
        "dag_id={dag_id}&version_number=99",
    ),
    "/ui/backfills": ("", "dag_id=nested_groups", "active=true"),
    "/ui/grid/structure/{dag_id}": (
        "",
        "limit=1&offset=1",
        "root={task}&include_upstream=true",
        "root={task}&include_downstream=true&depth=1",
        "state=failed",
    ),
    "/ui/grid/runs/{dag_id}": ("", "limit=1", "state=failed", "order_by=-run_after"),
    "/ui/grid/ti_summaries/{dag_id}": ("run_ids={run}", "run_ids={run}&run_ids={last_run}", "run_ids=no_such_run"),
    "/ui/calendar/{dag_id}": ("", "granularity=hourly&logical_date_gte=2026-02-01T00:00:00Z"),
    "/api/v2/assets": ("", "limit=1", "dag_ids=producer", "only_active=false&order_by=-uri"),
    "/api/v2/assets/events": ("", "source_dag_id=producer&limit=1", "order_by=-timestamp"),
    "/api/v2/backfills": ("dag_id=nested_groups",),
    "/api/v2/connections": ("", "order_by=-conn_type&limit=2", "connection_id_pattern=_1"),
    "/api/v2/dags/{dag_id}/dagRuns": ("", "limit=1&order_by=-run_after&dag_version=1", "cursor="),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait": ("interval=1", "interval=1&result={task}"),
    "/api/v2/dagSources/{dag_id}": ("", "version_number=1"),
    "/api/v2/dagStats": ("", "dag_ids=revised"),
    "/api/v2/dagWarnings": ("", "dag_id=revised", "limit=1&order_by=-dag_id"),
    "/api/v2/dags": (
        "",
        "limit=3&offset=2&order_by=-dag_id",
        "tags=one&tags=two&tags_match_mode=any",
        "owners=analysts",
        "dag_id_pattern=mapped",
        "last_dag_run_state=failed",
        "has_asset_schedule=true",
        "asset_dependency=orders",
        "paused=false",
        "timetable_type=counting_timetable.CountingTimetable",
    ),
    # Dry runs write lines of their own: only what is older is asked for.
    "/api/v2/eventLogs": ("before=2026-03-01T00:00:00Z", "before=2026-03-01T00:00:00Z&dag_id=revised"),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/links": ("", "map_index={map_index}"),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries": ("", "map_index={map_index}"),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key:path}": (
        "map_index={map_index}",
        "map_index={map_index}&deserialize=true",
        "map_index={map_index}&stringify=true",
    ),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances": (
        "task_group_id={group}",
        "limit=2&order_by=-map_index&version_number=1&state=failed",
        "cursor=",
    ),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped": ("", "order_by=-map_index"),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies": ("", "map_index={map_index}"),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}": (
        "map_index={map_index}",
        "map_index={map_index}&full_content=true",
    ),
    "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails": ("", "response_received=true"),
    "/api/v2/dags/{dag_id}/tasks": ("", "order_by=-task_id", "order_by=no_such_column"),
    "/api/v2/dags/{dag_id}/dagVersions": ("", "limit=1&order_by=-version_number"),
    "/api/v2/auth/login": ("", "next=/dags"),
    "/execution/task-instances/count": ("dag_id={dag_id}&task_group_id={group}&run_ids={run}",),
    "/execution/task-instances/states": ("dag_id={dag_id}&task_group_id={group}&run_ids={run}",),
    **{
        f"/api/v2/{name}": LIST
        for name in ("assets/aliases", "importErrors", "jobs", "plugins", "pools", "providers", "variables", "dagTags")
    },
    "/api/v2/assets/{asset_id}/state-store": LIST,
}
"""The queries that a route is tried with, if not only with none; names in braces are filled in like those of paths."""

STATES = ("success", "failed", "skipped")
SOME_INCLUDES = slice(1, 4)
"""Of `INCLUDES`, for DAGs without mapped tasks."""
INCLUDES: tuple[dict[str, bool], ...] = (
    {},
    {"include_upstream": True},
    {"include_downstream": True},
    {"include_past": True},
    {"include_future": True},
    {"include_upstream": True, "include_downstream": True, "include_past": True, "include_future": True},
)


@dataclass(frozen=True)
class Request:
    """One call."""

    route: str
    """The method and the path's template."""
    method: str
    target: str
    """The path, filled in, and the query."""
    body: str | None = None
    ti_id: str | None = None
    """The calling task instance, of the execution API; a placeholder if it is unknown."""

    def __str__(self) -> str:
        return f"{self.method} {self.target}" + (f" {self.body}" if self.body else "")


class Content:
    """The content of a database that requests can name."""

    def __init__(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            self._connection = connection
            self.dag_ids = [row["dag_id"] for row in self._rows("SELECT dag_id FROM dag ORDER BY 1")]
            self._runs = self._rows("SELECT dag_id, run_id FROM dag_run ORDER BY dag_id, id")
            self._tasks = self._rows(
                "SELECT id, dag_id, run_id, task_id, map_index FROM task_instance "
                "ORDER BY dag_id, run_id, task_id, map_index"
            )
            self.singles = {
                "asset_id": self._values("SELECT id FROM asset ORDER BY 1"),
                "asset_alias_id": self._values("SELECT id FROM asset_alias"),
                "backfill_id": self._values("SELECT id FROM backfill"),
                "connection_id": self._values("SELECT conn_id FROM connection ORDER BY 1"),
                "event_log_id": self._values("SELECT id FROM log WHERE dttm < '2026-03-01' ORDER BY 1"),
                "import_error_id": self._values("SELECT id FROM import_error"),
                "pool_name": self._values("SELECT pool FROM slot_pool ORDER BY 1"),
                "variable_key": self._values('SELECT "key" FROM variable ORDER BY 1'),
                "xcom_key": ["return_value", "with/slash", "no_such_key"],
                "key": ["seen", "no_such_key"],
                "version_number": ["1", "99"],
                "section": ["core"],
                "option": ["executor"],
                "rest_of_path": ["", "dags/revised"],
                "_": ["dags"],
            }

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(query)]

    def _values(self, query: str) -> list[str]:
        return [str(value) for row in self._rows(query) for value in row.values()]

    def runs(self, dag_id: str) -> list[str]:
        """The ids of a DAG's runs, the earliest first."""
        return [row["run_id"] for row in self._runs if row["dag_id"] == dag_id]

    def tasks(self, dag_id: str, most: int) -> list[dict[str, Any]]:
        """Some task instances of a DAG's first run: one that is mapped, one in a group, the last, the first."""
        first = self.runs(dag_id)[0]
        found = [row for row in self._tasks if row["dag_id"] == dag_id and row["run_id"] == first]
        mapped = [row for row in found if row["map_index"] == 1]
        grouped = [row for row in found if "." in row["task_id"]]
        chosen = [*mapped[:1], *grouped[:1], *found[-1:], *found[:1]]
        return [row for number, row in enumerate(chosen) if row not in chosen[:number]][:most]

    def groups(self, dag_id: str) -> list[str]:
        """The ids of a DAG's task groups, as far as its tasks' ids show them."""
        found = {row["task_id"].rpartition(".")[0] for row in self._tasks if row["dag_id"] == dag_id}
        return sorted(found - {""})


def gets(routes: list[dict[str, Any]], content: Content) -> Iterator[Request]:
    """Each GET route, with each query, for several things; also for a DAG that there is not."""
    for route in routes:
        if route["method"] == "GET":
            template = route["path"]
            queries = QUERIES.get(template, ("",))
            for names in _fillings(route, content):
                thorough = names.get("dag_id", FEW[0]) in THOROUGH
                for query in queries if thorough else queries[:1]:
                    yield request_of("GET", template, names, query)
            if template.startswith("/api/v2/dags/{dag_id}"):
                absent = dict.fromkeys(PARAMETER.findall(template), "1") | {"dag_id": "no_such_dag"}
                yield request_of("GET", template, absent, "")


def is_about_a_graph(request: Request, routes: list[dict[str, Any]]) -> bool:
    """Whether a route looks something up in the server's bag, or is a dry run."""
    about = {f"{route['method']} {route['path']}" for route in routes if route["uses_bag"] or route["dry"]}
    return request.route in about


def of_all_versions(content: Content) -> Request:
    """One that looks up each version of the DAG that has several."""
    query = "&".join(f"run_ids={run}" for run in content.runs("revised"))
    return request_of("GET", "/ui/grid/ti_summaries/{dag_id}", {"dag_id": "revised"}, query)


def _fillings(route: dict[str, Any], content: Content) -> Iterator[dict[str, Any]]:
    """Values for the names in a path, and for those in the queries."""
    names = PARAMETER.findall(route["path"])
    if _is_of_a_dag(route, names):
        yield from _of_dags(route, names, content)
        return
    values = [content.singles[name] for name in names]
    assert all(values), f"nothing to fill {route['path']} with"
    yield from (dict(zip(names, each, strict=True)) for each in itertools.product(*values))


def _is_of_a_dag(route: dict[str, Any], names: list[str]) -> bool:
    wanted = {"dag_id", "task_instance_id"}
    return bool(wanted.intersection(names)) or any("{dag_id}" in query for query in QUERIES.get(route["path"], ()))


def _of_dags(route: dict[str, Any], names: list[str], content: Content) -> Iterator[dict[str, Any]]:
    of_tasks = not {"task_id", "task_instance_id"}.isdisjoint(names)
    for dag_id in _dags_for(route, content):
        tasks = content.tasks(dag_id, 2 if of_tasks and (route["uses_bag"] or dag_id in ONLY["hitlDetails"]) else 1)
        runs, groups = content.runs(dag_id), content.groups(dag_id) or ["no_such_group"]
        for task in tasks:
            known = {
                **{name: values[0] for name, values in content.singles.items()},
                **{name: task[name] for name in ("dag_id", "task_id", "map_index", "run_id")},
                "dag_run_id": task["run_id"],
                "task_instance_id": _as_uuid(task["id"]),
                "try_number": 1,
                "task_try_number": 1,
                "task": tasks[-1]["task_id"],
                "run": task["run_id"],
                "last_run": runs[-1],
                "group": groups[-1],
            }
            several = [name for name in names if name in ("xcom_key", "key", "version_number")]
            for values in itertools.product(*(content.singles[name] for name in several)):
                yield known | dict(zip(several, values, strict=True))


def _dags_for(route: dict[str, Any], content: Content) -> Sequence[str]:
    for part, dag_ids in ONLY.items():
        if part in route["path"]:
            return dag_ids
    if route["path"].endswith(TOLD_BY_GRAPHS):
        return content.dag_ids
    if route["uses_bag"]:
        return (*GRAPHS, "parameters", "producer")
    return THOROUGH if "structure" in route["path"] else FEW


def _as_uuid(text: str) -> str:
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def request_of(method: str, template: str, names: dict[str, Any], query: str = "", body: Any = None) -> Request:
    """A call, its path and query filled in."""
    path = PARAMETER.sub(
        lambda found: quote(str(names[found.group(1)]), safe="/" if ":path" in found.group() else ""), template
    )
    filled = PARAMETER.sub(lambda found: quote(str(names[found.group(1)])), query)
    text = None if body is None else json.dumps(body)
    caller = names.get("task_instance_id") if template.startswith("/execution") else None
    if template == "/api/v2/auth/logout":  # it would end the session of all that follows
        caller = NOBODY
    return Request(f"{method} {template}", method, f"{path}?{filled}" if filled else path, text, caller)


def dry_runs(content: Content) -> Iterator[Request]:
    """Dry runs of changes: of tasks, groups, runs and backfills, with all that can be included."""
    for dag_id in GRAPHS:
        for task in content.tasks(dag_id, 2):
            yield from _dry_runs_of_a_task(task)
        for number, group in enumerate(content.groups(dag_id)):
            names = {"dag_id": dag_id, "dag_run_id": content.runs(dag_id)[0], "group_id": group}
            template = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}/dry_run"
            for include in INCLUDES[number % 2 :]:
                yield request_of("PATCH", template, names, body={"new_state": STATES[number % 3], **include})
    yield from _dry_runs_of_runs(content)
    yield from _dry_runs_of_backfills()
    for name in ("dagRuns", "dagRuns/{dag_run_id}/taskInstances"):
        for body in ({}, {"page_limit": 3, "order_by": "-id" if name == "dagRuns" else "-map_index"}):
            yield request_of("POST", f"/api/v2/dags/{{dag_id}}/{name}/list", ALL_DAGS, body=body)


def _dry_runs_of_a_task(task: dict[str, Any]) -> Iterator[Request]:
    names = {**task, "dag_run_id": task["run_id"]}
    of_task = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}" + OF_TASKS
    clear = "/api/v2/dags/{dag_id}/clearTaskInstances"
    mapped = task["map_index"] >= 0
    for number, include in enumerate(INCLUDES if "mapped" in task["dag_id"] else INCLUDES[SOME_INCLUDES]):
        change = {"new_state": STATES[number % 3], **include}
        if number % 2 or not mapped:
            yield request_of("PATCH", of_task + "/dry_run", names, "map_index={map_index}" if mapped else "", change)
        else:
            yield request_of("PATCH", of_task + "/{map_index}/dry_run", names, body=change)
        marker = [task["task_id"], task["map_index"]] if mapped and number % 2 else task["task_id"]
        of_run = {"dag_run_id": task["run_id"], "task_ids": [marker], "only_failed": False, **include}
        yield request_of("POST", clear, names, body=of_run)
    for include in INCLUDES[1:3]:
        of_all = {"task_ids": [task["task_id"]], "only_failed": False, "start_date": "2026-01-01T00:00:00Z", **include}
        yield request_of("POST", clear, names, body=of_all)


def _dry_runs_of_runs(content: Content) -> Iterator[Request]:
    for dag_id in ("mapped_group", "setups", "revised"):
        runs = content.runs(dag_id)
        names = {"dag_id": dag_id, "dag_run_id": runs[0]}
        for more in ({}, {"only_failed": True}, {"only_new": True}, {"run_on_latest_version": True}):
            yield request_of(
                "POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", names, body={"dry_run": True, **more}
            )
            several = {"dag_runs": [{"dag_run_id": run, "dag_id": dag_id} for run in runs], "dry_run": True, **more}
            yield request_of("POST", "/api/v2/dags/{dag_id}/clearDagRuns", names, body=several)
        body = {"run_id": runs[0], "clear_task_instances": True, "dry_run": True}
        yield request_of("POST", "/api/v2/dags/{dag_id}/clearPartitions", names, body=body)


def _dry_runs_of_backfills() -> Iterator[Request]:
    span = {"from_date": "2026-02-01T00:00:00Z", "to_date": "2026-02-07T00:00:00Z"}
    for dag_id in (
        "nested_groups",
        "cron_interval",
        "cron_several",
        "delta_trigger",
        "events",
        "own_timetable",
        "once",
    ):
        for more in ({}, {"run_backwards": True, "reprocess_behavior": "completed"}):
            body = {"dag_id": dag_id, **span, **more}
            yield request_of("POST", "/api/v2/backfills/dry_run", {}, body=body)


def changes(content: Content, random_: Random, count: int) -> list[Request]:
    """Calls that are not dry runs: of tasks, groups and runs, with anything included."""
    run = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"
    made: list[Request] = []
    while len(made) < count:
        dag_id = random_.choice(CHANGED)
        task = random_.choice(content.tasks(dag_id, 4))
        group = random_.choice(content.groups(dag_id) or [""])
        names = {**task, "dag_run_id": random_.choice(content.runs(dag_id)[:2]), "group_id": group}
        include = random_.choice(INCLUDES)
        change = {"new_state": random_.choice(STATES), **include}
        clear = {"dry_run": False, "dag_run_id": names["dag_run_id"], "task_ids": [task["task_id"]], **include}
        kinds = {
            "task": ("PATCH", run + OF_TASKS, change),
            "mapped": ("PATCH", run + OF_TASKS + "/{map_index}", change),
            "group": ("PATCH", run + "/taskGroupInstances/{group_id}", change),
            "clear": ("POST", "/api/v2/dags/{dag_id}/clearTaskInstances", {**clear, "only_failed": False}),
        }
        kind = random_.choice([name for name in kinds if group or name != "group"])
        method, template, body = kinds[kind]
        request = request_of(method, template, names, body=body)
        if request not in made:
            made.append(request)
    return made
