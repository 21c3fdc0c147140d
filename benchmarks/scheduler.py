"""A scheduler's sweep over more versions than its cache holds: Airflow's own bag and this one, in turn, in one run.

``python -m benchmarks.scheduler [--versions 700] [--rounds 3] [--page FILE --chart FILE]`` builds a throw-away Airflow
home with that many generated versions and Airflow's example DAGs. Then it sweeps over it in fresh processes. Each
round runs every contender once, so all of them see the same machine. The first sweep of a process loads, and in
the next few the cache learns how often each version is used; ``--warm-up`` is the number of sweeps that do not count.
Sweeps of a second are sampled five times as often as those of fifteen, because noise affects them more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from benchmarks.at_work import end_component
from benchmarks.chart import Row, bars
from benchmarks.medians import bold_with_spread
from dagcache.advice.curve import STOCK_ENTRIES
from dagcache.demo.playground import environment

MIB = 1 << 20
_AS_OFTEN = 5


@dataclass(frozen=True)
class Contender:
    """A way to run the bag."""

    label: str
    settings: dict[str, object]
    arguments: tuple[str, ...] = ()
    """Of `dagcache.demo.sweep`, beside those that all get."""
    left_out: tuple[str, ...] = ()
    """Parts of the cache to take out of a real scheduler: names of `benchmarks.without`."""

    @property
    def ours(self) -> bool:
        """Whether the cache is in."""
        return self.settings.get("mode") != "off"


AIRFLOWS = Contender(f"Airflow's LRU of {STOCK_ENTRIES}", {"mode": "off"})


def with_budget(budget: str) -> Contender:
    """Ours, bounded by so much."""
    return Contender(f"dagcache, {budget}", {"max_bytes": budget})


def contenders(budgets: Sequence[str]) -> list[Contender]:
    """Airflow's own, and ours with several budgets; the first one also with a frozen heap."""
    frozen = Contender(f"dagcache, {budgets[0]}, gc_freeze", {"max_bytes": budgets[0], "gc_freeze": True})
    return [AIRFLOWS, frozen, *map(with_budget, budgets)]


def sweep(home: Path, contender: Contender, sweeps: int, *arguments: str) -> list[dict[str, Any]]:
    """One process that sweeps; its figures."""
    arguments = ("--sweeps", str(sweeps), "--json", *contender.arguments, *arguments)
    return run_json(home, contender.settings, "dagcache.demo.sweep", *arguments)


def run_json(home: Path, settings: dict[str, object], module: str, *arguments: str) -> list[dict[str, Any]]:
    """The output of a module in the environment of a home, one JSON object a line."""
    env = environment(home) | {f"AIRFLOW__DAGCACHE__{name.upper()}": str(value) for name, value in settings.items()}
    env["AIRFLOW__DAGCACHE__METRICS_PORT"] = "0"
    return json_lines(output_of([sys.executable, "-m", module, *arguments], env, module))


def json_lines(output: str) -> list[dict[str, Any]]:
    """The JSON objects in an output, one a line; other lines are skipped."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def output_of(command: Sequence[str], env: Mapping[str, str], name: str) -> str:
    """The output of a command; this process exits with the end of the errors if it fails."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def build(home: Path, versions: int) -> None:
    """A home with that many generated versions."""
    command = [sys.executable, "-m", "dagcache.demo.playground", "--home", str(home), "--versions", str(versions)]
    output_of(command, environment(home), "the playground")


@contextmanager
def playground(home: Path | None, versions: int) -> Iterator[Path]:
    """The home that is given, or else a throw-away one with that many generated versions."""
    if home is not None:
        yield home
        return
    with tempfile.TemporaryDirectory() as scratch:
        build(Path(scratch), versions)
        yield Path(scratch)


@contextmanager
def real_scheduler(env: Mapping[str, str], log: IO[str]) -> Iterator[None]:
    """A running real scheduler, with this environment."""
    command = [sys.executable, "-m", "airflow", "scheduler", "--skip-serve-logs"]
    with subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            yield
        finally:
            end_component(process)


