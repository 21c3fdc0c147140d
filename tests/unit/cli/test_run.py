"""`dagcache run` from its first process to its last line, with stand-ins for Airflow's processes and a moved clock.

The scheduler's stand-in serves the metrics of a real cache. `test_command_line.py` has the parts of the command.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.cli.main import main
from dagcache.cli.run import command as run
from dagcache.cli.shared.failure import CommandError
from dagcache.metrics.endpoint import MetricsEndpoint
from tests.support.clock import ManualClock

SWEEP = {"seconds": 1.25, "rss_growth_bytes": 3 << 20, "payload_statements": 7, "lookups": 600}


class Clock(ManualClock):
    """The command's `time` module. A sleep passes at once and runs what is due at the new time."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[tuple[float, Callable[[], object]]] = []

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.advance(seconds)
        for moment, action in [each for each in self.due if each[0] <= self.now]:
            self.due.remove((moment, action))
            action()


class Airflow:
    """The processes of a run: a home, an API server, a scheduler, two sweeps."""

    def __init__(self, clock: Clock, targets: Path) -> None:
        self.clock = clock
        self.started: list[tuple[str, Mapping[str, str], float]] = []
        """Name, environment and time of each process."""
        self.closed = 0
        self.startup = 0.0
        """Seconds until the API server and the scheduler answer."""
        self.sweep_code: int | None = 0
        """The exit code of a sweep; None: it does not end."""
        self.dead: dict[str, int] = {}
        """Exit codes of services that have ended."""
        self.succeeded = 0
        """Runs that have succeeded, in the database of the home."""
        self.cache: DagCache[int, str] = DagCache(max_bytes="1MiB", name="scheduler")
        self.cache[1] = "a DAG"
        self._targets = targets
        self._listening: list[Any] = []

    @property
    def names(self) -> list[str]:
        """The processes in the order of their start."""
        return [name for name, *_ in self.started]

    def env(self, name: str) -> Mapping[str, str]:
        """The environment of a process, of the newest by that name."""
        return next(env for each, env, _ in reversed(self.started) if each == name)

    def start(
        self, command: Sequence[str], env: Mapping[str, str], *, log: Path, out: Path | None = None
    ) -> argparse.Namespace:
        """As `Processes` does."""
        name = command[2].removeprefix("dagcache.demo.").replace("airflow", command[-1])
        self.started.append((name, env, self.clock.now))
        log.write_text(f"the log of the {name}\n")
        code: int | None = 0
        if name == "playground":
            assert out is not None
            self._build(Path(env["AIRFLOW_HOME"]))
            out.write_text(json.dumps({"step": "schema", "done": 1, "of": 1}))
        elif name == "sweep":
            assert out is not None
            out.write_text(f"{json.dumps(SWEEP)}\n" * 2)
            code = self.sweep_code
        else:
            self.clock.due.append((self.clock.now + self.startup, lambda: self.listen(name)))
            return argparse.Namespace(poll=lambda: self.dead.get(name), returncode=self.dead.get(name, 3))
        return argparse.Namespace(poll=lambda: code, returncode=code)

    def _build(self, home: Path) -> None:
        with closing(sqlite3.connect(home / "airflow.db")) as connection, connection:
            connection.execute("CREATE TABLE dag_run (run_id, state)")
            rows = [("backfill__waiting_1", "running"), *((f"manual__{n}", "success") for n in range(self.succeeded))]
            connection.executemany("INSERT INTO dag_run VALUES (?, ?)", rows)

    def listen(self, name: str) -> None:
        """Have a service answer."""
        env = self.env(name)
        if name == "api-server":
            self._listening.append(socket.create_server(("127.0.0.1", int(env["AIRFLOW__API__PORT"]))))
        else:
            ports = [int(env["AIRFLOW__DAGCACHE__METRICS_PORT"])]
            endpoint = MetricsEndpoint(self.cache, None, host="127.0.0.1", ports=ports, targets=self._targets)
            assert endpoint.port == ports[0]
            self._listening.append(endpoint)

    def fall_silent(self) -> None:
        """Have the service that answered last answer no more."""
        self._listening.pop().close()

    def close(self) -> None:
        """As `Processes` does."""
        self.closed += 1
        while self._listening:
            self.fall_silent()


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The command ignores Ctrl-C and SIGTERM at its end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the command."""
    clock = Clock()
    monkeypatch.setattr(run, "time", clock)
    return clock


@pytest.fixture
def airflow(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    """In place of Airflow's processes."""
    airflow = Airflow(clock, tmp_path / "targets")
    monkeypatch.setattr(run, "has_airflow", lambda: True)
    monkeypatch.setattr(run, "Processes", lambda: airflow)
    yield airflow
    airflow.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the run."""
    return tmp_path / "home"


@pytest.fixture
def start(airflow: Airflow, home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Run the command with options; the lines that it prints."""

    def start(*options: str, code: int = 0) -> list[str]:
        assert main(["run", "--home", str(home), *options]) == code
        assert airflow.closed == 1
        printed = capsys.readouterr()
        return (printed.err if code else printed.out).splitlines()

    return start


