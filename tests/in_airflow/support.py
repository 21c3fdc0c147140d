"""Real Airflow processes and databases, for the tests beside this file. Imports nothing of Airflow until it is used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, final
from uuid import UUID

import pytest

from dagcache.airflow.bootstrap import SITES, install
from dagcache.airflow.hook import BAG_NAMES
from dagcache.demo.playground import environment, free_ports
from dagcache.metrics.scrape import Scrape, scrape
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

T = TypeVar("T")

DAGS = Path(__file__).parent / "dags"
BUNDLE = "dags-folder"
CORRUPT: dict[str, dict[str, Any]] = {
    "neither column": {"_data": None, "_data_compressed": None},
    "no zlib": {"_data": None, "_data_compressed": b"not compressed"},
    "zlib of no JSON": {"_data": None, "_data_compressed": zlib.compress(b'{"dag": ')},
    "half of the zlib": {"_data": None, "_data_compressed": zlib.compress(json.dumps({"dag": {}}).encode())[:-6]},
    "a text that is not JSON": {"_data": '{"dag": '},
    "no keys": {"_data": {"__version": 3}},
    "an unknown version": {"_data": {"__version": 99, "dag": {}}},
    "a list": {"_data": [1, 2]},
}
"""Unreadable rows of serialised DAGs, by their fault."""
_PREPARE = """
from airflow.cli.cli_parser import get_parser
for words in (["db", "migrate"], ["dags", "reserialize"]):
    parsed = get_parser().parse_args(words)
    parsed.func(parsed)
"""


def variables(home: Path, url: str, **dagcache_settings: object) -> dict[str, str]:
    """The environment of processes that use a home and a database, and the DAGs beside this file."""
    home.mkdir(parents=True, exist_ok=True)
    settings = {"metrics_host": "127.0.0.1", "metrics_port": free_ports(1)[0], **dagcache_settings}
    return environment(home, url, examples=False, **settings) | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",  # Airflow's answers hold lists made of sets
        "AIRFLOW__CORE__EXECUTOR": "tests.in_airflow.local.EndingExecutor",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(DAGS.with_name("plugins")),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__SCHEDULER__MAX_DAGRUNS_TO_CREATE_PER_LOOP": "100",
    }


def prepare(home: Path, url: str) -> None:
    """Build Airflow's tables in an empty database, and write the DAGs beside this file into them."""
    run_python(_PREPARE, variables(home, url, mode="off"))


def run_python(code: str, env: dict[str, str]) -> str:
    """Run a piece of code in a process of its own and return all that it wrote.

    Raises:
        AssertionError: it failed, or took too long.

    """
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=env["AIRFLOW_HOME"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"not done in {PATIENCE} s: {str(error.stdout)[-4000:]}") from error
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@final
class Airflow:
    """One of Airflow's own commands, running: ``with Airflow(env, "scheduler") as scheduler``."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        self.home = Path(env["AIRFLOW_HOME"])
        self._env = env
        self._arguments = arguments
        self._log = self.home / f"{arguments[0]}.log"

    def __enter__(self) -> Airflow:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *self._arguments],
                env=self._env,
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text()

    def stop(self) -> bool:
        """End it, with all that it leaves behind; whether it ended on request.

        It is asked twice: Airflow's handler raises SystemExit, which is lost if it strikes in a finaliser.
        """
        went = self._process.poll() is not None
        for _ in range(2):
            if not went:
                self._process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(PATIENCE)
                    went = True
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        else:
            self._process.wait(PATIENCE)
        return went

    def kill(self) -> None:
        """End it as a crash does: it can do nothing more."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    def wait_for_end(self) -> None:
        """Wait until the process ends by itself; AssertionError if it does not."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self._arguments[0]} did not end: {self.log[-4000:]}") from error

    def wait_for(self, what: str, happened: Callable[[], T]) -> T:
        """Wait until something has happened, and return the evidence.

        Raises:
            AssertionError: it did not, or the process ended.

        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            result = happened()
            if result:
                return result
            time.sleep(0.1)
        raise AssertionError(f"{what}: did not happen; {self._arguments[0]} says: {self.log[-4000:]}")


def scrapes(home: Path) -> dict[int, Scrape]:
    """The metrics of each process that is announced below a home, by its id."""
    found = {}
    for path in (home / "dagcache" / "targets").glob("*.json"):
        with suppress(FileNotFoundError):  # a process withdraws its announcement when it ends
            for target in json.loads(path.read_text()):
                pid = int(path.stem.rpartition("-")[2])
                found[pid] = scrape(f"http://{target['targets'][0]}/metrics", timeout=PATIENCE)
    return found


