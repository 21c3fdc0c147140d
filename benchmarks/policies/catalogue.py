"""The cases that policies are judged on: traces times budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.policies.api_server import api_server
from benchmarks.policies.recorded.files import recorded
from benchmarks.policies.recorded.patterns import PATTERNS
from benchmarks.policies.scheduler import Installation, scheduler
from benchmarks.policies.sweeps import loop, phase, turning
from benchmarks.policies.traces import Trace, merge
from benchmarks.policies.unit_traces import alternating, recency, slowdown, twice, zipf

OVER = (1 / 1.05, 0.8, 1 / 1.5, 0.5, 0.25)
OF_RECORDED = (0.25, 0.5, 0.75, 0.9)
HOURLY = (0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Scenario:
    """A trace and the budgets to try, as shares of its working set."""

    family: str
    name: str
    shares: Sequence[float]
    make: Callable[[], Trace]


def _mixed(name: str, seeds: tuple[int, int], dags: int, rate: float = 5.0, dynamic: float = 0.03) -> Trace:
    runs = scheduler(seed=seeds[0], installation=Installation(dags=dags, dynamic=dynamic))
    return merge(name, [runs, api_server(seed=seeds[1], dags=dags, hours=4, rate=rate)])


def _loop(name: str, shares: Sequence[float], seed: int, **options: Any) -> Scenario:
    return Scenario("loop", name, shares, lambda: loop(name, seed, **options))


def _phase(name: str, shares: Sequence[float], seed: int, **options: Any) -> Scenario:
    return Scenario("phase", name, shares, lambda: phase(name, seed, **options))


def _sched(name: str, shares: Sequence[float], seed: int, **options: Any) -> Scenario:
    return Scenario("sched", name, shares, lambda: scheduler(name, seed, Installation(**options)))


def _api(name: str, shares: Sequence[float], seed: int, **options: Any) -> Scenario:
    return Scenario("api", name, shares, lambda: api_server(name, seed, **options))


def _unit(
    family: str, make: Callable[..., Trace], name: str, shares: Sequence[float], seed: int, **options: Any
) -> Scenario:
    return Scenario(family, name, shares, lambda: make(name, seed, **options))


CATALOGUE: tuple[Scenario, ...] = (
    _loop("loop", (2.0, *OVER), 1),
    _loop("loop-jitter", OVER, 11, jitter=0.05, repeats=0.3),
    _loop("loop-equal", OVER, 12, equal=True),
    _phase("phase", (0.5, 0.8, 0.95), 2),
    _sched("sched", (0.3, 0.6, 1.0, 1.5), 3),
    _sched("sched-inflation", (0.3, 0.6, 1.0, 1.5), 31, dynamic=0.25, churn_per_day=6),
    _sched(
        "sched-steady",
        (0.3, 0.6, 0.8, 0.95),
        32,
        mix=HOURLY,
        aligned=0,
        stretch=1.5,
        churn_per_day=1,
        dynamic=0,
    ),
    _sched("sched-4000", (0.3, 0.6, 1.0), 33, dags=4000, mix=(0.005, 0.02, 0.05, 0.425, 0.5)),
    _sched("sched-minutely", (0.3, 0.6, 1.0), 34, dags=400, mix=(0.15, 0.3, 0.3, 0.2, 0.05), dynamic=0.2),
    _sched("sched-day", (0.6, 1.0, 1.5), 35, hours=24, loop_seconds=5),
    _api("api", (0.05, 0.15, 0.4), 4),
    _api("api-noscan", (0.05, 0.15, 0.4), 41, scans=False, alpha=0.7),
    Scenario("mixed", "mixed", (0.3, 0.6, 0.9), lambda: _mixed("mixed", (36, 42), 800)),
    _unit("zipf", zipf, "zipf", (0.02, 0.1, 0.3), 5),
    _unit("recency", recency, "recency", (0.05, 0.1, 0.3), 6),
    _unit("adversarial", twice, "twice", (0.3, 0.6), 7),
    _unit("adversarial", alternating, "alternating", (0.2, 0.5, 0.8), 8),
    _unit("adversarial", slowdown, "slowdown", (0.3, 0.6), 9),
)
"""The cases that the policy was made with."""

HELD_BACK: tuple[Scenario, ...] = (
    _loop("loop-small", (0.9, 0.6, 0.35), 101, count=300, laps=80),
    _loop("loop-large", (0.97, 0.7), 102, count=4000, laps=25, jitter=0.02),
    _loop("loop-loose", (0.85, 0.45), 103, count=700, jitter=0.3, repeats=0.1),
    _phase("phase-short", (0.6, 0.9), 104, count=500, phases=10, laps=10, overlap=0.5),
    _phase("phase-long", (0.7,), 105, count=900, phases=3, laps=40, overlap=0.0),
    Scenario("adversarial", "turning", (0.5, 0.8), lambda: turning()),
    Scenario("adversarial", "turning-often", (0.4, 0.8), lambda: turning("turning-often", 106, 400, straight=1)),
    _sched("sched-other", (0.4, 0.8), 107, dags=1100, repeats=0.1),
    _sched("sched-slow", (0.5, 0.9), 108, dags=900, loop_seconds=3, per_loop=10, stretch=0.7),
    _sched("sched-wild", (0.5, 1.2), 109, dynamic=0.5, churn_per_day=12, repeats=0.6),
    _sched("sched-random", (0.4, 0.7, 0.95), 110, aligned=0, mix=(0.05, 0.1, 0.2, 0.6, 0.05), dags=700),
    _api("api-steep", (0.05, 0.2), 111, alpha=1.1, rate=4, hours=8),
    _api("api-churn", (0.1, 0.3), 112, churn_per_day=8, dags=800, hours=8),
    Scenario("mixed", "mixed-dynamic", (0.4, 0.8), lambda: _mixed("mixed-dynamic", (113, 114), 600, 3, 0.15)),
    _unit("zipf", zipf, "zipf-steep", (0.03, 0.15), 115, count=8000, alpha=1.0),
    _unit("recency", recency, "recency-deep", (0.06, 0.2), 116, depth=700),
    _unit("adversarial", twice, "twice-far", (0.4, 0.9), 117, gap=900),
    _unit("adversarial", alternating, "alternating-mild", (0.3, 0.6), 118, count=500, short=300, long=1500),
    _unit("adversarial", slowdown, "slowdown-slow", (0.4,), 119, growth=1.07),
)
"""Cases with other seeds and parameters, by which it was judged: a rule that helps only the catalogue is not kept."""

RECORDED, RECORDED_HELD_BACK = (
    tuple(
        Scenario(pattern.name, pattern.name, OF_RECORDED, partial(recorded, pattern.name))
        for pattern in PATTERNS
        if pattern.held_back is held_back
    )
    for held_back in (False, True)
)
"""Lookups of real schedulers: one half for tuning the policy, the other for judging it."""

QUICK = ("loop", "loop-jitter", "phase", "sched-minutely", "api-noscan", "zipf", "alternating")
"""Names of the traces of the catalogue that a quick run tries."""
