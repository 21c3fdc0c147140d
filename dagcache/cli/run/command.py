"""A demonstration: a real Airflow scheduler with the cache, in a throw-away home, and a live view of the cache.

Some DAG runs work and succeed. Beside them, one waiting run for each generated version keeps more versions in use than
the budget can hold live. Then the same database is swept with Airflow's own cache and with this one, for comparison.
Ctrl-C ends everything.
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
from pathlib import Path
from subprocess import Popen
from typing import Any, NoReturn

from dagcache.cli.run.comparison import Comparison
from dagcache.cli.run.home import Home, locked_home
from dagcache.cli.run.processes import Processes
from dagcache.cli.run.run_counts import RunCounts, read_run_counts
from dagcache.cli.shared.arguments import byte_limit, whole_number
from dagcache.cli.shared.failure import CommandError
from dagcache.cli.shared.installed import has_airflow
from dagcache.cli.shared.live_view import View, rows, view
from dagcache.cli.shared.logs import tail
from dagcache.cli.shared.progress import progress
from dagcache.demo.playground import environment, free_ports
from dagcache.metrics.scrape import Scrape, scrape
from dagcache.metrics.snapshot import snapshot

HELP = "a demonstration: a throw-away Airflow with the cache"
EXAMPLE = "dagcache run --seconds 120 --api"
_MOST = 10**6  # seconds, and versions
_DEADLINE_SECONDS = 90.0  # for the API server, and for the first metrics of the scheduler: about ten on an idle machine
_SETTLE_SECONDS = 20.0  # before the comparison starts, unless a run succeeds earlier
_SILENCE_SECONDS = 30.0  # without metrics from the scheduler


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--api", action="store_true", help="use the cache in the API server as well, and serve its metrics"
    )
    parser.add_argument(
        "--seconds", type=whole_number(1, _MOST), help="end after so many seconds of scheduling (default: at Ctrl-C)"
    )
    parser.add_argument(
        "--versions", type=whole_number(1, _MOST), default=700, help="DAG versions to generate (default: 700)"
    )
    parser.add_argument(
        "--max-bytes", type=byte_limit, default="64MiB", help="the budget of the cache (default: 64MiB)"
    )
    parser.add_argument("--home", type=Path, help="a folder for AIRFLOW_HOME, which is kept (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")


def main(chosen: argparse.Namespace) -> int:
    """Run until Ctrl-C, SIGTERM or ``--seconds``, then end all processes that were started.

    Raises:
        CommandError: Airflow is not installed or ended, the cache is not in its scheduler, or the comparison failed.

    """
    if not has_airflow():
        raise CommandError("Airflow is not installed in this Python's environment: pip install 'apache-airflow>=3.1'")
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
    """Ctrl-C and SIGTERM end the block. A second one does not interrupt the clean-up that follows."""

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
    """One run over a prepared home."""

    def __init__(self, home: Home, processes: Processes, chosen: argparse.Namespace) -> None:
        self._home = home
        self._processes = processes
        self._seconds: float = chosen.seconds or float("inf")
        self._serves_api: bool = chosen.api
        scheduler_port, api_port = free_ports(2)
        self._env = environment(
            home.path, max_bytes=str(chosen.max_bytes), metrics_host="127.0.0.1", metrics_port=scheduler_port
        )
        # Each loop examines 20 runs: with pauses of a second, the first success would take minutes.
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
        """Start Airflow, wait for the cache, and show it."""
        sys.stdout.write("starting Airflow's API server and scheduler ...\n")
        sys.stdout.flush()
        self._start("api-server", self._api_env)
        # Tasks report to the API server. One that does not find it waits longer and longer between attempts.
        self._wait_until(self._api_answers, "api-server", f"no server at {self._env['AIRFLOW__API__BASE_URL']}")
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
        is_noted = False
        start = time.monotonic()
        end = start + self._seconds
        while (left := end - time.monotonic()) > 0:
            self._tick(shown)
            if self._counts.succeeded or time.monotonic() - start > _SETTLE_SECONDS:
                comparison.advance()
            if comparison.over and not comparison.failure and not is_noted:
                is_noted = True
                shown.note("\n".join(comparison.lines()))
            time.sleep(min(1.0, left))
        self._tick(shown, last=True)
        if comparison.failure:
            raise CommandError(comparison.failure)
        if not is_noted:
            shown.note("\n".join(comparison.lines()))

    def _tick(self, shown: View, *, last: bool = False) -> None:
        self._check_services()
        found = self._scrape()
        if found is not None:
            shown.show([("runs", self._runs()), *rows(snapshot(found, "scheduler"))], last=last)
        elif time.monotonic() - self._answered > _SILENCE_SECONDS:
            self._fail(f"no metrics at {self._url} for {_SILENCE_SECONDS:.0f} seconds")

    def _runs(self) -> str:
        with suppress(sqlite3.OperationalError):  # a writer has the file: the last counts are recent enough
            self._counts = read_run_counts(self._home.path / "airflow.db")
        now = self._counts
        return f"{now.succeeded} succeeded, {now.failed} failed, {now.running} running, {now.waiting} waiting"
