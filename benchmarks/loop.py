"""The loop of a real `airflow scheduler`, with Airflow's own cache and with this one, in turn, on two databases.

``python -m benchmarks.loop [--runs 700,3000] [--databases sqlite,postgres] [--page docs/benchmarks.md]``, takes about
forty minutes on an idle machine; two of these build the databases; ``--quick`` for an impression. Each
running run has its own DAG version and never ends: its one task instance is deferred until the year
2100. A loop examines the twenty runs that were examined longest ago, Airflow's default. So a sweep over 700 runs takes
35 loops, and no run is omitted. The executor is LocalExecutor; it has no task to run and starts no process.
``scheduler_idle_sleep_time`` is 0, because a scheduler with tasks to queue does not sleep either. A loop's duration is
a sample of Airflow's own timer ``scheduler_loop_duration``, after a warm-up. CPU seconds and memory are the
scheduler's alone, without PostgreSQL's processes.

``--parts`` compares this cache with itself, without one part or with another setting at a time.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.at_work import Loop, end_with_this_process, scheduler
from benchmarks.medians import middle, ratio, with_spread
from benchmarks.scheduler import MIB, Contender, made_with, with_budget, write_between
from benchmarks.statsd import percentile
from dagcache.advice.curve import STOCK_ENTRIES
from dagcache.demo.playground import WAITING, environment
from dagcache.metrics.scrape import Scrape
from dagcache.traces.scheduler_loop import RUNS_PER_LOOP
from tests.support import postgres

DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_STOCK_WARM_UP = -(-STOCK_ENTRIES // RUNS_PER_LOOP) + 5  # loops until Airflow's own cache is full
_LARGE = 1000  # running runs, from which on the warm-up is shorter: a sweep takes minutes
_PATIENCE = 1200.0  # seconds for the loops of one process


STOCK = Contender("stock", {"mode": "off"})
NO_TEMPLATES = "no templates"


def parts(budget: str) -> list[Contender]:
    """Ours as it is, and with one part or setting changed."""
    settings: dict[str, object] = {"max_bytes": budget}
    return [
        with_budget(budget),
        Contender("no disposal", settings, left_out=("disposal",)),
        Contender("no sharing of held DAGs", settings, left_out=("sharing",)),
        Contender("no frozen copies", settings | {"frozen": False}),
        Contender(NO_TEMPLATES, settings, left_out=("templates",)),
        Contender("gc_freeze", settings | {"gc_freeze": True}),
    ]


@dataclass(frozen=True)
class Round:
    """The measurements of one process in the loops that count."""

    milliseconds: Sequence[float]
    """Of each loop."""
    loops_per_minute: float
    cpu_seconds: float
    """Per loop, as are the next four."""
    statements: float
    full_collections: float
    full_seconds: float
    collecting_seconds: float
    """In collections of any generation."""
    resident_bytes: float
    """Anonymous pages, the median over the loops."""
    growth_bytes: float
    """Of the same, since the end of the first loop of all."""
    peak_bytes: float
    collected: float = 0.0
    """Objects that the collector freed, per loop."""
    left: float = 0.0
    """How many graphs the cache gave up, in all loops."""
    left_to_collector: float = 0.0
    """How many of these the collector freed, or will have to."""
    thawing_seconds: float = 0.0
    """CPU seconds of the cache's own work, per loop, as are the next two."""
    disposing_seconds: float = 0.0
    preparing_seconds: float = 0.0

    @property
    def thaws_beside_the_rest(self) -> float:
        """The CPU time of thaws over that of a loop without the cache's own work: does not depend on the machine."""
        rest = self.cpu_seconds - self.thawing_seconds - self.disposing_seconds - self.preparing_seconds
        return self.thawing_seconds / rest

    @property
    def median(self) -> float:
        """Milliseconds of a loop."""
        return statistics.median(self.milliseconds)

    @property
    def p99(self) -> float:
        """Milliseconds of a loop."""
        return percentile(self.milliseconds, 99)


def summary(first: Loop, counted: Sequence[Loop], metrics: Scrape | None) -> Round:
    """Sum the loops up that count: from the end of the first of them to the end of the last."""
    begin, end, turns = counted[0], counted[-1], len(counted) - 1
    spent = end.tallies.since(begin.tallies)
    resident = statistics.median(loop.memory.anonymous for loop in counted)
    left = left_to_collector = 0.0
    if metrics is not None:
        left = metrics.total("dagcache_demotions_total") + metrics.total("dagcache_evictions_total")
        left_to_collector = metrics.total("dagcache_unbroken_cycles_total") + end.tallies.found_by_collector
    return Round(
        milliseconds=[loop.milliseconds for loop in counted[1:]],
        loops_per_minute=60 * turns / (end.ended - begin.ended),
        cpu_seconds=(end.cpu_seconds - begin.cpu_seconds) / turns,
        statements=spent.statements / turns,
        full_collections=spent.full / turns,
        full_seconds=spent.full_seconds / turns,
        collecting_seconds=(spent.young_seconds + spent.middle_seconds + spent.full_seconds) / turns,
        resident_bytes=resident,
        growth_bytes=resident - first.memory.anonymous,
        peak_bytes=end.memory.peak,
        collected=spent.collected / turns,
        left=left,
        left_to_collector=left_to_collector,
        thawing_seconds=spent.thawing_seconds / turns,
        disposing_seconds=spent.disposing_seconds / turns,
        preparing_seconds=spent.preparing_seconds / turns,
    )


