"""The runs that a scheduler creates, with Airflow's own reader of DAGs and with this cache, in turn.

``python -m benchmarks.created_runs [--dags 200] [--tasks 8,20,75] [--page docs/benchmarks.md]``, some seven minutes;
``--quick`` for an impression. It builds a throw-away database with DAGs on a schedule of one minute, all of them due.
Then a process of the scheduler's modules calls the step of its loop that creates runs, ten runs at a time, Airflow's
default. Each process begins with a copy of the same database. Its first round, in which a cache loads, does not count.

A third process measures the bound of any cache: it keeps each DAG and hands it out again, without a query, a check or
a copy. No scheduler may do so, because Airflow gives each run a DAG of its own, of the newest version.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.medians import middle, ratio, ratios
from benchmarks.scheduler import Contender, json_lines, made_with, output_of, with_budget, write_between
from dagcache.demo.playground import environment

_CHILD = "benchmarks.creating_runs"
STOCK = Contender("stock", {"mode": "off"})
FREE = Contender("the bound: reading costs nothing", {"mode": "off"}, ("--free",))


@dataclass(frozen=True)
class Round:
    """The measurements of one round of one process, per created run."""

    runs_per_second: float
    cpu_milliseconds: float
    reading_milliseconds: float
    """CPU time, of the above, in which the run's DAG is read."""


Found = Mapping[str, Sequence[Round]]


def child(home: Path, settings: Mapping[str, Any], *arguments: str) -> list[dict[str, Any]]:
    """The figures that a step of `benchmarks.creating_runs` reports."""
    chosen: dict[str, object] = {"metrics_port": 0, **settings}
    env = environment(home, None, examples=False, **chosen)
    return json_lines(output_of([sys.executable, "-m", _CHILD, *arguments], env, _CHILD))


def rounds_of(lines: Sequence[Mapping[str, Any]]) -> list[Round]:
    """The rounds that count, from the lines of a process: all but the first."""
    return [
        Round(
            line["runs"] / line["seconds"],
            1000 * line["cpu_seconds"] / line["runs"],
            1000 * line["reading_cpu_seconds"] / line["runs"],
        )
        for line in lines[1:]
    ]


def measure(
    folder: Path, contenders: Sequence[Contender], dags: int, tasks: int, processes: int, rounds: int
) -> tuple[Found, float]:
    """Each contender's rounds, and the mean number of tasks of a DAG."""
    template = folder / f"of_{tasks}"
    template.mkdir(parents=True)
    (filled,) = child(template, {"mode": "off"}, "fill", f"--dags={dags}", f"--tasks={tasks}")
    found: dict[str, list[Round]] = {contender.label: [] for contender in contenders}
    for number in range(processes):
        for contender in contenders:
            home = folder / f"{tasks}_{number}_{len(found[contender.label])}_{contender.ours}"
            shutil.copytree(template, home)
            lines = child(
                home, contender.settings, "create", f"--runs={dags}", f"--rounds={rounds + 1}", *contender.arguments
            )
            found[contender.label] += rounds_of(lines)
            shutil.rmtree(home)
            print(f"{tasks} tasks, process {number + 1}: {contender.label}: {lines[-1]}", file=sys.stderr, flush=True)
    return found, float(filled["tasks"])


def row(tasks: float, label: str, ours: Sequence[Round], stock: Sequence[Round]) -> str:
    """A line of the table."""
    share = middle(ours, "reading_milliseconds") / middle(ours, "cpu_milliseconds")
    cells = [
        f"{tasks:.0f}",
        label,
        f"{middle(ours, 'runs_per_second'):.0f}",
        f"{middle(ours, 'cpu_milliseconds'):.2f}",
        ratio(ours, stock, "cpu_milliseconds"),
        f"{middle(ours, 'reading_milliseconds'):.2f}",
        f"{share:.0%}",
        "-" if label == FREE.label else ratio(ours, stock, "reading_milliseconds"),
    ]
    return f"| {' | '.join(cells)} |"


def table(found: Sequence[tuple[float, Found]]) -> str:
    """A line for each size of DAGs and each contender; the first contender is the base."""
    lines = [
        "| tasks of a DAG | | runs created a second | CPU ms a run | of stock's (spread) | of it, reading the DAG "
        "| share | of stock's (spread) |",
        f"|{'---|' * 8}",
    ]
    for tasks, by_label in found:
        stock = next(iter(by_label.values()))
        lines += [row(tasks, label, rounds, stock) for label, rounds in by_label.items()]
    return "\n".join(lines)


def bound(found: Sequence[tuple[float, Found]]) -> str:
    """The sentence on the least CPU time that any cache of DAGs leaves."""
    shares = [
        f"{statistics.median(ratios(by_label[FREE.label], by_label[STOCK.label], 'cpu_milliseconds')):.2f} with "
        f"{tasks:.0f} tasks"
        for tasks, by_label in found
    ]
    return f"If reading the DAG costs nothing, a created run takes this much of stock's CPU: {', '.join(shares)}."


def section(chosen: argparse.Namespace, body: str) -> str:
    """The text between the marks of the page."""
    return (
        f"Made by `make bench-airflow`: {made_with('SQLite')}, load {os.getloadavg()[0]:.1f} in the end. "
        f"{chosen.dags} DAGs with a schedule of one minute, a run of each in each round; processes of the "
        f"scheduler's modules, {chosen.processes} each, in turn, with {chosen.rounds} rounds that count; medians.\n\n"
        f"{body}"
    )


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.created_runs", description=__doc__)
    parser.add_argument("--dags", type=int, default=200)
    parser.add_argument("--tasks", default="8,20,75", help="of a DAG, comma-separated means (default: 8,20,75)")
    parser.add_argument("--budget", default="64MiB")
    parser.add_argument("--processes", type=int, default=2, help="of each contender (default: 2)")
    parser.add_argument("--rounds", type=int, default=2, help="of each process, that count (default: 2)")
    parser.add_argument("--quick", action="store_true", help="30 DAGs of 8 tasks, one process, one round")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the marks of this page")
    parser.add_argument("--mark", default="created-runs", help="of these marks (default: created-runs)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.dags, chosen.tasks, chosen.processes, chosen.rounds = 30, "8", 1, 1
    contenders = [STOCK, with_budget(chosen.budget), FREE]
    found: list[tuple[float, Found]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for count in map(int, chosen.tasks.split(",")):
            by_label, tasks = measure(Path(scratch), contenders, chosen.dags, count, chosen.processes, chosen.rounds)
            found.append((tasks, by_label))
    body = f"{table(found)}\n\n{bound(found)}"
    print(body)
    if chosen.page:
        write_between(chosen.page, chosen.mark, section(chosen, body))


if __name__ == "__main__":
    main()
