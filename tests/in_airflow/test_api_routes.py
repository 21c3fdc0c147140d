"""All GET routes and dry runs of real API servers: with the cache they answer what they answer without it."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from dagcache.demo.playground import free_ports
from tests.in_airflow.api_answers import Answer, ask_all, ask_at_once, unlike, varying
from tests.in_airflow.api_requests import (
    Content,
    Request,
    changes,
    dry_runs,
    gets,
    is_about_a_graph,
    of_all_versions,
    request_of,
)
from tests.in_airflow.support import Airflow, answers, scrapes, variables
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.skipif(
    not version("apache-airflow-core").startswith("3.3."), reason="the routes and DAGs are those of Airflow 3.3"
)

FOLDER = Path(__file__).parent
TINY = "110KiB"
"""A budget in which the frozen copies of all DAGs have room, and hardly a live one."""
CLIENTS = 4
CHANGES = 60
"""The number of changes, one after the other, by routes that are not dry runs."""
SUCCESS = {"new_state": "success"}
MAPPED_GROUPS = ("mapped_group", "mapped_nested")
"""The DAGs with mapped groups.

While Airflow works out the relatives of a task, it takes a part of the DAG, and damages the mapped groups of the graph
that the requests share. If two such requests meet, one may be answered with 500, without the cache as well.
"""

REVIEWED_VARIES = {
    "GET /auth/token": {"body.access_token"},
    "GET /auth/token/login": {"headers.set-cookie"},
    "GET /api/v2/auth/logout": {"headers.set-cookie"},
    "GET /ui/grid/runs/{dag_id}": {"body[].duration"},  # of runs that run
    "GET /api/v2/dags/{dag_id}/details": {"body.last_parsed"},  # the moment of this request's load
}
"""By route what differs between two answers of Airflow's own, without the cache."""
NEVER_ANSWERED = {
    "GET /ui/pending_partitioned_dag_run/{dag_id}": "no run waits for a partition",
    "GET /ui/teams": "there are several teams only if that is configured",
    "GET /api/v2/connections/enqueue-test": "it wants the token of a test that was asked for",
    "GET /api/v2/config": "not exposed: it shows the cache's own settings",
    "GET /api/v2/config/section/{section}/option/{option}": "not exposed",
    "GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/externalLogUrl/{try_number}": "none",
    "GET /health": "moved",
    "GET /api/v1/{_:path}": "removed",
    "GET /api/{_:path}": "there is nothing",
}
"""Routes that answer none of the requests with success, and why. Their refusals are compared."""


@dataclass
class Site:
    """A filled database, and the requests."""

    folder: Path
    database: Path
    env: dict[str, str]
    routes: list[dict[str, Any]]
    tokens: dict[str, str]
    requests: list[Request]
    most: list[Request]
    """Those with answers that may depend on a cache, and one of each other route."""
    changes: list[Request]