def one_round(home: Path, url: str, contender: Contender, runs: int, loops: int) -> Round:
    """One scheduler, from its start to its end."""
    sweep = math.ceil(runs / RUNS_PER_LOOP)
    learning = sweep if runs < _LARGE else 0
    warm_up = sweep + learning if contender.ours else min(sweep, _STOCK_WARM_UP)
    with scheduler(home, url, contender.settings, runs_per_loop=RUNS_PER_LOOP, left_out=contender.left_out) as started:
        started.wait_for(warm_up + loops + 1, _PATIENCE)
        counted = started.loops[warm_up : warm_up + loops + 1]
        takes_apart = contender.ours and "disposal" not in contender.left_out
        return summary(started.loops[0], counted, started.metrics() if takes_apart else None)


@dataclass(frozen=True)
class Cell:
    """Where all contenders are measured."""

    database: str
    runs: int


Found = Mapping[Cell, Mapping[str, Sequence[Round]]]


def measure(
    home: Path, url: str, cell: Cell, contenders: Sequence[Contender], rounds: int, loops: int
) -> dict[str, list[Round]]:
    """Each contender once in each round, so that all of them see the same machine."""
    keep_running(url, cell.runs)
    found: dict[str, list[Round]] = {contender.label: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            done = one_round(home, url, contender, cell.runs, loops)
            found[contender.label].append(done)
            print(
                f"{DATABASES[cell.database]}, {cell.runs} runs, round {number + 1} of {rounds}, {contender.label}: "
                f"median {statistics.median(done.milliseconds):.0f} ms, {done.cpu_seconds:.3f} CPU s a loop; "
                f"load {os.getloadavg()[0]:.1f}",
                file=sys.stderr,
                flush=True,
            )
    return found


# ---- databases ----


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database, in SQLAlchemy's notation."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/airflow.db?timeout=30"
        return
    with postgres.Cluster() as cluster:
        yield cluster.create("benchmark")


def fill(home: Path, url: str, runs: int) -> subprocess.Popen[bytes]:
    """Start to write so many versions, each with a running run."""
    command = [sys.executable, "-m", "dagcache.demo.playground", "--home", str(home), "--url", url]
    command += ["--versions", str(runs), "--no-examples"]
    log = (home / "playground.log").open("w")
    with log:
        return subprocess.Popen(command, env=environment(home, url), stdout=log, stderr=log)


def keep_running(url: str, runs: int) -> None:
    """Have the first so many of the waiting runs be running, and all others done; no other DAG is scheduled."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    waiting = f"run_id LIKE '{WAITING}%'"
    with create_engine(url, poolclass=NullPool).begin() as connection:
        ids = list(connection.scalars(text(f"SELECT id FROM dag_run WHERE {waiting} ORDER BY id LIMIT {runs}")))
        state = f"CASE WHEN {waiting} AND id <= {ids[-1]} THEN 'running' ELSE 'success' END"
        connection.execute(text(f"UPDATE dag_run SET state = {state}, last_scheduling_decision = NULL"))
        connection.execute(text("UPDATE dag SET is_paused = (dag_id NOT LIKE 'generated%')"))


# ---- the table ----


def table(found: Found) -> str:
    """A line for each cell and contender; ratios are round by round, beside the first contender."""
    lines = [
        "| database | runs | | loops a minute | median ms | p99 ms | median (spread) | CPU s a loop | CPU (spread) "
        "| anonymous MiB (growth; peak of all) | statements a loop | full collections a loop "
        "| CPU ms a loop in these, in all | objects collected a loop | freed without the collector "
        "| CPU of a loop in thaws, disposals, freezing and weighing |",
        f"|{'---|' * 16}",
    ]
    for cell, by_label in found.items():
        base = next(iter(by_label.values()))
        for label, rounds in by_label.items():
            cells = [DATABASES[cell.database], str(cell.runs), label, *_row(rounds, base)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _row(rounds: Sequence[Round], base: Sequence[Round]) -> list[str]:
    resident, growth, peak = (middle(rounds, name) / MIB for name in ("resident_bytes", "growth_bytes", "peak_bytes"))
    full, collecting = (1000 * middle(rounds, name) for name in ("full_seconds", "collecting_seconds"))
    return [
        f"{middle(rounds, 'loops_per_minute'):.0f}",
        f"{middle(rounds, 'median'):.0f}",
        f"{middle(rounds, 'p99'):.0f}",
        ratio(rounds, base, "median"),
        f"{middle(rounds, 'cpu_seconds'):.3f}",
        ratio(rounds, base, "cpu_seconds"),
        f"{resident:.0f} ({growth:.0f}; {peak:.0f})",
        f"{middle(rounds, 'statements'):.0f}",
        f"{middle(rounds, 'full_collections'):.3f}",
        f"{full:.1f}, {collecting:.1f}",
        f"{middle(rounds, 'collected'):.0f}",
        _freed(rounds),
        _own_work(rounds),
    ]


def _freed(rounds: Sequence[Round]) -> str:
    left = sum(each.left for each in rounds)
    if not left:
        return "-"
    return f"{1 - sum(each.left_to_collector for each in rounds) / left:.1%} of {left / len(rounds):.0f}"


def _own_work(rounds: Sequence[Round]) -> str:
    names = ("thawing_seconds", "disposing_seconds", "preparing_seconds")
    shares = [middle(rounds, name) / middle(rounds, "cpu_seconds") for name in names]
    return ", ".join(f"{share:.1%}" for share in shares) if any(shares) else "-"


def worth_of_templates(found: Found) -> str:
    """The share of thaws with and without templates, in the first cell of a comparison part by part."""
    by_label = next(iter(found.values()))
    whole, without = next(iter(by_label.values())), by_label[NO_TEMPLATES]
    return (
        "Thaws, over the CPU time that a loop of the same process takes without thaws, disposals, freezing and "
        f"weighing: {_thaws(whole)} with templates, {_thaws(without)} without."
    )


def _thaws(rounds: Sequence[Round]) -> str:
    return with_spread([each.thaws_beside_the_rest for each in rounds], ".1%")


def made_by(rounds: int, loops: int) -> str:
    """The command, the versions, the machine, and how it was measured."""
    return (
        f"Made by `make bench-airflow`: {made_with()}, load {os.getloadavg()[0]:.1f} in the end. "
        f"Real `airflow scheduler`s with LocalExecutor, one after the other; {RUNS_PER_LOOP} runs to a loop, "
        f"no sleep between loops. {loops} loops of each process count, after a warm-up of two sweeps over all runs "
        f"(one from {_LARGE} runs on; Airflow's own: until it is full). Rounds: {rounds}; medians over them, and in "
        "brackets the spread of the ratios."
    )


def main() -> None:
    """Measure, print, and write the pages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    parser.add_argument("--runs", default="700,3000", help="running runs, comma-separated (default: 700,3000)")
    parser.add_argument("--databases", default=",".join(DATABASES), help=f"of {', '.join(DATABASES)} (default: both)")
    parser.add_argument("--budgets", default="64MiB,25%", help="comma-separated (default: 64MiB,25%%)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--loops", type=int, default=70, help="of each process, that count (default: 70)")
    parser.add_argument("--parts", action="store_true", help="compare the first budget with itself, part by part")
    parser.add_argument("--quick", action="store_true", help="SQLite, 60 runs, one round of ten loops")
    parser.add_argument("--home", type=Path, help="where databases are built, or are already (SQLite only)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the marks of this page")
    parser.add_argument("--mark", default="loop", help="of these marks (default: loop)")
    chosen = parser.parse_args()
    end_with_this_process()
    if chosen.quick:
        chosen.runs, chosen.databases, chosen.rounds, chosen.loops = "60", "sqlite", 1, 10
    counts = [int(count) for count in chosen.runs.split(",")]
    budgets = chosen.budgets.split(",")
    contenders = parts(budgets[0]) if chosen.parts else [STOCK, *map(with_budget, budgets)]
    found: dict[Cell, dict[str, list[Round]]] = {}
    with ExitStack() as held:
        scratch = chosen.home or Path(held.enter_context(tempfile.TemporaryDirectory()))
        homes = built(held, scratch, chosen.databases.split(","), max(counts))
        for runs in counts:
            for kind, (home, url) in homes.items():
                cell = Cell(kind, runs)
                found[cell] = measure(home, url, cell, contenders, chosen.rounds, chosen.loops)
    body = table(found)
    if chosen.parts:
        body += f"\n\n{worth_of_templates(found)}"
    print(body)
    if chosen.page:
        write_between(chosen.page, chosen.mark, f"{made_by(chosen.rounds, chosen.loops)}\n\n{body}")


def built(held: ExitStack, scratch: Path, kinds: Sequence[str], runs: int) -> dict[str, tuple[Path, str]]:
    """A home and a filled database of each kind, all filled at the same time."""
    homes: dict[str, tuple[Path, str]] = {}
    filling = []
    for kind in kinds:
        home = scratch / kind
        there = (home / "airflow.db").exists()
        home.mkdir(parents=True, exist_ok=True)
        homes[kind] = (home, held.enter_context(database(kind, home)))
        if not there:
            filling.append((home, fill(*homes[kind], runs)))
    for home, process in filling:
        if process.wait():
            sys.exit(
                f"the playground ended with {process.returncode}:\n{(home / 'playground.log').read_text()[-2000:]}"
            )
    return homes


if __name__ == "__main__":
    main()