def measure(
    home: Path, rivals: Sequence[Contender], rounds: int, sweeps: int, warm_up: int
) -> dict[str, list[dict[str, Any]]]:
    """Of every contender the first sweep, and those after the warm-up, round by round."""
    found: dict[str, list[dict[str, Any]]] = {rival.label: [] for rival in rivals}
    for number in range(rounds):
        for rival in rivals:
            unlearned = warm_up if rival.ours else 1
            counted = (sweeps - warm_up) * (_AS_OFTEN if rival.ours else 1)
            first, *later = sweep(home, rival, unlearned + counted)
            warm = later[unlearned - 1 :]
            found[rival.label].append(
                {
                    "first": first["seconds"],
                    "seconds": statistics.median(each["seconds"] for each in warm),
                    "payload": max(each["payload_statements"] for each in later),
                    "lookups": warm[-1]["lookups"],
                    "tiers": tuple(warm[-1][name] for name in ("hits_live", "hits_frozen", "misses")),
                }
            )
            print(f"round {number + 1}: {rival.label}: {found[rival.label][-1]}", file=sys.stderr, flush=True)
    return found


def table(found: dict[str, list[dict[str, Any]]]) -> tuple[str, list[Row]]:
    """The figures as text, and the chart's rows."""
    stock = next(iter(found.values()))
    lines = [
        "| | s per warm sweep | times faster (spread) | payload reads | live / frozen / missed "
        "| first sweep, of Airflow's |",
        f"|{'---|' * 6}",
    ]
    rows = []
    for label, rounds in found.items():
        seconds = statistics.median(each["seconds"] for each in rounds)
        first = statistics.median(ours["first"] / theirs["first"] for theirs, ours in zip(stock, rounds, strict=True))
        faster = [theirs["seconds"] / ours["seconds"] for theirs, ours in zip(stock, rounds, strict=True)]
        ours = rounds is not stock
        speed = bold_with_spread(faster, ".1f") if ours else "1"
        tiers = " / ".join(str(count) for count in rounds[-1]["tiers"]) if ours else f"0 / - / {rounds[-1]['lookups']}"
        payload = max(each["payload"] for each in rounds)
        lines.append(f"| {label} | {seconds:.2f} | {speed} | {payload} | {tiers} | {first:.2f} |")
        rows.append(Row(label, (seconds,), (f"{seconds:.2f} s",), ours))
    return "\n".join(lines), rows


def made_with(database: str = "", python: str = "") -> str:
    """The versions, the machine and the day, for a section of a page. ``python``: that of another interpreter."""
    airflow = f"apache-airflow {version('apache-airflow-core')}, {f'{database}, ' if database else ''}CPython"
    machine = f"{os.cpu_count()} CPUs ({platform.machine()})"
    return f"{airflow} {python or platform.python_version()}, {machine}, {datetime.now(timezone.utc):%Y-%m-%d}"


def made_by() -> str:
    """The command, the versions and the machine."""
    return f"Made by `make bench-airflow`: {made_with('SQLite')}."


def write_between(page: Path, mark: str, text: str) -> None:
    """Put a text between two marks of a page.

    Raises:
        ValueError: the page does not have them.

    """
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    between = re.compile(f"{re.escape(start)}.*{re.escape(end)}", re.DOTALL)
    written, found = between.subn(lambda _: f"{start}\n{text}\n{end}", page.read_text())
    if not found:
        raise ValueError(f"expected {start} and {end} in {page}, found neither both nor in this order")
    page.write_text(written)


def section(chosen: argparse.Namespace, body: str) -> str:
    """The text between the marks of the page."""
    chart = chosen.chart
    picture = f"![seconds per warm sweep]({chart.name})\n\n" if chart else ""
    return (
        f"{made_by()} {chosen.versions} generated versions and Airflow's examples, looked up in a circle, twenty to a "
        f"session, in a process of the scheduler's modules. {chosen.warm_up} sweeps of a process warm its cache up; "
        f"then {chosen.sweeps - chosen.warm_up} count, or {_AS_OFTEN} times as many where they are short. "
        f"{chosen.rounds} processes each, in turn; medians.\n\n"
        f"{picture}{body}"
    )


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduler", description=__doc__)
    parser.add_argument("--versions", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sweeps", type=int, default=8, help="of each process (default: 8)")
    parser.add_argument("--warm-up", type=int, default=4, help="of these the first that do not count (default: 4)")
    parser.add_argument("--budgets", default="88MiB,25MiB,150MiB", help="comma-separated")
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument("--mark", default="scheduler", help="of these marks (default: scheduler)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the chart there")
    chosen = parser.parse_args()
    with playground(chosen.home, chosen.versions) as home:
        found = measure(home, contenders(chosen.budgets.split(",")), chosen.rounds, chosen.sweeps, chosen.warm_up)
        body, rows = table(found)
    print(body)
    if chosen.page:
        write_between(chosen.page, chosen.mark, section(chosen, body))
    if chosen.chart:
        chosen.chart.write_text(bars(("seconds per warm sweep",), rows))


if __name__ == "__main__":
    main()
