"""Accounted bytes beside those that the process takes, in busy real `airflow scheduler` processes.

``python -m benchmarks.accounting [--page docs/benchmarks.md --chart docs/accounted.svg]``, about six minutes on two
idle cores; ``--quick`` for an impression. Every process has one budget from its start to its end, on a copy of one
database of running runs (`benchmarks.loop`). Each run has its own DAG version, and a process makes three sweeps over
all runs. The third one counts: the most bytes that were accounted at any time of it, read every 20 ms, beside the most
anonymous memory after one of its loops. Both are high-water marks, because allocators keep the memory of freed objects.
Earlier sweeps do not count, because the scheduler's own memory still grows then, by some MiB in each process. No
collection and no return of memory to the system takes place, but for ``--collect``: garbage of the scheduler waits for
the collector the longer, the more objects the process holds. *Real* bytes are those beyond the memory of a scheduler
that holds no DAG. That memory is the value of the line through all processes at zero accounted bytes (least squares). A
real process without DAGs loads them all the time, and is larger by their garbage. ``--typical`` takes DAGs of typical
sizes (`benchmarks.typical`): half of them have three tasks or fewer. With ``--collect`` the table also has *allocated*
bytes: those that the allocators have handed out at the end of each loop of the third sweep, after the collection,
beyond the line's value at zero. These have no holes between objects and no past peaks, of which the scheduler itself
has many MiB where its runs have thousands of tasks. ``--stock`` adds schedulers with Airflow's own cache, whose holes
are the scheduler's: two that hold 512 DAGs and two that hold all of them, or as many as ``--processes`` says.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.allocated import ALLOCATED, Allocated, mean_of
from benchmarks.at_work import Scheduler, end_with_this_process, scheduler
from benchmarks.loop import built, keep_running
from benchmarks.medians import bold_with_spread, with_spread
from benchmarks.scheduler import MIB, Contender, made_with, output_of, write_between
from benchmarks.typical import LARGE
from dagcache.demo.playground import environment
from dagcache.traces.scheduler_loop import RUNS_PER_LOOP

_OF_TYPICAL_DAGS = 100
UNBOUNDED = 0
_OFF: dict[str, object] = {"mode": "off"}
_STOCK = (
    Contender("Airflow's own cache, 512 DAGs", _OFF),
    Contender("Airflow's own cache, unbounded", _OFF, left_out=("bound",)),
)
_SHARES = {"25 % of the working set": 0.25, "50 %": 0.5, "100 %": 1.0}
_OF_DAGS = ("weighing", "serialized")
_ACCOUNTED = ("between_loops", "accounted")
_SINGLE = "one process"
_PATIENCE = 3600.0
_EXECUTORS = {False: "benchmarks.idle_executor.IdleExecutor", True: "benchmarks.idle_executor.CollectingExecutor"}
"""By whether all garbage is collected in each loop."""
_MORE = {
    "AIRFLOW__SCHEDULER__MAX_DAGRUNS_TO_CREATE_PER_LOOP": str(_OF_TYPICAL_DAGS),
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "86400",
}


@dataclass(frozen=True)
class Held:
    """Of one process, in bytes."""

    accounted: float
    """The most that were accounted at any time of the last sweep."""
    anonymous: float
    """The most after a loop of the last sweep."""
    between_loops: float = 0.0
    """The median of the bytes that are accounted after a loop of the last sweep, when no loop holds a DAG."""
    serialized: float = 0.0
    """The bytes of the same DAGs in the database."""
    weighing: float = 0.0
    """Seconds spent on weighing, of each second of loads."""
    allocated: Allocated | None = None
    """The means over the ends of the last sweep's loops, with a collection before each."""


