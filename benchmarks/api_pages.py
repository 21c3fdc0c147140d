"""Latency and memory of an API server's pages: a real server over HTTP, Airflow's own bag and this one, in one run.

``python -m benchmarks.api_pages [--home DIR] [--database sqlite|postgres] [--quick] [--page docs/benchmarks.md]``
builds DAGs in a database of each kind, large ones and small ones, each with a finished run. Each round then starts a
server without the cache and one with it, of one worker each. It requests each page of each DAG from both in turn, so
both see the same machine. The first requests are for the tasks of each DAG, when a cache loads; they do not count. CPU
time is the server's own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.api_dags import KINDS, dag_id
from benchmarks.at_work import cpu_seconds, end_component
from benchmarks.loop import DATABASES, database
from benchmarks.medians import beside, ratio
from benchmarks.scheduler import MIB, json_lines, made_with, output_of, write_between
from dagcache.demo.playground import environment

PAGES = {
    "tasks": "/api/v2/dags/{dag_id}/tasks",
    "details": "/api/v2/dags/{dag_id}/details",
    "structure": "/ui/structure/structure_data?dag_id={dag_id}",
    "grid": "/ui/grid/structure/{dag_id}",
}
CONTENDERS: dict[str, dict[str, object]] = {"stock": {"mode": "off"}, "dagcache": {}}
_START = 120  # seconds that a server may take to answer first


@dataclass
class Timing:
    """The times of one server for one page of all DAGs of a kind."""

    milliseconds: list[float]
    cpu_milliseconds: float
    """Of the server, for each request."""

    def percentile(self, percent: int) -> float:
        """The time within which so many of a hundred requests were answered."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@dataclass
class Round:
    """The measurements of one server."""

    timings: dict[tuple[str, str], Timing] = field(default_factory=dict)
    """By the kind of DAGs and the page."""
    growth_bytes: int = 0


