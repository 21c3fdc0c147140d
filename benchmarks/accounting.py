"""Accounted bytes beside those that the process takes, in real `airflow scheduler` processes at work.

``python -m benchmarks.accounting [--page docs/benchmarks.md --chart docs/accounted.svg]``, about ten minutes on two
cores that do nothing else; ``--quick`` for a look. The DAGs are of the sizes that people have (`benchmarks.typical`).
Each scheduler gets a fresh copy of their database: it creates a run of each DAG, schedules its first tasks and queues
them in an executor that runs nothing, and then examines all runs over and over. The cache of each begins without a
bound, which gives the working set, and gets one smaller budget after the other, down to one that no DAG fits
(`benchmarks.resizing`). After a sweep with each, free memory is returned to the operating system, and anonymous
resident memory and accounted bytes are read after each loop of the next sweep. *Real* bytes are those beyond what the
same process takes with the last budget. So two processes that differ in their heaps do not disturb each other.
"""

from __future__ import annotations

import argparse
import json
import math
import operator
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

RUNS_PER_LOOP = 100
NOTHING = 64 * 1024
"""A budget that no DAG fits."""
UNBOUNDED = 0
_SHARES = {"unbounded": None, "100 % of the working set": 1.0, "50 %": 0.5, "25 %": 0.25, "nothing": 0.0}
"""The budgets of a process, in turn, by label: None = no bound, 0.0 = one that no DAG fits."""
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


Process = dict[str, Held]
"""Of one scheduler, by the label of the budget."""


@dataclass(frozen=True)
class Found:
    """All processes."""

    processes: Sequence[Process]

    def accounted(self, label: str) -> list[float]:
        """Accounted bytes of each process beyond those with the last budget."""
        return [each[label].accounted - each["nothing"].accounted for each in self.processes]

    def real(self, label: str) -> list[float]:
        """Bytes of each process beyond those that it takes with the last budget."""
        return [each[label].anonymous - each["nothing"].anonymous for each in self.processes]

    def ratios(self, label: str) -> list[float]:
        """Accounted over real, of each process, in ascending order."""
        return sorted(map(operator.truediv, self.accounted(label), self.real(label)))

    @property
    def labels(self) -> list[str]:
        """Of all budgets but the last."""
        return [label for label, share in _SHARES.items() if share != 0.0]

    @property
    def slope(self) -> float:
        """Bytes of a process for each accounted byte: the median over the processes, each by least squares."""
        return statistics.median(
            statistics.linear_regression(
                [held.accounted for held in each.values()], [held.anonymous for held in each.values()]
            ).slope
            for each in self.processes
        )


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


def one_process(database: Path, dags: int, python: str) -> Process:
    """One scheduler, from its start to its end, with one budget after the other."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "airflow.db"
        shutil.copy(database / "airflow.db", file)
        with scheduler(
            Path(scratch),
            f"sqlite:///{file}?timeout=60",
            {"max_bytes": UNBOUNDED},
            runs_per_loop=RUNS_PER_LOOP,
            more=_MORE,
            python=python,
        ) as started:
            _wait_for_runs(started, file, dags)
            found: Process = {}
            for label, share in _SHARES.items():
                if share is not None:
                    started.resize(max(NOTHING, round(share * found["unbounded"].accounted)))
                found[label] = _one_budget(started, math.ceil(dags / RUNS_PER_LOOP))
                print(
                    f"{label}: accounted {found[label].accounted / MIB:.1f} MiB, anonymous "
                    f"{found[label].anonymous / MIB:.1f} MiB; load {os.getloadavg()[0]:.1f}",
                    file=sys.stderr,
                    flush=True,
                )
    return found


def _one_budget(started: Scheduler, sweep: int) -> Held:
    """A sweep to settle, free memory returned, and a sweep that counts."""
    started.wait_for(len(started.loops) + sweep + 1, _PATIENCE)
    started.return_free_memory()
    started.wait_for(len(started.loops) + 2, _PATIENCE)
    accounted, anonymous = [], []
    for loop in range(len(started.loops) + 1, len(started.loops) + 1 + sweep):
        started.wait_for(loop, _PATIENCE)
        accounted.append(started.metrics().total("dagcache_bytes"))
        anonymous.append(started.loops[-1].memory.anonymous)
    metrics = started.metrics()
    loading = metrics.total("dagcache_load_duration_seconds_sum")
    return Held(
        statistics.median(accounted),
        statistics.median(anonymous),
        metrics.total("dagcache_serialized_bytes"),
        metrics.total("dagcache_sizing_seconds_total") / loading if loading else 0.0,
    )


def _wait_for_runs(started: Scheduler, database: Path, dags: int) -> None:
    """Until a run of each DAG is running."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        while connection.execute("SELECT count(*) FROM dag_run WHERE state = 'running'").fetchone()[0] < dags:
            started.wait_for(len(started.loops) + 1, _PATIENCE)
            time.sleep(0.5)