@dataclass
class Server:
    """The answers and the counts of a running server."""

    base: str
    home: Path
    passes: dict[str, dict[Request, Answer]] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)

    def ask(self, site: Site, request: Request) -> Answer:
        """One answer."""
        return ask_all(self.base, site.tokens, [request])[request]

    def task_states(self) -> dict[str, Any]:
        """All tasks and runs in the database: their states, and their numbers of tries."""
        with closing(sqlite3.connect(self.home / "airflow.db", timeout=60)) as connection:
            tasks = "SELECT dag_id, run_id, task_id, map_index, state, try_number, max_tries FROM task_instance"
            runs = "SELECT dag_id, run_id, state FROM dag_run"
            found = {" ".join(map(str, row[:4])): row[4:] for row in connection.execute(tasks)}
            return found | {" ".join(row[:2]): row[2:] for row in connection.execute(runs)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Built once; each server has a copy of the database."""
    folder = tmp_path_factory.mktemp("api")
    database, told = folder / "filled.db", folder / "requests.json"
    env = variables(folder, f"sqlite:///{database}", mode="enforce") | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER / "api_dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(FOLDER / "api_plugins"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME": "86400",
    }
    command = [sys.executable, "-m", "tests.in_airflow.api_content", str(told)]
    done = subprocess.run(
        command,
        env={**env, "AIRFLOW__DAGCACHE__MODE": "off"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    log = folder / "logs" / "dag_id=mapped_group" / "run_id=scheduled__0" / "task_id=after" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text('{"timestamp": "2026-02-02T00:00:00Z", "event": "a line", "level": "info"}\n')
    known, content = json.loads(told.read_text()), Content(database)
    requests = list(dict.fromkeys([of_all_versions(content), *gets(known["routes"], content), *dry_runs(content)]))
    others = {request.route: request for request in requests}
    most = [each for each in requests if is_about_a_graph(each, known["routes"]) or others[each.route] == each]
    made = changes(content, random.Random(16), CHANGES)
    return Site(folder, database, env, known["routes"], known["tokens"], requests, most, made)


@contextmanager
def serving(site: Site, name: str, **settings: object) -> Iterator[Server]:
    """An API server over a copy of the site's database."""
    home = site.folder / name
    home.mkdir()
    database = shutil.copy(site.database, home / "airflow.db")
    port, metrics = free_ports(2)
    server = Server(f"http://127.0.0.1:{port}", home)
    env = site.env | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}?timeout=60",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": server.base,
        "AIRFLOW__DAGCACHE__METRICS_PORT": str(metrics),
        **{f"AIRFLOW__DAGCACHE__{key.upper()}": str(value) for key, value in settings.items()},
    }
    with Airflow(env, "api-server") as process:
        process.wait_for("the server answers", lambda: answers(env))
        yield server
        assert process.stop(), "the server did not end when it was asked to"


Step = Callable[[Site, Server], None]


def in_turn(name: str, arrange: Callable[[Site], list[Request]]) -> Step:
    """A pass over requests, one after the other."""

    def step(site: Site, server: Server) -> None:
        server.passes[name] = ask_all(server.base, site.tokens, arrange(site))

    return step


def at_once(name: str) -> Step:
    """A pass over most requests by `CLIENTS` in parallel; requests for the same DAG go at the same time.

    Requests that Airflow itself cannot answer at the same time follow, one after the other.
    """

    def step(site: Site, server: Server) -> None:
        requests = sorted(site.most, key=lambda request: (_dag_of(request), request.target))
        apart = [request for request in requests if _damages_its_graph(request)]
        together = [request for request in requests if not _damages_its_graph(request)]
        found = ask_at_once(server.base, site.tokens, together, CLIENTS)
        server.passes[name] = found | ask_all(server.base, site.tokens, apart)

    return step


def _damages_its_graph(request: Request) -> bool:
    return request.method != "GET" and _dag_of(request) in MAPPED_GROUPS


def _all(site: Site) -> list[Request]:
    return site.requests


def _backwards(site: Site) -> list[Request]:
    return site.requests[::-1]


def _most(site: Site) -> list[Request]:
    return site.most


def _shuffled(site: Site) -> list[Request]:
    """No two in a row to the same DAG, mostly: with a tiny budget its graph is frozen by then."""
    return random.Random(1).sample(site.most, len(site.most))


def _dag_of(request: Request) -> str:
    found = re.search(r"(?:/dags/|/calendar/|/ti_summaries/|dag_id=|\"dag_id\": \")(\w+)", str(request))
    return found.group(1) if found else ""


def change(site: Site, server: Server) -> None:
    """First the changes that the test describes, then many more, one by one; the content of the database after."""
    of_run = {"dag_id": "mapped_group", "dag_run_id": "scheduled__0"}
    of_task, of_group = "taskInstances/{task_id}/{map_index}", "taskGroupInstances/{group_id}"
    prefix = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/"
    steps = [
        request_of("PATCH", prefix + of_task, {**of_run, "task_id": "grp.only", "map_index": 0}, body=SUCCESS),
        request_of(
            "PATCH", prefix + of_group, {**of_run, "group_id": "grp"}, body={**SUCCESS, "include_upstream": True}
        ),
    ]
    server.states["before"] = server.task_states()
    server.passes["one task, then its group"] = {request: server.ask(site, request) for request in steps}
    server.states["one task, then its group"] = server.task_states()
    server.passes["many changes"] = {request: server.ask(site, request) for request in site.changes}
    server.states["many changes"] = server.task_states()


