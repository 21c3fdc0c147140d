"""Are the costs that `dagcache advise` predicts those of a real process? Its curve against real sweeps.

``python -m benchmarks.advice [--versions 300] [--seconds 60] [--home DIR] [--page FILE]`` has a real scheduler fill a
database, and asks for advice on budgets that are parts of the bytes in use. Processes of the scheduler's modules then
look the versions up in a circle, and hold the DAGs of twenty lookups at a time, as a loop of the scheduler does.
``--scheduler`` has a real scheduler do that instead, with the budgets that need no loads. ``--scale N`` measures advice
on N made-up versions.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.at_work import scheduler
from benchmarks.scheduler import made_with, run_json, write_between
from benchmarks.tallies import Tallies, time_own_work
from dagcache.advice import sizes
from dagcache.core.entry import LIVE_OVERHEAD
from dagcache.database.loader import SerializedDagLoader
from dagcache.metrics.snapshot import snapshot
from dagcache.traces.scheduler_loop import PASSES, RUNS_PER_LOOP
from tests.support.clock import ManualClock

MIB = 1 << 20
_WARM_LAPS, _LAPS = 3, 4
_PATIENCE = 1200.0  # seconds
_LOOP_SECONDS = 1.0  # what advice assumes by default
_PARTS = (0.01, 0.02, 0.05, 0.25, 0.5, 0.75, 1.05)
"""Budgets, as parts of what all versions in use take with both copies and the cache's records."""
_WITHOUT_LOADS = 2
"""The first of these that has room for all frozen copies."""
_MARKER = "--laps-of"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advice", description=__doc__)
    parser.add_argument("--versions", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=60, help="how long the scheduler works (default: 60)")
    parser.add_argument("--turns", type=int, default=3, help="measurements of each budget (default: 3)")
    parser.add_argument("--home", type=Path, help="a home that a scheduler has filled, instead of a new one")
    parser.add_argument("--scheduler", action="store_true", help="let a real scheduler do the sweeping")
    parser.add_argument("--scale", type=int, metavar="N", help="time advice on N made-up versions instead")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument(_MARKER, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.laps_of:
        print(json.dumps(laps(json.loads(chosen.laps_of.read_text()))))
    elif chosen.scale:
        scale(chosen.scale)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            text = experiment(chosen.home or Path(scratch), chosen)
        if chosen.page:
            write_between(chosen.page, "predicted-costs-at-work" if chosen.scheduler else "predicted-costs", text)


# ---- predicted costs against sweeps ----


@dataclass(frozen=True)
class Cost:
    """A sweep with a budget: predicted, or measured."""

    part: float
    max_bytes: int
    live: float
    """A share of the lookups; so are the next two."""
    frozen: float
    missed: float
    seconds: float
    """CPU seconds of loads, with freezing and weighing, of thaws and of disposals."""


Measure = Callable[[Path, int], dict[str, float]]
"""Seconds per sweep in a home with a budget in bytes, and the shares of its lookups that each tier served."""


def experiment(home: Path, chosen: argparse.Namespace) -> str:
    """A real scheduler's database, advice on it, and sweeps with several budgets; the text for the page."""
    fill(home, chosen)
    ids = in_use(home)
    (home / "in_use.json").write_text(json.dumps(ids))
    whole = bytes_in_use(home)
    print(f"{len(ids)} versions in use: {whole / MIB:.1f} MiB", flush=True)
    found = []
    for _ in range(chosen.turns):
        for part in _PARTS[_WITHOUT_LOADS:] if chosen.scheduler else _PARTS:
            found.append(compare(home, part, round(part * whole), scheduled if chosen.scheduler else swept))
            print(*found[-1], sep="\n  ", flush=True)
    sweeper = "a real `airflow scheduler`" if chosen.scheduler else "a process of the scheduler's modules"
    made_by = (
        f"Made by `python -m benchmarks.advice{' --scheduler' * chosen.scheduler}`: {made_with('SQLite')}. {len(ids)} "
        f"versions in use, {whole / MIB:.0f} MiB, looked up in a circle by {sweeper}. Medians of {chosen.turns}; CPU "
        "seconds of loads, with freezing and weighing, of thaws and of disposals."
    )
    text = f"{made_by}\n\n{table(found)}"
    print(text)
    return text


def compare(home: Path, part: float, budget: int, measure: Measure) -> tuple[Cost, Cost]:
    """The predicted and the measured cost of a budget. One after the other: the machine's speed changes."""
    point = advice(home, "--budgets", str(budget))["curve"][0]["busiest"]
    measured = measure(home, budget)
    return (
        Cost(part, budget, point["live"], point["frozen"], point["missed"], point["seconds_per_sweep"]),
        Cost(part, budget, measured["live"], measured["frozen"], measured["missed"], measured["seconds"]),
    )


def table(found: Sequence[tuple[Cost, Cost]]) -> str:
    """A row for each budget, and the median and the worst error of all measurements."""
    lines = [
        "| budget, of the bytes in use | live / thawed / loaded, predicted | measured | s per sweep, predicted "
        "| measured | predicted / measured |",
        "|---" * 6 + "|",
    ]
    for part in dict.fromkeys(predicted.part for predicted, _ in found):
        turns = [pair for pair in found if pair[0].part == part]
        predicted, measured = (_median([pair[side] for pair in turns]) for side in (0, 1))
        ratios = _ratios(turns)
        ratio = f"**{statistics.median(ratios):.2f}**" if ratios else "-"
        lines.append(
            f"| {part:.0%}: {predicted.max_bytes / MIB:.1f} MiB | {_tiers(predicted)} | {_tiers(measured)} "
            f"| {predicted.seconds:.3f} | {measured.seconds:.3f} | {ratio} |"
        )
    costs = [abs(ratio - 1) for ratio in _ratios(found)]
    hits = [abs(ours.live - theirs.live) for ours, theirs in found]
    lines += [
        "",
        f"Error of the seconds: median {statistics.median(costs):.0%}, worst {max(costs):.0%}. Error of the share of"
        f" live hits, in points: median {100 * statistics.median(hits):.1f}, worst {100 * max(hits):.1f}.",
    ]
    return "\n".join(lines)


def _ratios(pairs: Sequence[tuple[Cost, Cost]]) -> list[float]:
    """Predicted over measured seconds, without the budgets that have room for everything."""
    return [ours.seconds / theirs.seconds for ours, theirs in pairs if ours.seconds and theirs.seconds]


def _median(costs: Sequence[Cost]) -> Cost:
    columns = zip(*(astuple(each) for each in costs), strict=True)
    return Cost(*(statistics.median(column) for column in columns))


def _tiers(cost: Cost) -> str:
    return " / ".join(f"{share:.0%}" for share in (cost.live, cost.frozen, cost.missed))


def bytes_in_use(home: Path) -> int:
    """Bytes of all versions in use, with both copies and the cache's records, as predicted."""
    now = advice(home, "--budgets", "1GiB")["now"]
    overhead = sizes.VERSION_OVERHEAD + LIVE_OVERHEAD
    return int(now["live_bytes"] + now["frozen_bytes"] + now["versions"] * overhead)


def swept(home: Path, budget: int) -> dict[str, float]:
    """By a process that does nothing but sweep over the versions in use."""
    wanted = str(home / "in_use.json")
    return run_json(home, {"max_bytes": budget}, "benchmarks.advice", _MARKER, wanted)[-1]


def fill(home: Path, chosen: argparse.Namespace) -> None:
    """Let a real scheduler fill a database, unless that was done before."""
    if chosen.home is None:
        command = ["run", "--home", str(home), "--versions", str(chosen.versions), "--seconds", str(chosen.seconds)]
        subprocess.run([sys.executable, "-m", "dagcache.cli", *command], check=True, stdout=sys.stderr)


def scheduled(home: Path, budget: int) -> dict[str, float]:
    """By a real scheduler, once warm: its own metrics, and the CPU seconds of the cache's work."""
    sweep = math.ceil(len(json.loads((home / "in_use.json").read_text())) / RUNS_PER_LOOP)
    database, settings = f"sqlite:///{home}/airflow.db?timeout=60", {"max_bytes": budget}
    with (
        tempfile.TemporaryDirectory() as scratch,
        scheduler(Path(scratch), database, settings, runs_per_loop=RUNS_PER_LOOP) as started,
    ):
        started.wait_for(_WARM_LAPS * sweep, _PATIENCE)
        before, begin = snapshot(started.metrics(), "scheduler"), started.loops[-1].tallies
        started.wait_for((_WARM_LAPS + _LAPS) * sweep, _PATIENCE)
        after, end = snapshot(started.metrics(), "scheduler"), started.loops[-1].tallies
    return {"seconds": end.since(begin).own_seconds / _LAPS, **shares(before, after)}


def shares(before: Any, after: Any) -> dict[str, float]:
    """The lookups that each tier served between two states of a cache's counters."""
    counters = {"live": "hits_live", "frozen": "hits_frozen", "missed": "misses"}
    served = {tier: getattr(after, name) - getattr(before, name) for tier, name in counters.items()}
    return {tier: count / sum(served.values()) for tier, count in served.items()}


def advice(home: Path, *arguments: str) -> dict[str, Any]:
    """The output of the command for a home."""
    command = [sys.executable, "-m", "dagcache.cli", "advise", "--json", "--db", f"sqlite:///{home}/airflow.db"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def in_use(home: Path) -> list[str]:
    """The versions of all running runs, in the order of the runs."""
    from dagcache.advice.history import read_history
    from dagcache.advice.working_set import active, uses

    with SerializedDagLoader(f"sqlite:///{home}/airflow.db") as loader:
        history = read_history(loader, days=7, progress=lambda step, done, of: None)
    return [str(use.version_id) for use in active(uses(history), history.as_of)]


def laps(ids: list[str]) -> dict[str, float]:
    """Look versions up in a cycle in a scheduler's bag, twenty to a session: the cost of a warm lap.

    Each session looks its versions up as many times as a loop of the scheduler does. Their DAGs are held until its end,
    as a scheduler's runs hold them.

    The cache's clock goes on by a second for each session, as long as a loop of the scheduler is taken to last: what
    the loop does beside looking up is not done here.
    """
    from dagcache.airflow import component
    from dagcache.demo.sweep import scheduler_bag

    clock = ManualClock()
    vars(component)["monotonic"] = clock
    bag = scheduler_bag()
    bag.dagcache._lookups.timer = time.thread_time  # noqa: SLF001 - the clock that loads are timed by
    own_work = list(astuple(Tallies()))
    time_own_work(own_work)
    versions = [UUID(each) for each in ids]

    def sweep(times: int) -> Any:
        for _ in range(times):
            for first in range(0, len(versions), RUNS_PER_LOOP):
                look_all_up(bag, versions[first : first + RUNS_PER_LOOP], clock)
        return bag.dagcache.stats()

    def seconds_of(stats: Any) -> float:
        return float(stats.load_seconds.total) + Tallies(*own_work).own_seconds

    before = sweep(_WARM_LAPS)
    begin = seconds_of(before)
    after = sweep(_LAPS)
    seconds = seconds_of(after) - begin
    return {"seconds": seconds / _LAPS, **shares(before, after)}


def look_all_up(bag: Any, versions: Sequence[UUID], clock: ManualClock) -> None:
    """Look versions up in a session, as often as a loop of the scheduler does, and hold all DAGs until its end."""
    from airflow.utils.session import create_session

    from dagcache.demo.sweep import look_up

    with create_session() as session:
        held = []
        for _ in range(PASSES):
            clock.advance(_LOOP_SECONDS / PASSES)
            held += [look_up(bag, each, session) for each in versions]
        del held


# ---- a large database ----


def scale(versions: int) -> None:
    """Advise on a database of so many versions; seconds, and by how much the process grew."""
    from tests.support.databases import metadata_file

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "airflow.db"
        metadata_file(path, versions=versions, dags=max(1, versions // 100), runs=versions // 2)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "dagcache.cli", "advise", "--json", "--db", f"sqlite:///{path}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - started
        peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024
        size = path.stat().st_size
        print(f"{versions} versions, {size / MIB:.0f} MiB: {seconds:.1f} s, peak {peak / MIB:.0f} MiB of RSS")


if __name__ == "__main__":
    main()
