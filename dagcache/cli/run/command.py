"""A real Airflow with the cache in it: builds a throw-away home, runs a scheduler, shows what the cache does.

DAG runs work and succeed; beside them, one waiting run for each generated version keeps more versions in use than the
budget can hold live. Meanwhile the same database is swept once with Airflow's own cache and once with this one. Ctrl-C
ends everything.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen
from typing import Any, NoReturn

from dagcache.cli.run.comparison import Comparison
from dagcache.cli.run.home import Home, locked_home
from dagcache.cli.run.processes import Processes
from dagcache.cli.run.run_counts import RunCounts, read_run_counts
from dagcache.cli.shared.failure import CommandError
from dagcache.cli.shared.live_view import View, rows, view
from dagcache.cli.shared.logs import tail
from dagcache.cli.shared.progress import progress
from dagcache.cli.shared.snapshot import figures
from dagcache.demo.playground import environment, free_ports
from dagcache.errors import ConfigError
from dagcache.metrics.scrape import Scrape, scrape
from dagcache.sizing.limits import ByteLimit

HELP = "try it: a throw-away Airflow with the cache in it"
EXAMPLE = "dagcache run --seconds 120 --api"
_DEADLINE_SECONDS = 90.0  # for the API server, and for the scheduler's first metrics: some ten on an idle machine
_SETTLE_SECONDS = 20.0  # before the comparison begins, unless a run has succeeded sooner
_SILENCE_SECONDS = 30.0  # without an answer from the scheduler's metrics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--api", action="store_true", help="let the API server, too, use the cache and serve metrics")
    parser.add_argument("--seconds", type=_positive, help="end after so many seconds of scheduling (default: Ctrl-C)")
    parser.add_argument("--versions", type=_positive, default=700, help="DAG versions to generate (default: 700)")
    parser.add_argument("--max-bytes", type=_byte_limit, default="64MiB", help="the cache's budget (default: 64MiB)")
    parser.add_argument("--home", type=Path, help="folder for AIRFLOW_HOME, kept (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="do not remove the temporary folder")


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def _byte_limit(text: str) -> str:
    try:
        ByteLimit.parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def main(chosen: argparse.Namespace) -> int:
    """Run until Ctrl-C, SIGTERM or ``--seconds``; nothing that was started is left.

    Raises:
        CommandError: Airflow is not installed or died, the cache is not in its scheduler, or the comparison failed.

    """
    if find_spec("airflow") is None:
        raise CommandError("there is no Airflow in this Python's environment; install apache-airflow>=3.1")
    with locked_home(chosen.home, keep=chosen.keep) as path:
        home = Home(path, chosen.versions)
        with closing(Processes()) as processes, _until_interrupted():
            with closing(progress()) as shown:
                home.prepare(processes, shown)
            _Run(home, processes, chosen).run()
        home.ended()
    return 0


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block; a second one does not interrupt the cleaning up that follows it."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        sys.stdout.write("ending ...\n")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


class _Run:
    """One run over a home that is ready."""

    def __init__(self, home: Home, processes: Processes, chosen: argparse.Namespace) -> None:
        self._home = home
        self._processes = processes
        self._seconds: float = chosen.seconds or float("inf")
        self._serves_api: bool = chosen.api
        scheduler_port, api_port = free_ports(2)
        self._env = environment(
            home.path, max_bytes=chosen.max_bytes, metrics_host="127.0.0.1", metrics_port=scheduler_port
        )
        # Each loop examines 20 of the runs: with pauses of a second it would take minutes until one has succeeded.
        self._env["AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] = "0.3"
        self._api_env = self._with(metrics_port=api_port) if chosen.api else self._with(mode="off")
        self._url = f"http://127.0.0.1:{scheduler_port}/metrics"
        self._api_url = f"http://127.0.0.1:{api_port}/metrics"
        self._services: dict[str, Popen[bytes]] = {}
        self._answered = 0.0
        self._counts = RunCounts()

    def _with(self, **settings: object) -> dict[str, str]:
        return self._env | {f"AIRFLOW__DAGCACHE__{name.upper()}": str(value) for name, value in settings.items()}

    def run(self) -> None:
        """Start Airflow, wait for the cache, show it."""
        sys.stdout.write("starting Airflow's API server and scheduler ...\n")
        sys.stdout.flush()
        self._start("api-server", self._api_env)
        # Tasks report to it; those that do not find it try again after pauses that become long.
        self._wait_until(self._api_answers, "api-server", f"nothing listens on {self._env['AIRFLOW__API__BASE_URL']}")
        self._start("scheduler", self._env)
        missing = f'no dagcache_info{{component="scheduler"}} at {self._url}: the cache is not in the scheduler'
        self._wait_until(self._cache_is_there, "scheduler", missing)
        with closing(view()) as shown:
            self._show(shown)

    def _start(self, service: str, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", "airflow", service]
        self._services[service] = self._processes.start(command, env, log=self._log(service))

    def _log(self, service: str) -> Path:
        return self._home.logs / f"{service}.log"

    def _check_services(self) -> None:
        for service, process in self._services.items():
            if process.poll() is not None:
                self._fail(f"the {service} ended with exit code {process.returncode}", service)

    def _fail(self, why: str, service: str = "scheduler") -> NoReturn:
        log = self._log(service)
        raise CommandError(f"{why}; the end of {log}:\n{tail(log)}")

    def _wait_until(self, happens: Callable[[], bool], service: str, failure: str) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while not happens():
            self._check_services()
            if time.monotonic() > deadline:
                self._fail(f"{failure}, after {_DEADLINE_SECONDS:.0f} seconds", service)
            time.sleep(0.5)

    def _api_answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", int(self._env["AIRFLOW__API__PORT"])), timeout=1.0):
                return True
        except OSError:
            return False

    def _cache_is_there(self) -> bool:
        found = self._scrape()
        return found is not None and bool(found.value("dagcache_info", component="scheduler"))

    def _scrape(self) -> Scrape | None:
        try:
            found = scrape(self._url)
        except (OSError, ValueError):
            return None
        self._answered = time.monotonic()
        return found

    def _show(self, shown: View) -> None:
        shown.note(f"metrics to scrape: {self._url}")
        if self._serves_api:
            shown.note(f"API server: {self._env['AIRFLOW__API__BASE_URL']}, its metrics: {self._api_url}")
        sides = {"stock": self._with(mode="off"), "dagcache": self._with(metrics_port=0)}
        comparison = Comparison(self._processes, sides, self._home.logs)
        told = False
        start = time.monotonic()
        end = start + self._seconds
        while (left := end - time.monotonic()) > 0:
            self._tick(shown)
            if self._counts.succeeded or time.monotonic() - start > _SETTLE_SECONDS:
                comparison.advance()
            if comparison.over and not comparison.failure and not told:
                told = True
                shown.note("\n".join(comparison.lines()))
            time.sleep(min(1.0, left))
        self._tick(shown, last=True)
        if comparison.failure:
            raise CommandError(comparison.failure)
        if not told:
            shown.note("\n".join(comparison.lines()))

    def _tick(self, shown: View, *, last: bool = False) -> None:
        self._check_services()
        found = self._scrape()
        if found is not None:
            shown.show([("runs", self._runs()), *rows(figures(found, "scheduler"))], last=last)
        elif time.monotonic() - self._answered > _SILENCE_SECONDS:
            self._fail(f"nothing at {self._url} for {_SILENCE_SECONDS:.0f} seconds")

    def _runs(self) -> str:
        with suppress(sqlite3.OperationalError):  # a writer is at work: the counts of a moment ago will do
            self._counts = read_run_counts(self._home.path / "airflow.db")
        now = self._counts
        return f"{now.succeeded} succeeded, {now.failed} failed, {now.running} running, {now.waiting} waiting"
