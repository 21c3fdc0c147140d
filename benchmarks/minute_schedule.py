"""A real `airflow scheduler` whose DAGs are due each minute, with Airflow's own cache and with this one, in turn.

``python -m benchmarks.minute_schedule [--dags 500] [--tasks 20] [--page docs/benchmarks.md]``, some six minutes;
``--quick`` for an impression. It builds a database of DAGs with a schedule of one minute, all of them due since the
start of the year, so that the scheduler always has runs to create: ten in a loop, Airflow's default. In the same loop
it starts and examines runs, twenty at a time. Its executor leaves the tasks in the queue. Each process begins with a
copy of the same database. It first creates a run of each DAG, and a cache loads in that time; the next runs count. CPU
seconds are those of the scheduler's process. A loop's duration is a sample of Airflow's own timer
``scheduler_loop_duration``.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.at_work import Loop, Scheduler, end_with_this_process, scheduler
from benchmarks.created_runs import STOCK, child
from benchmarks.medians import middle, ratio
from benchmarks.scheduler import Contender, made_with, with_budget, write_between
from dagcache.traces.scheduler_loop import RUNS_PER_LOOP

_PATIENCE = 900.0  # seconds for one loop
_MORE = {
    "AIRFLOW__CORE__EXECUTOR": "benchmarks.idle_executor.IdleExecutor",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "86400",
}


@dataclass(frozen=True)
class Round:
    """The measurements of one process."""

    runs_per_second: float
    loop_milliseconds: float
    """The median."""
    cpu_milliseconds: float
    """Per created run, as are the next two: of all that the process does."""
    statements: float
    collecting_milliseconds: float


Found = Mapping[str, Sequence[Round]]


def summary(loops: Sequence[Loop], runs: int) -> Round:
    """The figures of loops, from the end of the first to the end of the last, in which so many runs were created."""
    first, last = loops[0], loops[-1]
    spent = last.tallies.since(first.tallies)
    collecting = spent.young_seconds + spent.middle_seconds + spent.full_seconds
    return Round(
        runs_per_second=runs / (last.ended - first.ended),
        loop_milliseconds=statistics.median(loop.milliseconds for loop in loops[1:]),
        cpu_milliseconds=1000 * (last.cpu_seconds - first.cpu_seconds) / runs,
        statements=spent.statements / runs,
        collecting_milliseconds=1000 * collecting / runs,
    )


def one_round(template: Path, contender: Contender, dags: int, runs: int) -> Round:
    """One scheduler, from its start to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "airflow.db"
        with closing(sqlite3.connect(template)) as original, closing(sqlite3.connect(file)) as copy:
            original.backup(copy)
        url = f"sqlite:///{file}?timeout=60"
        with (
            scheduler(Path(scratch), url, contender.settings, runs_per_loop=RUNS_PER_LOOP, more=_MORE) as started,
            closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as connection,
        ):
            before, first = _after(started, connection, dags)
            after, last = _after(started, connection, before + runs)
            return summary(started.loops[first - 1 : last], after - before)


def _after(started: Scheduler, connection: sqlite3.Connection, runs: int) -> tuple[int, int]:
    """Wait until there are so many runs; their count, and the number of loops that have ended."""
    while True:
        started.wait_for(len(started.loops) + 1, _PATIENCE)
        loops, found = len(started.loops), connection.execute("SELECT count(*) FROM dag_run").fetchone()[0]
        if found >= runs:
            return found, loops


def measure(template: Path, contenders: Sequence[Contender], dags: int, runs: int, rounds: int) -> Found:
    """Each contender once in each round."""
    found: dict[str, list[Round]] = {contender.label: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            done = one_round(template, contender, dags, runs)
            found[contender.label].append(done)
            print(f"round {number + 1}: {contender.label}: {done}", file=sys.stderr, flush=True)
    return found


def table(found: Found) -> str:
    """A line for each contender; the first one is the base of the ratios."""
    lines = [
        "| | runs created a second | loop, median ms | of stock's (spread) | CPU ms a created run "
        "| of stock's (spread) | statements a run | CPU ms a run in collections |",
        f"|{'---|' * 8}",
    ]
    base = next(iter(found.values()))
    for label, rounds in found.items():
        cells = [label, f"{middle(rounds, 'runs_per_second'):.1f}"]
        for name in ("loop_milliseconds", "cpu_milliseconds"):
            cells += [f"{middle(rounds, name):.1f}", ratio(rounds, base, name)]
        cells += [f"{middle(rounds, 'statements'):.1f}", f"{middle(rounds, 'collecting_milliseconds'):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def section(chosen: argparse.Namespace, tasks: float, body: str) -> str:
    """The text between the marks of the page."""
    return (
        f"Made by `make bench-airflow`: {made_with('SQLite')}, load {os.getloadavg()[0]:.1f} in the end. "
        f"{chosen.dags} DAGs of {tasks:.0f} tasks on average with a schedule of one minute; real "
        f"`airflow scheduler`s, one after the other, no sleep between loops. After a run of each DAG, at least "
        f"{chosen.runs} runs of each process count. Rounds: {chosen.rounds}; medians over them.\n\n{body}"
    )


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minute_schedule", description=__doc__)
    parser.add_argument("--dags", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=20, help="of a DAG, on average (default: 20)")
    parser.add_argument("--budget", default="64MiB")
    parser.add_argument("--runs", type=int, default=250, help="that count, of each process (default: 250)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="40 DAGs, 40 runs, one round")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the marks of this page")
    parser.add_argument("--mark", default="minute-schedule", help="of these marks (default: minute-schedule)")
    chosen = parser.parse_args()
    end_with_this_process()
    if chosen.quick:
        chosen.dags, chosen.runs, chosen.rounds = 40, 40, 1
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        (filled,) = child(home, STOCK.settings, "fill", f"--dags={chosen.dags}", f"--tasks={chosen.tasks}")
        contenders = [STOCK, with_budget(chosen.budget)]
        found = measure(home / "airflow.db", contenders, chosen.dags, chosen.runs, chosen.rounds)
    body = table(found)
    print(body)
    if chosen.page:
        write_between(chosen.page, chosen.mark, section(chosen, float(filled["tasks"]), body))


if __name__ == "__main__":
    main()
