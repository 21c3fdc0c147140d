"""Real API servers: their answers are the same with and without the cache."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dagcache.demo.playground import free_ports
from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.support import Airflow, answers, fetch, scrapes, variables

AIRFLOW = Path(str(importlib.metadata.distribution("apache-airflow-core").locate_file("airflow")))
DAG_IDS = ("linear_000", "branching_001", "failing_002", "mapped_003")


class Client:
    """Asks an API server as its user interface does."""

    def __init__(self, env: dict[str, str]) -> None:
        self._base = env["AIRFLOW__API__BASE_URL"]
        self._token = json.loads(fetch(f"{self._base}/auth/token"))["access_token"]

    def tasks(self, dag_id: str) -> bytes:
        """The tasks of a DAG's newest version."""
        return self._get(f"/api/v2/dags/{dag_id}/tasks")

    def past_the_bag(self, dag_id: str) -> list[bytes]:
        """Pages whose DAG Airflow builds from a row."""
        return [self._get(f"/ui/grid/structure/{dag_id}"), self._get(f"/ui/structure/structure_data?dag_id={dag_id}")]

    def _get(self, target: str) -> bytes:
        return fetch(f"{self._base}{target}", {"Authorization": f"Bearer {self._token}"})


@contextmanager
def serving(env: dict[str, str], *options: str) -> Iterator[Client]:
    """An API server that runs, and a client of it."""
    with Airflow(env, "api-server", *options) as server:
        server.wait_for("the server answers", lambda: answers(env))
        yield Client(env)
        assert server.stop(), "the server did not end when it was asked to"


def counted(home: Path, name: str) -> float:
    """A metric's sum over all processes."""
    return sum(scrape.total(name, component="api_server") for scrape in scrapes(home).values())


def test_the_second_request_reads_no_payload_and_the_answers_are_stocks(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Byte for byte."""
    env = variables(tmp_path, make_database("sqlite"))
    with serving(env) as client:
        first = [client.tasks(dag_id) for dag_id in DAG_IDS]
        assert counted(tmp_path, "dagcache_misses_total") == len(DAG_IDS)
        assert counted(tmp_path, "dagcache_hits_total") == 0
        second = [client.tasks(dag_id) for dag_id in DAG_IDS]
        assert counted(tmp_path, "dagcache_misses_total") == len(DAG_IDS)
        assert counted(tmp_path, "dagcache_hits_total") == len(DAG_IDS)
        pages = [client.past_the_bag(dag_id) for dag_id in DAG_IDS]
        assert counted(tmp_path, "dagcache_misses_total") == len(DAG_IDS)
        assert len(DAG_IDS) <= counted(tmp_path, "dagcache_hits_total") <= 3 * len(DAG_IDS)  # not of small DAGs
        with pytest.raises(urllib.error.HTTPError, match="404"):
            client.tasks("no_such_dag")
    assert scrapes(tmp_path) == {}
    with serving(env | {"AIRFLOW__DAGCACHE__MODE": "off"}) as client:
        stock = [client.tasks(dag_id) for dag_id in DAG_IDS]
        pages_of_stock = [client.past_the_bag(dag_id) for dag_id in DAG_IDS]
        assert scrapes(tmp_path) == {}
    assert first == second == stock
    assert pages == pages_of_stock
    assert all(len(answer) > 1000 for answer in stock)


GUNICORN = pytest.param(
    "gunicorn",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("gunicorn") is None or not (AIRFLOW / "api_fastapi" / "gunicorn_app.py").exists(),
        reason="this Airflow has no gunicorn server",
    ),
)
UVICORN = pytest.param("uvicorn", marks=pytest.mark.soak)


@pytest.mark.parametrize("server_type", [GUNICORN, UVICORN])
def test_each_of_two_workers_has_its_own_cache_and_endpoint(
    server_type: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """And reads each version once, however the requests are spread."""
    first = free_ports(1)[0]
    env = variables(tmp_path, make_database("sqlite"), metrics_port=f"{first}-{first + 9}")
    env |= {"AIRFLOW__API__WORKERS": "2", "AIRFLOW__API__SERVER_TYPE": server_type}
    with serving(env) as client:
        answers = [client.tasks(DAG_IDS[0]) for _ in range(20)]
        assert len(set(answers)) == 1
        workers = [scrape for scrape in scrapes(tmp_path).values() if scrape.total("dagcache_misses_total")]
        assert 1 <= len(workers) <= 2
        assert [worker.total("dagcache_misses_total") for worker in workers] == [1.0] * len(workers)
        assert counted(tmp_path, "dagcache_hits_total") == len(answers) - len(workers)


def test_the_command_lines_number_of_workers_shares_the_budget(make_database: MakeDatabase, tmp_path: Path) -> None:
    """Three of uvicorn's have a third each, though ``[api] workers`` says one."""
    check_shares(
        variables(tmp_path, make_database("sqlite"), metrics_port=three_ports(), max_bytes="25%", memory_limit="4GiB"),
        of_three=3,
    )


@pytest.mark.parametrize("server_type", [GUNICORN])
def test_gunicorns_workers_share_the_budget_too(server_type: str, make_database: MakeDatabase, tmp_path: Path) -> None:
    """The master builds the bag for them; those that have loaded nothing yet have no endpoint."""
    env = variables(tmp_path, make_database("sqlite"), metrics_port=three_ports(), max_bytes="25%", memory_limit="4GiB")
    check_shares(env | {"AIRFLOW__API__SERVER_TYPE": server_type}, of_three=1)


def three_ports() -> str:
    """A range that is likely to be free."""
    first = free_ports(1)[0]
    return f"{first}-{first + 9}"


def check_shares(env: dict[str, str], of_three: int) -> None:
    """Start an API server of three workers, and read from at least so many what their budget is."""
    assert env["AIRFLOW__API__WORKERS"] == "1"
    home = Path(env["AIRFLOW_HOME"])
    with Airflow(env, "api-server", "--workers", "3") as server:
        server.wait_for("the server answers", lambda: answers(env))
        client = Client(env)

        def told() -> list[float | None]:
            client.tasks(DAG_IDS[0])
            return [scrape.value("dagcache_max_bytes", component="api_server") for scrape in scrapes(home).values()]

        budgets = server.wait_for("the workers are announced", lambda: told() if len(told()) >= of_three else [])
        assert set(budgets) == {float(2**30 // 3)}
        assert server.stop(), "the server did not end when it was asked to"
    # Uvicorn's workers end by a signal, which runs no finaliser.
    assert not list((home / "dagcache" / "targets").glob("*.json"))