def test_a_run_shows_the_cache_and_the_comparison_and_ends_in_time(
    airflow: Airflow, clock: Clock, start: Callable[..., list[str]]
) -> None:
    begin = clock.now
    lines = start("--seconds", "60")
    assert clock.now == pytest.approx(begin + 60, abs=2)
    port = airflow.env("scheduler")["AIRFLOW__DAGCACHE__METRICS_PORT"]
    assert f"metrics to scrape: http://127.0.0.1:{port}/metrics" in lines
    assert any("runs 0 succeeded, 0 failed, 0 running, 1 waiting | lookups 0: " in line for line in lines)
    table = lines[lines.index(next(line for line in lines if line.startswith("once filled"))) + 1 :]
    assert [row.split()[:2] for row in table[:2]] == [["stock", "1.25"], ["dagcache", "1.25"]]
    assert sum("once filled" in line for line in lines) == 1


def test_the_scheduler_starts_when_the_api_server_answers(airflow: Airflow, start: Callable[..., list[str]]) -> None:
    """A task that finds no API server waits longer and longer."""
    airflow.startup = 7.0
    start("--seconds", "1")
    assert airflow.names == ["playground", "api-server", "scheduler"]
    [(_, _, api_server), (_, _, scheduler)] = airflow.started[1:]
    assert scheduler - api_server == pytest.approx(7.0, abs=1.0)


def test_without_an_option_the_api_server_has_no_cache(airflow: Airflow, start: Callable[..., list[str]]) -> None:
    lines = start("--seconds", "1")
    assert airflow.env("api-server")["AIRFLOW__DAGCACHE__MODE"] == "off"
    assert not any(line.startswith("API server:") for line in lines)


def test_with_the_option_the_api_server_has_a_cache_with_metrics_of_its_own(
    airflow: Airflow, start: Callable[..., list[str]]
) -> None:
    lines = start("--seconds", "1", "--api", "--max-bytes", "32MiB")
    api, scheduler = airflow.env("api-server"), airflow.env("scheduler")
    assert "AIRFLOW__DAGCACHE__MODE" not in api
    assert api["AIRFLOW__DAGCACHE__MAX_BYTES"] == scheduler["AIRFLOW__DAGCACHE__MAX_BYTES"] == "32MiB"
    port = api["AIRFLOW__DAGCACHE__METRICS_PORT"]
    assert port != scheduler["AIRFLOW__DAGCACHE__METRICS_PORT"]
    assert f"API server: {api['AIRFLOW__API__BASE_URL']}, its metrics: http://127.0.0.1:{port}/metrics" in lines


@pytest.mark.parametrize(("succeeded", "seconds"), [(0, 21), (1, 1)])
def test_the_comparison_waits_for_a_success_or_twenty_seconds(
    airflow: Airflow, start: Callable[..., list[str]], succeeded: int, seconds: int
) -> None:
    """It would delay the first runs."""
    airflow.succeeded = succeeded
    start("--seconds", "60")
    [scheduler] = [at for name, _, at in airflow.started if name == "scheduler"]
    first, second = (at for name, _, at in airflow.started if name == "sweep")
    assert first - scheduler == pytest.approx(seconds, abs=1.5)
    assert second > first


def test_the_comparison_is_of_airflows_own_cache_and_this_one_without_a_port(
    airflow: Airflow, start: Callable[..., list[str]]
) -> None:
    """The scheduler has the port."""
    start("--seconds", "60")
    stock, ours = (env for name, env, _ in airflow.started if name == "sweep")
    assert stock["AIRFLOW__DAGCACHE__MODE"] == "off"
    assert "AIRFLOW__DAGCACHE__MODE" not in ours
    assert ours["AIRFLOW__DAGCACHE__METRICS_PORT"] == "0"