def fetch(url: str, headers: dict[str, str] | None = None) -> bytes:
    """A server's answer."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=PATIENCE) as answer:
        content: bytes = answer.read()
        return content


def answers(env: dict[str, str]) -> bool:
    """Whether the API server of an environment is up."""
    with suppress(OSError):
        return bool(fetch(f"{env['AIRFLOW__API__BASE_URL']}/api/v2/version"))
    return False


# ---- in this process: only after conftest.py has set the environment ----


def write(
    session: Any,
    dag_id: str,
    *,
    text: str = "",
    tasks: int = 3,
    params: dict[str, Any] | None = None,
    schedule: Any = None,
    add_tasks: Callable[[], object] = lambda: None,
) -> UUID:
    """Write a DAG as the DAG processor does, and return the id of its newest version.

    A version that no task instance refers to is rewritten in place.
    """
    from airflow.models.dag_version import DagVersion
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG
    from airflow.serialization import serialized_objects

    # Airflow 3.1 has it there, later ones have it here.
    serialized_dag = getattr(serialized_objects, "SerializedDAG", None)
    if serialized_dag is None:
        serialized_dag = import_module("airflow.serialization.definitions.dag").SerializedDAG
    begin = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG(dag_id, schedule=schedule, start_date=begin, description=text, params=params) as dag:
        for number in range(tasks):
            EmptyOperator(task_id=f"task_{number}")
        add_tasks()
    lazy = serialized_objects.LazyDeserializedDAG.from_dag(dag)
    if session.get(DagBundleModel, BUNDLE) is None:
        session.add(DagBundleModel(name=BUNDLE))
        session.flush()
    serialized_dag.bulk_write_to_db(BUNDLE, None, [lazy], session=session)
    SerializedDagModel.write_dag(lazy, bundle_name=BUNDLE, session=session)
    session.commit()
    version = DagVersion.get_latest_version(dag_id, session=session)
    assert version is not None
    found: UUID = version.id
    return found


def spoil(session: Any, version: Any, kind: str) -> None:
    """Write one kind of `CORRUPT` into the row of a version, and forget what the session has read."""
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import null, update

    columns = {name: null() if value is None else value for name, value in CORRUPT[kind].items()}
    of_version = SerializedDagModel.dag_version_id == version
    session.execute(update(SerializedDagModel).where(of_version).values(**columns, dag_hash="corrupt"))
    session.commit()
    session.expunge_all()


def use_site(component: str) -> tuple[Any, str]:
    """The module in which a component builds its bag, and the name of the class there."""
    module = import_module(next(name for name, whose in SITES.items() if whose == component))
    return module, next(name for name in BAG_NAMES if hasattr(module, name))


def go_back_to_stock(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a component build Airflow's own bag, until the end of the test."""
    module, name = use_site(component)
    from dagcache.airflow.bag import CachedLookups

    ours = getattr(module, name)
    assert issubclass(ours, CachedLookups), f"the {component} has Airflow's own bag"
    monkeypatch.setattr(module, name, ours.__bases__[1])


def install_anew(component: str, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """Have a component build bags by other settings, until the end of the test."""
    go_back_to_stock(component, monkeypatch)
    for name, value in settings.items():
        monkeypatch.setenv(f"AIRFLOW__DAGCACHE__{name.upper()}", str(value))
    install(use_site(component)[0])


def scheduler_bag() -> Any:
    """The bag that a scheduler builds for itself."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    bag = SchedulerJobRunner(job=Job()).scheduler_dag_bag
    if hasattr(bag, "at_loop_start"):  # not Airflow's own
        bag.at_loop_start()
    return bag


def api_bag() -> Any:
    """The bag that an API server builds for itself."""
    from airflow.api_fastapi.common.dagbag import create_dag_bag

    return create_dag_bag()


class Statements:
    """The statements that an engine executes while it is listened to."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @property
    def payloads(self) -> int:
        """How many read serialised DAGs, not just their hashes."""
        return sum("data_compressed" in text and text.lstrip().startswith("SELECT") for text in self.texts)

    def __call__(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        """Take a statement down."""
        self.texts.append(statement)


@contextmanager
def statements_of(engine: Any) -> Iterator[Statements]:
    """Listen to an engine."""
    from sqlalchemy import event

    heard = Statements()
    event.listen(engine, "before_cursor_execute", heard)
    try:
        yield heard
    finally:
        event.remove(engine, "before_cursor_execute", heard)