def count(_site: Site, server: Server) -> None:
    """Take down what the cache has counted."""
    for scrape in scrapes(server.home).values():
        server.counted = {
            **{tier: scrape.total("dagcache_hits_total", tier=tier) for tier in ("live", "frozen")},
            "missed": scrape.total("dagcache_misses_total"),
            "faults": scrape.total("dagcache_internal_errors_total"),
        }


SERVERS: dict[str, tuple[dict[str, object], tuple[Step, ...]]] = {
    "stock": ({"mode": "off"}, (in_turn("stock", _all), in_turn("stock, backwards", _backwards), change)),
    "cached": ({}, (in_turn("cold", _all), in_turn("warm", _most), at_once("warm, at once"), count, change)),
    "tiny": ({"max_bytes": TINY}, (at_once("cold, at once"), in_turn("thawed", _shuffled), count, change)),
}
"""The settings of each server, and its passes. With the tiny budget nearly every lookup thaws."""
MODES = ("cold", "warm", "warm, at once", "cold, at once", "thawed")


@pytest.fixture(scope="module")
def servers(site: Site) -> dict[str, Server]:
    """All servers, side by side."""

    def run(name: str) -> Server:
        settings, steps = SERVERS[name]
        with serving(site, name, **settings) as server:
            for step in steps:
                step(site, server)
        return server

    with ThreadPoolExecutor(len(SERVERS)) as pool:
        return dict(zip(SERVERS, pool.map(run, SERVERS), strict=True))


@pytest.fixture(scope="module")
def stock(servers: dict[str, Server]) -> dict[Request, Answer]:
    """The answers without the cache."""
    return servers["stock"].passes["stock"]


@pytest.fixture(scope="module")
def varies(servers: dict[str, Server], stock: dict[Request, Answer]) -> dict[str, frozenset[str]]:
    """The differences between two passes without the cache, one of them in the opposite order."""
    return varying([stock, servers["stock"].passes["stock, backwards"]])


def test_every_get_route_and_dry_run_is_called(site: Site) -> None:
    """None is left out."""
    called = {request.route for request in site.requests}
    wanted = {f"{route['method']} {route['path']}" for route in site.routes if route["method"] == "GET" or route["dry"]}
    assert len(wanted) > 100
    assert wanted - called == set()


def test_every_route_answers_with_success_but_for_those_that_are_known(stock: dict[Request, Answer]) -> None:
    """Or the comparison would be one of refusals."""
    answered = {request.route for request, answer in stock.items() if answer.status < 400}
    assert {request.route for request in stock} - answered == set(NEVER_ANSWERED)


def test_what_varies_without_the_cache_is_known(varies: dict[str, frozenset[str]]) -> None:
    unknown = {route: sorted(places - REVIEWED_VARIES.get(route, set())) for route, places in varies.items()}
    assert {route: places for route, places in unknown.items() if places} == {}


@pytest.mark.parametrize("mode", MODES)
def test_the_answers_are_stocks(
    servers: dict[str, Server], stock: dict[Request, Answer], varies: dict[str, frozenset[str]], mode: str
) -> None:
    """Status, headers and bytes."""
    found = next(server.passes[mode] for server in servers.values() if mode in server.passes)
    assert {request.route for request in found} == {request.route for request in stock}
    wrong = unlike(stock, found, varies)
    assert not wrong, f"{len(wrong)} of {len(found)}:\n" + "\n".join(wrong[:20])