def test_a_run_that_ends_before_the_comparison_shows_its_progress(
    airflow: Airflow, start: Callable[..., list[str]]
) -> None:
    airflow.sweep_code = None
    assert "comparing with Airflow's own cache: 0 of 2 measured ..." in start("--seconds", "60")


def test_a_comparison_that_fails_fails_the_run(airflow: Airflow, start: Callable[..., list[str]]) -> None:
    """At its end: the view goes on until then."""
    airflow.sweep_code = 1
    text = "\n".join(start("--seconds", "60", code=1))
    assert "the comparison failed (stock, exit code 1)" in text
    assert "the log of the sweep" in text


@pytest.mark.parametrize("service", ["api-server", "scheduler"])
def test_a_service_that_ends_ends_the_run(
    airflow: Airflow, clock: Clock, start: Callable[..., list[str]], service: str
) -> None:
    clock.due.append((clock.now + 10, lambda: airflow.dead.update({service: 3})))
    text = "\n".join(start("--seconds", "600", code=1))
    assert f"the {service} ended with exit code 3" in text
    assert f"the log of the {service}" in text


@pytest.mark.parametrize(("service", "failure"), [("api-server", "no server at http://127"), ("scheduler", "no dagc")])
def test_a_service_that_does_not_answer_in_time_ends_the_run(
    airflow: Airflow,
    start: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    failure: str,
) -> None:
    listen = airflow.listen
    monkeypatch.setattr(airflow, "listen", lambda name: None if name == service else listen(name))
    text = "\n".join(start(code=1))
    assert f"dagcache: {failure}" in text
    assert ", after 90 seconds; " in text
    assert airflow.names[-1] == service


def test_a_scheduler_without_metrics_for_half_a_minute_ends_the_run(
    airflow: Airflow, clock: Clock, start: Callable[..., list[str]]
) -> None:
    """Its process is there, and hangs."""
    silent = clock.now + 10
    clock.due.append((silent, airflow.fall_silent))
    text = "\n".join(start("--seconds", "600", code=1))
    assert "/metrics for 30 seconds; " in text
    assert clock.now == pytest.approx(silent + 30, abs=3)


def test_a_shorter_silence_does_not(airflow: Airflow, clock: Clock, start: Callable[..., list[str]]) -> None:
    clock.due.append((clock.now + 10, airflow.fall_silent))
    clock.due.append((clock.now + 35, lambda: airflow.listen("scheduler")))
    start("--seconds", "60")


def test_a_database_that_cannot_be_read_leaves_the_last_counts(
    airflow: Airflow, clock: Clock, home: Path, start: Callable[..., list[str]]
) -> None:
    """A writer may hold its lock."""
    airflow.succeeded = 2
    clock.due.append((clock.now + 10, (home / "airflow.db").unlink))
    shown = [line for line in start("--seconds", "60") if line.startswith("runs ")]
    assert not (home / "airflow.db").exists()
    assert shown[-1].startswith("runs 2 succeeded, ")


def test_a_run_that_ends_properly_leaves_a_home_for_the_next(
    airflow: Airflow, home: Path, start: Callable[..., list[str]]
) -> None:
    start("--seconds", "1")
    airflow.closed = 0
    assert f"using {home} from the last run" in start("--seconds", "1")
    assert airflow.names.count("playground") == 1


def test_an_interrupt_ends_the_run_properly(
    airflow: Airflow, clock: Clock, home: Path, start: Callable[..., list[str]]
) -> None:
    clock.due.append((clock.now + 10, lambda: signal.raise_signal(signal.SIGINT)))
    assert start()[-1] == "ending ..."
    assert json.loads((home / ".dagcache-run.json").read_text())["ended"] is True


def test_a_run_that_fails_leaves_no_home_for_the_next(
    airflow: Airflow, home: Path, start: Callable[..., list[str]]
) -> None:
    """Its content is unknown."""
    airflow.dead["scheduler"] = 3
    start(code=1)
    assert json.loads((home / ".dagcache-run.json").read_text())["ended"] is False


def test_metrics_that_are_not_of_a_scheduler_are_not_its_cache(
    airflow: Airflow, start: Callable[..., list[str]]
) -> None:
    """The port may be another program's."""
    airflow.cache = DagCache(max_bytes="1MiB", name="api_server")
    assert "the cache is not in the scheduler" in "\n".join(start(code=1))


def test_without_an_airflow_nothing_is_started(airflow: Airflow, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(run, "has_airflow", lambda: False)
    with pytest.raises(CommandError):
        run.main(argparse.Namespace(home=home, keep=False, versions=1))
    assert (airflow.started, home.exists()) == ([], False)
