"""What the cache says it holds beside what the process takes, in real `airflow scheduler` processes at work.

``python -m benchmarks.accounting [--page docs/benchmarks.md --chart docs/accounted.svg]``, about seven minutes on two
cores that do nothing else; ``--quick`` for a look. The DAGs are of the sizes that people have (`benchmarks.typical`).
Each scheduler gets a fresh copy of their database: it creates a run of each DAG, schedules its first tasks and queues
them in an executor that runs nothing, and then examines all runs over and over. After one such sweep, anonymous
resident memory and accounted bytes are read after each loop of the next one, as they are: nothing is collected or given
back for it. *Real* bytes are those beyond what a scheduler takes whose cache holds nothing, because no DAG fits its
budget.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.at_work import Scheduler, end_with_this_process, scheduler
from benchmarks.scheduler import MIB, write_between
from benchmarks.typical import LARGE, task_counts
from dagcache.demo.playground import environment
from dagcache.sizing.limits import format_bytes

RUNS_PER_LOOP = 100
NOTHING = 64 * 1024
"""A budget that no DAG fits."""
UNBOUNDED = 0
_SHARES = {"25 % of the working set": 0.25, "100 %": 1.0}
_OF_DAGS = ("weighing", "serialized")
_PATIENCE = 900.0
_MORE = {
    "AIRFLOW__CORE__EXECUTOR": "benchmarks.idle_executor.IdleExecutor",
    "AIRFLOW__SCHEDULER__MAX_DAGRUNS_TO_CREATE_PER_LOOP": str(RUNS_PER_LOOP),
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "86400",
}


@dataclass(frozen=True)
class Held:
    """Of one process, in bytes: medians over the loops of a sweep."""

    accounted: float
    anonymous: float
    serialized: float = 0.0
    """What the same DAGs weigh in the database."""
    weighing: float = 0.0
    """Seconds spent on weighing, of each second of loads."""


@dataclass(frozen=True)
class Line:
    """What the processes of one budget show."""

    label: str
    budget: int
    """In bytes; 0: unbounded."""
    held: Sequence[Held]

    def real(self, nothing: float) -> list[float]:
        """Bytes of each process beyond those of a process that holds nothing."""
        return [each.anonymous - nothing for each in self.held]

    def ratios(self, nothing: float) -> list[float]:
        """Accounted over real, of each process, in ascending order."""
        return sorted(each.accounted / real for each, real in zip(self.held, self.real(nothing), strict=True))


@dataclass(frozen=True)
class Found:
    """All budgets."""

    nothing: Sequence[Held]
    lines: Sequence[Line]

    @property
    def baseline(self) -> float:
        """Anonymous bytes of a process that holds nothing."""
        return statistics.median(each.anonymous for each in self.nothing)

    @property
    def slope(self) -> float:
        """Bytes of the process for each accounted byte: least squares over all processes."""
        all_held = [*self.nothing, *(each for line in self.lines for each in line.held)]
        return statistics.linear_regression(
            [each.accounted for each in all_held], [each.anonymous for each in all_held]
        ).slope


# ---- measuring ----


@contextmanager
def typical_database(dags: int, largest: int, python: str) -> Iterator[Path]:
    """A folder with a database of that many DAGs."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        command = [python, "-m", "benchmarks.typical", "--dags", str(dags), "--largest", str(largest)]
        env = environment(home, examples=False, mode="off")
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"benchmarks.typical ended with {done.returncode}:\n{done.stderr[-2000:]}")
        yield home


def one_process(database: Path, dags: int, budget: int, python: str) -> Held:
    """One scheduler, from its start to its end."""
    sweep = math.ceil(dags / RUNS_PER_LOOP)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "airflow.db"
        shutil.copy(database / "airflow.db", file)
        with scheduler(
            Path(scratch),
            f"sqlite:///{file}?timeout=60",
            {"max_bytes": budget},
            runs_per_loop=RUNS_PER_LOOP,
            more=_MORE,
            python=python,
        ) as started:
            _wait_for_runs(started, file, dags)
            warm = len(started.loops) + sweep
            accounted, anonymous = [], []
            for loop in range(warm, warm + sweep):
                started.wait_for(loop, _PATIENCE)
                accounted.append(started.metrics().total("dagcache_bytes"))
                anonymous.append(started.loops[-1].memory.anonymous)
            metrics = started.metrics()
    loading = metrics.total("dagcache_load_duration_seconds_sum")
    held = Held(
        statistics.median(accounted),
        statistics.median(anonymous),
        metrics.total("dagcache_serialized_bytes"),
        metrics.total("dagcache_sizing_seconds_total") / loading if loading else 0.0,
    )
    print(
        f"a budget of {format_bytes(budget) if budget else 'any number of bytes'}: accounted "
        f"{held.accounted / MIB:.1f} MiB, anonymous {held.anonymous / MIB:.1f} MiB; load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
        flush=True,
    )
    return held