def test_airflow_itself_damages_the_mapped_groups_of_a_graph_of_which_it_takes_a_part() -> None:
    """The reason for asking some requests one after the other. If this fails, then all can be asked at once."""
    from airflow.serialization.serialized_objects import DagSerialization

    from tests.in_airflow.api_dags.shapes import mapped_nested

    dag = DagSerialization.from_dict(DagSerialization.to_dict(mapped_nested()))
    second = dag.get_task("outer.inner.second")
    assert [group.group_id for group in second.iter_mapped_task_groups()] == ["outer"]
    dag.partial_subset(["outer.first"], include_downstream=True, include_upstream=False)
    with pytest.raises(ReferenceError):
        next(second.iter_mapped_task_groups())


def test_the_caches_did_what_they_are_there_for(servers: dict[str, Server]) -> None:
    """Most lookups found something; with the tiny budget it was frozen; none met a fault."""
    counted = {name: servers[name].counted for name in ("cached", "tiny")}
    for numbers in counted.values():
        assert numbers, f"no cache in a server: {counted}"
        assert numbers["faults"] == 0, counted
        assert numbers["live"] + numbers["frozen"] > 5 * numbers["missed"], counted
    assert counted["tiny"]["frozen"] > counted["tiny"]["live"] > 0, counted
    for name in counted:
        assert "dagcache failed" not in (servers[name].home / "api-server.log").read_text()


def test_last_parsed_moves_on_with_each_request(servers: dict[str, Server]) -> None:
    """It is the moment at which the answer's own graph was loaded."""
    route = "GET /api/v2/dags/{dag_id}/details"
    for one, other in (
        ("stock", "stock, backwards"),
        ("cold", "warm"),
        ("warm", "warm, at once"),
        ("cold, at once", "thawed"),
    ):
        first, second = (_last_parsed(servers, mode, route) for mode in (one, other))
        assert first.keys() == second.keys(), other
        assert [dag_id for dag_id in first if not first[dag_id] < second[dag_id]] == [], other


def _last_parsed(servers: dict[str, Server], mode: str, route: str) -> dict[str, str]:
    found = next(server.passes[mode] for server in servers.values() if mode in server.passes)
    of_route = {request: answer.parsed["body"] for request, answer in found.items() if request.route == route}
    return {body["dag_id"]: body["last_parsed"] for body in of_route.values() if "last_parsed" in body}


def test_changing_one_task_and_then_its_group_changes_what_is_upstream(servers: dict[str, Server]) -> None:
    """The first change has Airflow take a part of its DAG, which damages the mapped groups of that graph."""
    changed = {
        name: _changed(servers[name], "before", "one task, then its group") for name in ("stock", "cached", "tiny")
    }
    tasks = {" ".join(name.split()[2:]): row[0] for name, row in changed["stock"].items() if len(name.split()) == 4}
    # What is downstream of a task that succeeds is cleared.
    assert tasks == {"before -1": "success", "grp.only 0": "success", "grp.only 1": "success", "after -1": None}
    assert changed["cached"] == changed["stock"]
    assert changed["tiny"] == changed["stock"]


@pytest.mark.parametrize("name", ["cached", "tiny"])
def test_many_changes_come_to_what_they_come_to_without_the_cache(servers: dict[str, Server], name: str) -> None:
    stock, ours = servers["stock"], servers[name]
    told = [[_told(*each) for each in server.passes["many changes"].items()] for server in (stock, ours)]
    assert told[0] == told[1]
    assert sum(status < 300 for _, status, _ in told[0]) > CHANGES / 2
    assert len(_changed(stock, "before", "many changes")) > 20
    assert ours.states["many changes"] == stock.states["many changes"]


def _changed(server: Server, before: str, after: str) -> dict[str, Any]:
    earlier, later = server.states[before], server.states[after]
    return {name: row for name, row in later.items() if row != earlier.get(name)}


def _told(request: Request, answer: Answer) -> tuple[str, int, list[list[Any]]]:
    """The changes, according to the answer."""
    body = answer.parsed["body"]
    changed = body.get("task_instances", []) if isinstance(body, dict) else []
    names = ("dag_run_id", "task_id", "map_index", "state")
    return str(request), answer.status, sorted([str(each[name]) for name in names] for each in changed)
