"""The runs that a scheduler creates, with Airflow's own reader of DAGs and with this cache, in turn.

``python -m benchmarks.created_runs [--dags 500] [--tasks 8,75] [--page docs/benchmarks.md]``; ``--quick`` for an
impression. It builds a throw-away database with DAGs on a schedule of one minute, all of them due. Then a process of
the scheduler's modules calls the step of its loop that creates runs, ten runs at a time, Airflow's default. Each
process begins with a copy of the same database. Its first round, in which a cache loads, does not count.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.scheduler import Contender, json_lines, output_of, with_budget, write_between
from dagcache.demo.playground import environment

_CHILD = "benchmarks.creating_runs"
STOCK = Contender("stock", {"mode": "off"})


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
            lines = child(home, contender.settings, "create", f"--runs={dags}", f"--rounds={rounds + 1}")
            found[contender.label] += rounds_of(lines)
            shutil.rmtree(home)
            print(f"{tasks} tasks, process {number + 1}: {contender.label}: {lines[-1]}", file=sys.stderr, flush=True)
    return found, float(filled["tasks"])


def row(tasks: float, label: str, ours: Sequence[Round], stock: Sequence[Round]) -> str:
    """A line of the table."""
    cells = [f"{tasks:.0f}", label, f"{_middle(ours, 'runs_per_second'):.0f}"]
    for name in ("cpu_milliseconds", "reading_milliseconds"):
        cells += [f"{_middle(ours, name):.2f}", _ratio(ours, stock, name)]
    return f"| {' | '.join(cells)} |"


def _middle(rounds: Sequence[Round], name: str) -> float:
    return float(statistics.median(getattr(each, name) for each in rounds))


def _ratio(ours: Sequence[Round], stock: Sequence[Round], name: str) -> str:
    if ours is stock:
        return "1"
    found = sorted(getattr(mine, name) / getattr(theirs, name) for mine, theirs in zip(ours, stock, strict=True))
    return f"**{statistics.median(found):.2f}** ({found[0]:.2f} - {found[-1]:.2f})"


def table(found: Sequence[tuple[float, Found]]) -> str:
    """A line for each size of DAGs and each contender; the first contender is the base."""
    lines = [
        "| tasks of a DAG | | runs created a second | CPU ms a run | of stock's (spread) | of it, reading the DAG "
        "| of stock's (spread) |",
        f"|{'---|' * 7}",
    ]
    for tasks, by_label in found:
        stock = next(iter(by_label.values()))
        lines += [row(tasks, label, rounds, stock) for label, rounds in by_label.items()]
    return "\n".join(lines)


def section(chosen: argparse.Namespace, body: str) -> str:
    """The text between the marks of the page."""
    return (
        f"Made by `make bench-airflow`: apache-airflow {version('apache-airflow-core')}, SQLite, CPython "
        f"{platform.python_version()}, {os.cpu_count()} CPUs ({platform.machine()}), load {os.getloadavg()[0]:.1f} in "
        f"the end. {chosen.dags} DAGs with a schedule of one minute, a run of each in each round; processes of the "
        f"scheduler's modules, {chosen.processes} each, in turn, with {chosen.rounds} rounds that count; medians.\n\n"
        f"{body}"
    )


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.created_runs", description=__doc__)
    parser.add_argument("--dags", type=int, default=500)
    parser.add_argument("--tasks", default="8,75", help="of a DAG, comma-separated means (default: 8,75)")
    parser.add_argument("--budget", default="64MiB")
    parser.add_argument("--processes", type=int, default=2, help="of each contender (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of each process, that count (default: 3)")
    parser.add_argument("--quick", action="store_true", help="30 DAGs of 8 tasks, one process, one round")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the marks of this page")
    parser.add_argument("--mark", default="created-runs", help="of these marks (default: created-runs)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.dags, chosen.tasks, chosen.processes, chosen.rounds = 30, "8", 1, 1
    contenders = [STOCK, with_budget(chosen.budget)]
    found: list[tuple[float, Found]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for count in map(int, chosen.tasks.split(",")):
            by_label, tasks = measure(Path(scratch), contenders, chosen.dags, count, chosen.processes, chosen.rounds)
            found.append((tasks, by_label))
    body = table(found)
    print(body)
    if chosen.page:
        write_between(chosen.page, chosen.mark, section(chosen, body))


if __name__ == "__main__":
    main()