class Server:
    """An API server that runs, asked over one connection."""

    def __init__(self, base: str, pid: int) -> None:
        self._pid = pid
        self._connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=120)
        self._headers: dict[str, str] = {}
        self._headers = {"Authorization": f"Bearer {json.loads(self.get('/auth/token'))['access_token']}"}

    def get(self, target: str) -> bytes:
        """Its answer; exits if that is an error."""
        self._connection.request("GET", target, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status >= 400:
            sys.exit(f"GET {target}: {answer.status} {body[:200]!r}")
        return body

    def resident_bytes(self) -> int:
        """Of its one process."""
        fields = Path(f"/proc/{self._pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """The CPU seconds and bytes of its one process."""
        return cpu_seconds(self._pid)


def fill(folder: Path, url: str, counts: Mapping[str, int]) -> dict[str, float]:
    """Write the DAGs; how many tasks each has, by kind."""
    arguments = [f"--{kind}={count}" for kind, count in counts.items()]
    env = environment(folder, url, examples=False, mode="off")
    command = [sys.executable, "-m", "benchmarks.api_dags", *arguments]
    return {each["kind"]: each["tasks"] for each in json_lines(output_of(command, env, "benchmarks.api_dags"))}


@contextmanager
def serving(folder: Path, url: str, settings: Mapping[str, object]) -> Iterator[Server]:
    """A real API server of one worker."""
    folder.mkdir(exist_ok=True)
    env = environment(folder, url, examples=False, metrics_port=0, **settings)
    base = env["AIRFLOW__API__BASE_URL"]
    with (folder / "server.log").open("w") as log:
        command = [sys.executable, "-m", "airflow", "api-server"]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            yield Server(_when_it_answers(base, process), process.pid)
        finally:
            end_component(process)


def _when_it_answers(base: str, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + _START
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
            connection.request("GET", "/api/v2/version")
            connection.getresponse().read()
            return base
        time.sleep(0.1)
    sys.exit("the API server did not answer: see server.log in its home")


Servers = Mapping[str, Server]


def ask(servers: Servers, page: str, dag_ids: Sequence[str]) -> dict[str, Timing]:
    """Ask all servers in turn for a page of each of these DAGs; each server is the first as often as the others."""
    took: dict[str, list[float]] = {name: [] for name in servers}
    before = {name: server.cpu_seconds() for name, server in servers.items()}
    order = list(servers)
    for each in dag_ids:
        order.reverse()
        for name in order:
            since = time.perf_counter()
            servers[name].get(page.format(dag_id=each))
            took[name].append((time.perf_counter() - since) * 1000)
    used = {name: server.cpu_seconds() - before[name] for name, server in servers.items()}
    return {name: Timing(took[name], used[name] * 1000 / len(dag_ids)) for name in servers}


def one_round(servers: Servers, counts: Mapping[str, int], seed: int) -> dict[str, Round]:
    """All pages of all DAGs, in an order of this round's own."""
    for page in PAGES.values():  # what a server imports and builds with its first request is not the pages'
        ask(servers, page, [dag_id("small", 0)])
    before = {name: server.resident_bytes() for name, server in servers.items()}
    found = {name: Round() for name in servers}
    for kind in KINDS:
        dag_ids = [dag_id(kind, number) for number in range(counts[kind])]
        random.Random(seed).shuffle(dag_ids)
        ask(servers, PAGES["tasks"], dag_ids)
        for page, template in PAGES.items():
            for name, timing in ask(servers, template, dag_ids).items():
                found[name].timings[kind, page] = timing
    for name, server in servers.items():
        found[name].growth_bytes = server.resident_bytes() - before[name]
    return found


def measure(
    kind: str, folder: Path, counts: Mapping[str, int], rounds: int
) -> tuple[dict[str, list[Round]], dict[str, float]]:
    """Each contender's rounds, and how many tasks the DAGs have."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Round]] = {name: [] for name in CONTENDERS}
    with database(kind, folder) as url:
        tasks = fill(folder, url, counts)
        for number in range(rounds):
            with ExitStack() as running:
                servers = {
                    name: running.enter_context(serving(folder / name, url, settings))
                    for name, settings in CONTENDERS.items()
                }
                for name, done in one_round(servers, counts, number).items():
                    found[name].append(done)
            print(f"{DATABASES[kind]}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found, tasks


def rows(found: Mapping[str, Sequence[Round]], label: str) -> Iterator[str]:
    """A line of the table for each kind of DAGs and each page."""
    for kind in KINDS:
        for page in PAGES:
            stock, ours = ([each.timings[kind, page] for each in found[name]] for name in CONTENDERS)
            cells = [label, kind, f"`{page}`"]
            for timings in (stock, ours):
                halves, highs = ([each.percentile(percent) for each in timings] for percent in (50, 99))
                cells.append(f"{statistics.median(halves):.1f} / {statistics.median(highs):.0f}")
            cells += [percentiles_beside(ours, stock, percent) for percent in (50, 99)]
            cells.append(ratio(ours, stock, "cpu_milliseconds"))
            yield f"| {' | '.join(cells)} |"


def percentiles_beside(ours: Sequence[Timing], stock: Sequence[Timing], percent: int) -> str:
    """The ratios of a percentile, round by round, as a cell."""
    return beside(*([each.percentile(percent) for each in timings] for timings in (ours, stock)))


def growth(found: Mapping[str, Sequence[Round]], label: str) -> str:
    """How much the servers grew, as a sentence."""
    stock, ours = ([each.growth_bytes / MIB for each in found[name]] for name in CONTENDERS)
    return (
        f"{label}: the process grew by {statistics.median(stock):.0f} MiB without the cache and by "
        f"{statistics.median(ours):.0f} MiB with it."
    )


def section(body: str, facts: str, counts: Mapping[str, int], tasks: Mapping[str, float], rounds: int) -> str:
    """The text between the marks of the page."""
    dags = " and ".join(f"{counts[kind]} {kind} DAGs of {tasks[kind]:.0f} tasks on average" for kind in KINDS)
    return (
        f"Made by `make bench-airflow`: {made_with()}. {dags}, each with a finished run; "
        f"two real `airflow api-server`s of one worker, without the cache and with it, asked in turn over HTTP by one "
        f"client; rounds with fresh servers: {rounds}; medians over them, and in brackets the ratios' spread.\n\n"
        f"{body}\n\n{facts}"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a benchmark of API servers over these DAGs."""
    parser.add_argument("--database", choices=DATABASES, help="only on this one (default: on both)")
    parser.add_argument("--large", type=int, default=150, help="how many DAGs of some 75 tasks (default: 150)")
    parser.add_argument("--small", type=int, default=50, help="how many DAGs of three to nine tasks (default: 50)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="30 large DAGs, 10 small ones and one round")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")


def size_of(chosen: argparse.Namespace) -> tuple[dict[str, int], int]:
    """How many DAGs of each kind, and how many rounds."""
    if chosen.quick:
        return {"large": 30, "small": 10}, 1
    return {"large": chosen.large, "small": chosen.small}, chosen.rounds


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api_pages", description=__doc__)
    parser.add_argument("--home", type=Path, help="where to build, instead of a folder that is thrown away")
    add_options(parser)
    parser.add_argument("--mark", default="api-pages", help="of these marks (default: api-pages)")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives it
    counts, rounds = size_of(chosen)
    lines = [
        "| database | DAGs | page | stock, p50 / p99 ms | dagcache, p50 / p99 ms | p50, of stock's | p99, of stock's "
        "| CPU, of stock's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    facts: list[str] = []
    tasks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind, label in DATABASES.items():
            if chosen.database in (None, kind):
                found, tasks = measure(kind, (chosen.home or Path(scratch)) / kind, counts, rounds)
                lines += rows(found, label)
                facts.append(growth(found, label))
    body, told = "\n".join(lines), " ".join(facts)
    print(f"{body}\n\n{told}")
    if chosen.page:
        write_between(chosen.page, chosen.mark, section(body, told, counts, tasks, rounds))


if __name__ == "__main__":
    main()