def _wait_for_runs(started: Scheduler, database: Path, dags: int) -> None:
    """Until a run of each DAG is running."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        while connection.execute("SELECT count(*) FROM dag_run WHERE state = 'running'").fetchone()[0] < dags:
            started.wait_for(len(started.loops) + 1, _PATIENCE)
            time.sleep(0.5)


def measure(dags: int, largest: int, processes: int, jobs: int, python: str) -> Found:
    """First without a bound, which tells the working set; then each budget, several processes at a time."""
    with typical_database(dags, largest, python) as database, ThreadPoolExecutor(jobs) as pool:

        def held(budget: int, count: int) -> Iterator[Held]:
            return pool.map(lambda _: one_process(database, dags, budget, python), range(count))

        unbounded = list(held(UNBOUNDED, processes))
        working_set = statistics.median(each.accounted for each in unbounded)
        budgets = {label: round(share * working_set) for label, share in _SHARES.items()}
        # All are started before any is waited for.
        waiting = {label: held(budget, processes) for label, budget in budgets.items()}
        nothing = list(held(NOTHING, processes))
        lines = [Line(label, budgets[label], list(those)) for label, those in waiting.items()]
    return Found(nothing, [*lines, Line("unbounded", UNBOUNDED, unbounded)])


# ---- showing ----


def table(found: Found) -> str:
    """A line for each budget."""
    lines = [
        "| budget | accounted MiB | real MiB (spread) | accounted / real (spread) |",
        "|---|---|---|---|",
    ]
    for line in found.lines:
        real = sorted(each / MIB for each in line.real(found.baseline))
        ratios = line.ratios(found.baseline)
        size = f", {line.budget / MIB:.0f} MiB" if line.budget else ""
        accounted = statistics.median(each.accounted for each in line.held) / MIB
        lines.append(
            f"| {line.label}{size} | {accounted:.1f} | {statistics.median(real):.1f} ({real[0]:.1f} - {real[-1]:.1f}) "
            f"| **{statistics.median(ratios):.3f}** ({ratios[0]:.3f} - {ratios[-1]:.3f}) |"
        )
    return "\n".join(lines)


def sentences(found: Found) -> str:
    """The slope, and what nothing weighs."""
    baseline = sorted(each.anonymous / MIB for each in found.nothing)
    unbounded = found.lines[-1].held
    weighing, serialized = (statistics.median(getattr(each, name) for each in unbounded) for name in _OF_DAGS)
    return (
        f"One accounted byte more is {found.slope:.3f} bytes more of the process (least squares over all processes): "
        f"accounted / real {1 / found.slope:.3f}. A scheduler that holds nothing takes {found.baseline / MIB:.1f} MiB "
        f"of anonymous memory ({baseline[0]:.1f} - {baseline[-1]:.1f}). Weighing took {weighing:.1%} of the loads' "
        f"time. In the database all of the DAGs take {serialized / MIB:.1f} MiB."
    )


def made_by(chosen: argparse.Namespace, tasks: int) -> str:
    """The command, the versions and the machine."""
    return (
        f"Made by `make bench-airflow`: apache-airflow {version('apache-airflow-core')}, SQLite, CPython "
        f"{python_version(chosen.python)}, {os.cpu_count()} CPUs ({platform.machine()}). {chosen.dags:,} DAGs of "
        f"{tasks:,} tasks, a run of each; real `airflow scheduler`s, {chosen.processes} for each budget."
    )


def python_version(python: str) -> str:
    """Of another interpreter."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def draw_chart(found: Found, path: Path) -> None:
    """Real over accounted bytes, process by process, beside what would be exact."""
    from benchmarks.lines import GREENS, GREYS, Panel, Series, draw

    real = {0.0: 0.0} | {
        each.accounted / MIB: bytes_ / MIB
        for line in found.lines
        for each, bytes_ in zip(line.held, line.real(found.baseline), strict=True)
    }
    exact = {accounted: accounted for accounted in real}
    series = [Series("real", real, GREENS[1]), Series("as accounted", exact, GREYS[0], "--")]
    draw([Panel("MiB of the process", "MiB accounted", series)], path)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounting", description=__doc__)
    parser.add_argument("--dags", type=int, default=800, help="(default: 800)")
    parser.add_argument("--largest", type=int, default=LARGE[-1], help="tasks of the largest DAG, at most")
    parser.add_argument("--processes", type=int, default=3, help="for each budget (default: 3)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="schedulers at a time (default: one a core)"
    )
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has Airflow and this cache")
    parser.add_argument("--quick", action="store_true", help="100 DAGs and one process for each budget")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument("--mark", default="accounted", help="of these marks (default: accounted)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the chart there, as SVG")
    return parser


def main() -> None:
    """Measure, print, draw, and write the page."""
    chosen = arguments().parse_args()
    end_with_this_process()
    if chosen.quick:
        chosen.dags, chosen.processes = 100, 1
    found = measure(chosen.dags, chosen.largest, chosen.processes, chosen.jobs, chosen.python)
    if chosen.json:
        ratios = {line.label: line.ratios(found.baseline) for line in found.lines}
        print(json.dumps({"ratios": ratios, "slope": found.slope}))
    else:
        print(f"{table(found)}\n\n{sentences(found)}")
    if chosen.chart:
        draw_chart(found, chosen.chart)
    if chosen.page:
        picture = f"![real over accounted bytes]({chosen.chart.name})\n\n" if chosen.chart else ""
        head = made_by(chosen, sum(task_counts(chosen.dags, largest=chosen.largest)))
        write_between(chosen.page, chosen.mark, f"{head}\n\n{picture}{table(found)}\n\n{sentences(found)}")


if __name__ == "__main__":
    main()