class Line:
    """Bytes of processes over accounted ones, by the label of the budget, and the line through all (least squares)."""

    def __init__(self, points: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        self._points = points
        every = [point for several in points.values() for point in several]
        self.slope, self.baseline = statistics.linear_regression(*zip(*every, strict=True))

    def beyond(self, label: str) -> list[tuple[float, float]]:
        """Accounted bytes of each process of a budget, and its bytes beyond the baseline."""
        return [(accounted, self.above(bytes_)) for accounted, bytes_ in self._points[label]]

    def above(self, bytes_: float) -> float:
        """Bytes of a process beyond the baseline."""
        return bytes_ - self.baseline

    def ratios(self, label: str) -> list[float]:
        """Accounted bytes over those beyond the baseline, of each process, in ascending order."""
        return sorted(accounted / beyond for accounted, beyond in self.beyond(label))


@dataclass(frozen=True)
class Found:
    """All processes, by the label of their budget."""

    held: Mapping[str, Sequence[Held]]
    budgets: Mapping[str, int]
    """Bytes, of the labels that have one."""
    stock: Mapping[str, Sequence[Held]] = field(default_factory=dict)
    """Processes with Airflow's own cache, which accounts for nothing."""

    @property
    def budget_slope(self) -> float:
        """Bytes of a process for each byte of its budget."""
        every = [(budget, each.anonymous) for label, budget in self.budgets.items() for each in self.held[label]]
        return statistics.linear_regression(*zip(*every, strict=True)).slope

    @cached_property
    def real(self) -> Line:
        """By anonymous memory."""
        points = {label: [(each.accounted, each.anonymous) for each in held] for label, held in self.held.items()}
        return Line(points)

    @cached_property
    def allocated(self) -> Line | None:
        """By the bytes that the allocators have handed out; None without collections."""
        points = {
            label: [each.allocated for each in held if each.allocated is not None] for label, held in self.held.items()
        }
        return Line(points) if all(points.values()) else None


# ---- measuring ----


@dataclass(frozen=True)
class Source:
    """A database of DAGs with runs, to be copied."""

    file: Path
    dags: int
    settings: Mapping[str, str]
    """Of the environment of a scheduler."""
    runs_per_loop: int = RUNS_PER_LOOP
    """A loop holds as many DAGs, and the memory of the most that it ever held stays with the process."""


@contextmanager
def typical(dags: int, largest: int, python: str, *, collect: bool = False) -> Iterator[Source]:
    """DAGs of the sizes that people have, and a run of each, which a scheduler without the cache has created."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        command = [python, "-m", "benchmarks.typical", "--dags", str(dags), "--largest", str(largest)]
        output_of(command, environment(home, examples=False, mode="off"), "benchmarks.typical")
        more = {**_MORE, "AIRFLOW__CORE__EXECUTOR": _EXECUTORS[collect]}
        source = Source(home / "airflow.db", dags, more, _OF_TYPICAL_DAGS)
        with _at_work(source, home, source.file, _STOCK[0], python) as started:
            _wait_for_runs(started, source.file, dags)
        yield source


@contextmanager
def generated(dags: int, *, collect: bool = False) -> Iterator[Source]:
    """Generated DAGs of some 75 tasks each, with runs that wait."""
    with ExitStack() as held:
        scratch = Path(held.enter_context(tempfile.TemporaryDirectory()))
        ((home, url),) = built(held, scratch, ["sqlite"], dags).values()
        keep_running(url, dags)
        yield Source(home / "airflow.db", dags, {"AIRFLOW__CORE__EXECUTOR": _EXECUTORS[True]} if collect else {})


def one_process(source: Source, contender: Contender, python: str) -> Held:
    """One scheduler, from its start to its end."""
    sweep = math.ceil(source.dags / source.runs_per_loop)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "airflow.db"
        with closing(sqlite3.connect(source.file)) as original, closing(sqlite3.connect(file)) as copy:
            original.backup(copy)
        with _at_work(source, Path(scratch), file, contender, python) as started:
            between_loops, anonymous = [], []
            started.wait_for(2 * sweep, _PATIENCE)
            before = started.accounted()
            started.begin_peak()
            for loop in range(2 * sweep + 1, 3 * sweep + 1):
                started.wait_for(loop, _PATIENCE)
                between_loops.append(started.accounted().now)
                anonymous.append(started.loops[-1].memory.anonymous)
            peak = started.accounted()
            serialized, weighing = _of_dags(started) if contender.ours else (0.0, 0.0)
            after_first = started.loops[sweep - 1].memory.anonymous
        allocated = mean_of(Path(scratch) / ALLOCATED, 2 * sweep, 3 * sweep)
    held = Held(peak.most, max(anonymous), statistics.median(between_loops), serialized, weighing, allocated)
    print(
        f"{contender.label}: at most {held.accounted / MIB:.1f} MiB accounted in {peak.looks} looks "
        f"({before.most / MIB:.1f} before), anonymous {held.anonymous / MIB:.1f} MiB "
        f"({after_first / MIB:.1f} after the first sweep); load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
        flush=True,
    )
    return held


def _of_dags(started: Scheduler) -> tuple[float, float]:
    """Serialised bytes of the DAGs that the cache holds, and the seconds of weighing in each second of loads."""
    metrics = started.metrics()
    loading = metrics.total("dagcache_load_duration_seconds_sum")
    weighing = metrics.total("dagcache_sizing_seconds_total") / loading if loading else 0.0
    return metrics.total("dagcache_serialized_bytes"), weighing


def _at_work(
    source: Source, home: Path, database: Path, contender: Contender, python: str
) -> AbstractContextManager[Scheduler]:
    """A scheduler on a database of a source."""
    return scheduler(
        home,
        f"sqlite:///{database}?timeout=60",
        contender.settings,
        runs_per_loop=source.runs_per_loop,
        left_out=contender.left_out,
        more=source.settings,
        python=python,
    )


def _wait_for_runs(started: Scheduler, database: Path, dags: int) -> None:
    """Until a run of each DAG is running."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        while connection.execute("SELECT count(*) FROM dag_run WHERE state = 'running'").fetchone()[0] < dags:
            started.wait_for(len(started.loops) + 1, _PATIENCE)
            time.sleep(0.5)


def measure(source: Source, processes: int, jobs: int, python: str, *, stock: bool = False) -> Found:
    """First without a bound, which gives the working set; then each budget. Several processes at a time."""
    with ThreadPoolExecutor(jobs) as pool:

        def held(contender: Contender) -> Iterator[Held]:
            return pool.map(lambda _: one_process(source, contender, python), range(processes))

        unbounded = list(held(Contender("unbounded", {"max_bytes": UNBOUNDED})))
        working_set = statistics.median(each.accounted for each in unbounded)
        # All are started before any is waited for.
        budgets = {label: round(share * working_set) for label, share in _SHARES.items()}
        others = {label: held(Contender(label, {"max_bytes": budget})) for label, budget in budgets.items()}
        peers = {peer.label: held(peer) for peer in _STOCK if stock}
        ours = {label: list(each) for label, each in others.items()} | {"unbounded": unbounded}
        return Found(ours, budgets, {label: list(each) for label, each in peers.items()})


# ---- showing ----


def table(found: Found) -> str:
    """A line for each budget."""
    head = ["budget", "accounted MiB between loops", "at most", "real MiB (spread)", "accounted / real (spread)"]
    if found.allocated is not None:
        head += ["allocated MiB (spread)", "accounted / allocated (spread)"]
    if found.stock:
        head.append("real beyond allocated, MiB (spread)")
    rows: list[list[str]] = []
    for label, held in found.held.items():
        between, most = (statistics.median(getattr(each, name) for each in held) / MIB for name in _ACCOUNTED)
        row = [label, f"{between:.1f}", f"{most:.1f}"]
        for line in (found.real, found.allocated):
            if line is not None:
                row += _cells(line, label)
        if found.stock:
            row.append(_holes(found, held))
        rows.append(row)
    rows += [_stock_row(found, label, held) for label, held in found.stock.items()]
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _cells(line: Line, label: str) -> tuple[str, str]:
    """The bytes beyond the baseline, and the ratio, each with its spread."""
    beyond = [each / MIB for _, each in line.beyond(label)]
    return (
        with_spread(beyond, ".1f", _SINGLE),
        bold_with_spread(line.ratios(label), ".3f", _SINGLE),
    )


def _stock_row(found: Found, label: str, held: Sequence[Held]) -> list[str]:
    """Bytes beyond a scheduler without any DAG, by the lines through the processes with this cache."""
    row = [label, "-", "-", with_spread(_real(found, held), ".1f", _SINGLE), "-"]
    if found.allocated is not None:
        row += [with_spread(_allocated(found.allocated, held), ".1f", _SINGLE), "-"]
    return [*row, _holes(found, held)]


def _holes(found: Found, held: Sequence[Held]) -> str:
    """The bytes that are resident and not handed out, beyond those of a scheduler without any DAG."""
    if found.allocated is None:
        return "-"
    pairs = zip(_real(found, held), _allocated(found.allocated, held), strict=True)
    return with_spread([real - allocated for real, allocated in pairs], ".1f", _SINGLE)


def _real(found: Found, held: Sequence[Held]) -> list[float]:
    """MiB of each process, beyond the baseline; so are those of the next one."""
    return [found.real.above(each.anonymous) / MIB for each in held]


def _allocated(line: Line, held: Sequence[Held]) -> list[float]:
    return [line.above(each.allocated.allocated) / MIB for each in held if each.allocated is not None]


def sentences(found: Found) -> str:
    """The slope, and the memory of a scheduler that holds nothing."""
    unbounded, line = found.held["unbounded"], found.real
    weighing, serialized = (statistics.median(getattr(each, name) for each in unbounded) for name in _OF_DAGS)
    allocated = "" if found.allocated is None else f", and {found.allocated.slope:.3f} allocated ones"
    return (
        f"One accounted byte more is {line.slope:.3f} bytes more of the process{allocated} (least squares over all "
        f"processes): accounted / real {1 / line.slope:.3f}. One byte more of budget is {found.budget_slope:.3f} bytes "
        f"more: budget / real {1 / found.budget_slope:.3f}. By the line of accounted bytes a scheduler without any DAG "
        f"takes {line.baseline / MIB:.1f} MiB of anonymous memory. Weighing took {weighing:.1%} of the loads' time. In "
        f"the database all of the DAGs take {serialized / MIB:.1f} MiB."
    )


def made_by(chosen: argparse.Namespace, command_line: Sequence[str]) -> str:
    """The command, the versions and the machine."""
    kind = "DAGs of the sizes that people have" if chosen.typical else "generated DAGs"
    python = python_version(chosen.python)
    collected = ", with a collection of all garbage in each loop" if chosen.collect else ""
    return (
        f"Made by `{command(command_line, python)}`: {made_with('SQLite', python)}. {chosen.dags:,} {kind}, "
        f"a run of each; real `airflow scheduler`s, {chosen.processes} for each budget{collected}."
    )


def command(command_line: Sequence[str], python: str) -> str:
    """The command line, with the name of another interpreter, and without the files that it writes."""
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--page", "--mark", "--chart", "--python", "--jobs"):
        files.add_argument(option)
    found, kept = files.parse_known_args(command_line)
    if found.python:
        kept += ["--python", f"python{python.rpartition('.')[0]}"]
    return shlex.join(["python", "-m", "benchmarks.accounting", *kept])


def python_version(python: str) -> str:
    """Of another interpreter."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def draw_chart(found: Found, path: Path) -> None:
    """Real over accounted bytes, process by process, beside the exact ratio."""
    from benchmarks.lines import GREENS, GREYS, Panel, Series, draw

    real = {0.0: 0.0} | {
        accounted / MIB: beyond / MIB for label in found.held for accounted, beyond in found.real.beyond(label)
    }
    exact = {accounted: accounted for accounted in real}
    series = [Series("real", real, GREENS[1]), Series("as accounted", exact, GREYS[0], "--")]
    draw([Panel("MiB of the process", "MiB accounted", series)], path)


def source_of(chosen: argparse.Namespace) -> AbstractContextManager[Source]:
    """The DAGs that were asked for."""
    if not chosen.typical:
        return generated(chosen.dags, collect=chosen.collect)
    return typical(chosen.dags, chosen.largest, chosen.python, collect=chosen.collect)


def arguments() -> argparse.ArgumentParser:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounting", description=__doc__)
    parser.add_argument("--dags", type=int, default=700, help="(default: 700)")
    parser.add_argument("--typical", action="store_true", help="DAGs of the sizes that people have")
    parser.add_argument("--collect", action="store_true", help="collect all garbage in each loop")
    parser.add_argument("--stock", action="store_true", help="add schedulers with Airflow's own cache")
    parser.add_argument("--largest", type=int, default=LARGE[-1], help="tasks of the largest of these, at most")
    parser.add_argument("--processes", type=int, default=2, help="for each budget (default: 2)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="schedulers at a time (default: one a core)"
    )
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has Airflow and this cache")
    parser.add_argument("--quick", action="store_true", help="100 DAGs and one process")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument("--mark", default="accounted", help="of these marks (default: accounted)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the chart there, as SVG")
    return parser


def main() -> None:
    """Measure, print, draw, and write the page."""
    command_line = sys.argv[1:]
    chosen = arguments().parse_args(command_line)
    end_with_this_process()
    if chosen.quick:
        chosen.dags, chosen.processes = 100, 1
    with source_of(chosen) as source:
        found = measure(source, chosen.processes, chosen.jobs, chosen.python, stock=chosen.stock)
    if chosen.json:
        ratios = {label: found.real.ratios(label) for label in found.held}
        print(json.dumps({"ratios": ratios, "slope": found.real.slope}))
    else:
        print(f"{table(found)}\n\n{sentences(found)}")
    if chosen.chart:
        draw_chart(found, chosen.chart)
    if chosen.page:
        picture = f"![real over accounted bytes]({chosen.chart.name})\n\n" if chosen.chart else ""
        head = f"{made_by(chosen, command_line)}\n\n{picture}"
        write_between(chosen.page, chosen.mark, f"{head}{table(found)}\n\n{sentences(found)}")


if __name__ == "__main__":
    main()
