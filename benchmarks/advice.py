"""The accuracy of `dagcache advise`: its sizes against Airflow's own graphs, its costs against real sweeps.

``python -m benchmarks.advice [--versions 300] [--seconds 60] [--home DIR]`` fills a database with a real scheduler
and asks for advice. Then processes with the scheduler's modules sweep over the versions in use, with half, once and
twice the recommended budget, and with far too little. With ``--scheduler`` a real scheduler sweeps instead.
``--sizes`` compares the constants of `dagcache.advice.sizes` with others that were fitted to one half of a home's DAGs,
on the other half and on DAGs of another kind. ``--scale N`` measures advice on N versions.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.scheduler import build, real_scheduler, run_json
from dagcache.advice import sizes
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.database.loader import SerializedDagLoader
from dagcache.errors import FreezeError
from dagcache.freezing.zdict import Dictionary
from dagcache.traces.reading import read_trace
from tests.support.clock import ManualClock

MIB = 1 << 20
_WARM_LAPS, _LAPS = 3, 4
_PER_SESSION = 20
_WARM_SECONDS, _SCHEDULED_SECONDS, _SPEED_EVERY = 45, 60, 5
_LOOP_SECONDS = 1.0  # what advice assumes by default
_MARKER = "--laps-of"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advice", description=__doc__)
    parser.add_argument("--versions", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=60, help="how long the scheduler works (default: 60)")
    parser.add_argument("--home", type=Path, help="a home that a scheduler has filled, instead of a new one")
    parser.add_argument("--scheduler", action="store_true", help="let a real scheduler do the sweeping")
    parser.add_argument("--sizes", action="store_true", help="judge the predicted sizes instead")
    parser.add_argument("--scale", type=int, metavar="N", help="time advice on N made-up versions instead")
    parser.add_argument(_MARKER, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--graphs-of", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.laps_of:
        print(json.dumps(laps(json.loads(chosen.laps_of.read_text()))))
    elif chosen.graphs_of:
        for line in graphs(chosen.graphs_of):
            print(json.dumps(line))
    elif chosen.scale:
        scale(chosen.scale)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            home = chosen.home or Path(scratch)
            if chosen.sizes:
                judge_sizes(home, chosen)
            else:
                experiment(home, chosen)


# ---- predicted costs against sweeps ----


Measure = Callable[[Path, int], dict[str, float]]
"""Seconds per sweep in a home with a budget in bytes, and the shares of its lookups that each tier served."""


def experiment(home: Path, chosen: argparse.Namespace) -> None:
    """A real scheduler's database, advice on it, and sweeps with half, once and twice the budget."""
    fill(home, chosen)
    recommended = advice(home)["scheduler"]["nbytes"]
    ids = in_use(home)
    print(f"{len(ids)} versions in use; recommended: {recommended / MIB:.0f} MiB")
    budgets = [recommended // 2, recommended, 2 * recommended]
    if chosen.scheduler:
        compare(home, budgets, scheduled)
        return
    wanted = home / "in_use.json"
    wanted.write_text(json.dumps(ids))
    compare(home, [recommended // 40, recommended // 10, *budgets], swept)


def compare(home: Path, budgets: Sequence[int], measure: Measure) -> None:
    """Print the predictions and the measurements, budget by budget."""
    print("| max_bytes | predicted s per sweep | measured | predicted / measured | live / thawed / loaded, measured |")
    print("|---|---|---|---|---|")
    for budget in budgets:
        # Right before the sweep: both depend on how fast the machine is at the time.
        told = advice(home, "--budgets", str(budget))
        predicted = told["curve"][0]["busiest"]["seconds_per_sweep"] / told["slowness"]
        measured = measure(home, budget)
        ratio = f"{predicted / measured['seconds']:.2f}" if measured["seconds"] else "-"
        tiers = " / ".join(f"{measured[name]:.0%}" for name in ("live", "frozen", "missed"))
        print(
            f"| {budget / MIB:.0f} MiB | {predicted:.3f} | {measured['seconds']:.3f} | {ratio} | {tiers} |",
            flush=True,
        )


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
    """By a real scheduler in a minute, once warm: its own metrics, in CPU seconds of the constants' machine."""
    from dagcache.cli.shared.snapshot import Snapshot, snapshot
    from dagcache.demo.playground import environment, free_ports
    from dagcache.metrics.scrape import scrape

    (port,) = free_ports(1)
    traces = Path(tempfile.mkdtemp(dir=home))
    settings = {
        "AIRFLOW__DAGCACHE__MAX_BYTES": str(budget),
        "AIRFLOW__DAGCACHE__METRICS_PORT": str(port),
        "AIRFLOW__DAGCACHE__TRACE": str(traces),
    }

    def told() -> Snapshot:
        return snapshot(scrape(f"http://127.0.0.1:{port}/metrics"), "scheduler")

    with (home / "scheduler.log").open("w") as log, real_scheduler(environment(home) | settings, log):
        time.sleep(_WARM_SECONDS)
        before = told()
        slowness = []
        for _ in range(_SCHEDULED_SECONDS // _SPEED_EVERY):
            time.sleep(_SPEED_EVERY)
            slowness.append(sizes.measure_speed(rounds=50).factor)
        after = told()
    seconds = after.loads.since(before.loads).seconds + after.thaws.since(before.thaws).seconds
    return {
        "seconds": seconds / statistics.mean(slowness) / sweeps(traces),
        **shares(before, after),
    }


def shares(before: Any, after: Any) -> dict[str, float]:
    """The lookups that each tier served between two states of a cache's counters."""
    counters = {"live": "hits_live", "frozen": "hits_frozen", "missed": "misses"}
    served = {tier: getattr(after, name) - getattr(before, name) for tier, name in counters.items()}
    return {tier: count / sum(served.values()) for tier, count in served.items()}


def sweeps(traces: Path) -> float:
    """How often a version was usually looked up in the last minute of a recording."""
    (path,) = traces.iterdir()
    lookups = read_trace(path).lookups
    counts = Counter(each.key for each in lookups if each.at > lookups[-1].at - _SCHEDULED_SECONDS)
    return statistics.median(counts.values())


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

    In CPU seconds of the machine of the constants, because the speed of this one changes from minute to minute. The
    cache's clock advances by a second for each session, the assumed duration of a scheduler's loop. The other work of
    a loop is not done here.
    """
    from uuid import UUID

    from airflow.utils.session import create_session

    from dagcache.airflow import component
    from dagcache.demo.sweep import look_up, scheduler_bag

    clock = ManualClock()
    vars(component)["monotonic"] = clock
    bag = scheduler_bag()
    bag.dagcache._lookups.timer = time.thread_time  # noqa: SLF001 - the clock that loads and thaws are timed by
    versions = [UUID(each) for each in ids]
    before = bag.dagcache.stats()
    slowness = []
    for lap in range(_WARM_LAPS + _LAPS):
        if lap == _WARM_LAPS:
            before = bag.dagcache.stats()
        if lap >= _WARM_LAPS:
            slowness.append(sizes.measure_speed(rounds=50).factor)
        for first in range(0, len(versions), _PER_SESSION):
            clock.advance(_LOOP_SECONDS)
            with create_session() as session:
                for version in versions[first : first + _PER_SESSION]:
                    look_up(bag, version, session)
    after = bag.dagcache.stats()
    seconds = sum(getattr(after, name).total - getattr(before, name).total for name in ("load_seconds", "thaw_seconds"))
    return {
        "seconds": seconds / _LAPS / statistics.mean(slowness),
        **shares(before, after),
    }


# ---- predicted sizes against graphs ----


def judge_sizes(home: Path, chosen: argparse.Namespace) -> None:
    """Fit to one half of the DAGs, and judge on the other."""
    import numpy as np

    if chosen.home is None:
        build(home, chosen.versions)
    rows = run_json(home, {"mode": "off"}, "benchmarks.advice", "--graphs-of", str(home / "airflow.db"))
    coin = random.Random(1)
    learnt = np.array([row["kind"] != "unlike" and coin.random() < 0.5 for row in rows])
    truths = {
        "live": (np.array([row["live"] for row in rows], float), ("tasks", "shadow_bytes"), sizes.live_bytes),
        "frozen": (
            np.array([row["frozen"] for row in rows], float),
            ("mapped", "deflated_bytes"),
            sizes.frozen_bytes,
        ),
        "load, ms": (np.array([row["load"] * 1e3 for row in rows]), ("tasks", "shadow_bytes"), None),
        "thaw, ms": (np.array([row["thaw"] * 1e3 for row in rows]), ("tasks", "shadow_bytes"), None),
    }
    for name, (truth, columns, built_in) in truths.items():
        table = np.array([[1.0, *(row["features"][column] for column in columns)] for row in rows])
        factors = np.linalg.lstsq(table[learnt] / truth[learnt][:, None], np.ones(learnt.sum()), rcond=None)[0]
        print(f"{name}: fitted {', '.join(f'{each:.4g}' for each in factors)} for 1, {', '.join(columns)}")
        _judge(rows, learnt, table @ factors, truth)
        if built_in:
            print("  with the constants that are built in:")
            _judge(rows, learnt, np.array([built_in(sizes.Features(**row["features"])) for row in rows], float), truth)


def _judge(rows: list[dict[str, Any]], learnt: Any, predicted: Any, truth: Any) -> None:
    import numpy as np

    for kind in ("generated", "examples", "unlike"):
        chosen = np.array([row["kind"] == kind for row in rows]) & ~learnt
        if not chosen.any():
            continue
        error = np.abs(predicted[chosen] / truth[chosen] - 1)
        total = predicted[chosen].sum() / truth[chosen].sum() - 1
        print(
            f"  {kind}, {chosen.sum()} unseen: total {total:+.1%}, median {np.median(error):.1%},"
            f" p90 {np.quantile(error, 0.9):.1%}, max {error.max():.1%}"
        )


def graphs(database: Path) -> list[dict[str, Any]]:
    """Weights and costs of DAGs in a scheduler's process: one version of each, and artificial DAGs of another kind."""
    from benchmarks.unlike import unlike_dags

    with SerializedDagLoader(f"sqlite:///{database}") as loader:
        newest = {row.dag_id: row.id for row in loader.versions(sizes=False)}
        payloads = [(dag_id, loader.load(version)) for dag_id, version in newest.items()]
    rows = [(("generated" if name.startswith("generated") else "examples"), payload) for name, payload in payloads]
    rows += [("unlike", payload) for payload in unlike_dags(60)]
    weigher = _Weigher()
    weighed = []
    for kind, payload in rows:
        with suppress(FreezeError):  # such are kept live only
            if payload is not None:
                weighed.append({"kind": kind, **weigher.weigh(payload)})
    return weighed


class _Weigher:
    """Weighs as the scheduler's cache does, in which most live copies are thawed ones."""

    def __init__(self) -> None:
        import importlib

        from dagcache.airflow import graphs as airflow_graphs

        importlib.import_module("airflow.jobs.scheduler_job_runner")
        self._build: Any = importlib.import_module(
            "airflow.serialization.serialized_objects"
        ).DagSerialization.from_dict
        self._freezer, shared = airflow_graphs.freezer()
        self._shared = frozenset(map(id, shared))
        self._held = shared
        self._dictionary = Dictionary()

    def weigh(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Features, bytes and seconds of one DAG."""
        from dagcache.reclaim.gc_pause import gc_paused
        from dagcache.sizing.walk import weigh

        text = json.dumps(payload)
        started = time.perf_counter()
        with gc_paused():
            parsed = json.loads(text)
            share_strings(parsed)
            dag = self._build(parsed)
            share_immutables(dag)
        load = time.perf_counter() - started
        frozen = self._freezer.freeze(dag)
        live = weigh(self._freezer.thaw(frozen.data), shared=self._shared).nbytes
        found = sizes.features(json.loads(text), self._dictionary)
        return {
            "features": {name: getattr(found, name) for name in found.__dataclass_fields__},
            "live": live,
            "frozen": len(frozen.data),
            "load": load,
            "thaw": min(self._thaw(frozen.data) for _ in range(3)),
        }

    def _thaw(self, data: bytes) -> float:
        started = time.perf_counter()
        self._freezer.thaw(data)
        return time.perf_counter() - started


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
