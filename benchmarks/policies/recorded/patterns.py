"""The patterns of work of the recorded schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Pattern:
    """An installation of generated DAGs, and the events in it."""

    name: str
    seed: int
    held_back: bool
    """Whether the policy may not be tuned on it."""
    dags: int
    """Those that work: scheduled, or triggered in bursts."""
    every: Sequence[float] = ()
    """Seconds between two runs of a DAG, one drawn for each; none: they are triggered only."""
    catchup: bool = False
    """Whether all runs since the beginning of 2026 are made up for, one after the other, or the schedule begins now."""
    mean_tasks: float = 12.0
    """Tasks of a DAG, lognormal."""
    task_seconds: float = 4.0
    """How long a task lasts: the median, lognormal."""
    active_runs: int = 2
    """Of one DAG at a time, at most."""
    idle: int = 0
    """DAGs with a run each that waits, beside those that work."""
    idle_seconds: float = 10_000.0
    """How long it waits: the median."""
    new_version_every: float = 0.0
    """Seconds from one new version, of any DAG that works, to the next; 0: none comes."""
    keeps_versions: bool = False
    """Whether a run stays with the version it began with, as it does with DAGs from a versioned bundle."""
    burst: int = 0
    """DAGs that are triggered together; some are drawn more often than others."""
    burst_every: float = 30.0
    """Seconds from one burst to the next."""
    runs_per_loop: int = 20
    """Runs that the scheduler examines per loop; 20 is its default."""


PATTERNS = (
    Pattern("minutely", seed=1, held_back=False, dags=220, every=(60.0,), task_seconds=3.0),
    Pattern(
        "catchup",
        seed=2,
        held_back=False,
        dags=110,
        every=(HOUR,),
        catchup=True,
        mean_tasks=7.0,
        task_seconds=2.0,
        active_runs=3,
        new_version_every=1.5,
        keeps_versions=True,
    ),
    Pattern(
        "few-busy",
        seed=3,
        held_back=False,
        dags=12,
        every=(10.0,),
        task_seconds=12.0,
        active_runs=16,
        idle=260,
        new_version_every=5.0,
        keeps_versions=True,
    ),
    Pattern("bursts", seed=4, held_back=False, dags=400, mean_tasks=9.0, task_seconds=3.0, burst=60, burst_every=25.0),
    Pattern(
        "minutely-mixed",
        seed=11,
        held_back=True,
        dags=300,
        every=(30.0, 60.0, 60.0, 120.0, 120.0, 240.0),
        mean_tasks=10.0,
        task_seconds=8.0,
        new_version_every=4.0,
    ),
    Pattern(
        "catchup-daily",
        seed=12,
        held_back=True,
        dags=70,
        every=(DAY,),
        catchup=True,
        mean_tasks=5.0,
        task_seconds=1.0,
        active_runs=8,
        new_version_every=3.0,
    ),
    Pattern(
        "few-busy-waking",
        seed=13,
        held_back=True,
        dags=25,
        every=(15.0,),
        mean_tasks=15.0,
        task_seconds=8.0,
        active_runs=8,
        idle=180,
        idle_seconds=90.0,
        new_version_every=3.0,
        keeps_versions=True,
    ),
    Pattern(
        "bursts-large",
        seed=14,
        held_back=True,
        dags=500,
        mean_tasks=8.0,
        task_seconds=6.0,
        burst=120,
        burst_every=60.0,
        runs_per_loop=60,
    ),
)