def measure(dags: int, largest: int, processes: int, jobs: int, python: str) -> Found:
    """Several processes, some of them at a time."""
    with typical_database(dags, largest, python) as database, ThreadPoolExecutor(jobs) as pool:
        return Found(list(pool.map(lambda _: one_process(database, dags, python), range(processes))))


# ---- showing ----


def table(found: Found) -> str:
    """A line for each budget."""
    lines = [
        "| budget | accounted MiB | real MiB (spread) | accounted / real (spread) |",
        "|---|---|---|---|",
    ]
    for label in found.labels:
        real = sorted(each / MIB for each in found.real(label))
        ratios = found.ratios(label)
        accounted = statistics.median(found.accounted(label)) / MIB
        lines.append(
            f"| {label} | {accounted:.1f} | {statistics.median(real):.1f} ({real[0]:.1f} - {real[-1]:.1f}) "
            f"| **{statistics.median(ratios):.3f}** ({ratios[0]:.3f} - {ratios[-1]:.3f}) |"
        )
    return "\n".join(lines)


def sentences(found: Found) -> str:
    """The slope, and the memory of a scheduler that holds nothing."""
    baseline = sorted(each["nothing"].anonymous / MIB for each in found.processes)
    unbounded = [each["unbounded"] for each in found.processes]
    weighing, serialized = (statistics.median(getattr(each, name) for each in unbounded) for name in _OF_DAGS)
    return (
        f"One accounted byte more is {found.slope:.3f} bytes more of the process (least squares over the budgets of a "
        f"process, median): accounted / real {1 / found.slope:.3f}. A scheduler whose cache holds nothing takes "
        f"{statistics.median(baseline):.1f} MiB of anonymous memory ({baseline[0]:.1f} - {baseline[-1]:.1f}). Weighing "
        f"took {weighing:.1%} of the loads' time. In the database all of the DAGs take {serialized / MIB:.1f} MiB."
    )


def made_by(chosen: argparse.Namespace, tasks: int) -> str:
    """The command, the versions and the machine."""
    return (
        f"Made by `make bench-airflow`: apache-airflow {version('apache-airflow-core')}, SQLite, CPython "
        f"{python_version(chosen.python)}, {os.cpu_count()} CPUs ({platform.machine()}). {chosen.dags:,} DAGs of "
        f"{tasks:,} tasks, a run of each; real `airflow scheduler`s, {chosen.processes} of them."
    )


def python_version(python: str) -> str:
    """Of another interpreter."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def draw_chart(found: Found, path: Path) -> None:
    """Real over accounted bytes, process by process, beside the exact ratio."""
    from benchmarks.lines import GREENS, GREYS, Panel, Series, draw

    real = {0.0: 0.0} | {
        accounted / MIB: bytes_ / MIB
        for label in found.labels
        for accounted, bytes_ in zip(found.accounted(label), found.real(label), strict=True)
    }
    exact = {accounted: accounted for accounted in real}
    series = [Series("real", real, GREENS[1]), Series("as accounted", exact, GREYS[0], "--")]
    draw([Panel("MiB of the process", "MiB accounted", series)], path)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounting", description=__doc__)
    parser.add_argument("--dags", type=int, default=3000, help="(default: 3000)")
    parser.add_argument("--largest", type=int, default=LARGE[-1], help="tasks of the largest DAG, at most")
    parser.add_argument("--processes", type=int, default=3, help="(default: 3)")
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
    chosen = arguments().parse_args()
    end_with_this_process()
    if chosen.quick:
        chosen.dags, chosen.processes = 100, 1
    found = measure(chosen.dags, chosen.largest, chosen.processes, chosen.jobs, chosen.python)
    if chosen.json:
        ratios = {label: found.ratios(label) for label in found.labels}
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
