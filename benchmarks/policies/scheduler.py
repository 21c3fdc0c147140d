"""Traces of a scheduler, from a discrete event simulation of its loop."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.policies.traces import Trace, build, graph_sizes, next_version_size

PERIODS = (60.0, 300.0, 900.0, 3600.0, 86400.0)
MEDIAN_RUN = np.array([40.0, 120.0, 300.0, 1200.0, 2400.0])
DAY, HOUR = 86400.0, 3600.0
DAILY = 4
RUNS_PER_DAG = 4
NEW_RUN, NEW_VERSION = 0, 1


@dataclass(frozen=True)
class Installation:
    """DAGs of an installation and their schedules.

    `mix` weighs the periods 1 min, 5 min, 15 min, 1 h, 1 d; a share `aligned` of the DAGs starts on the
    hour; runs last `stretch` times the period's median. Each DAG gets `churn_per_day` new versions,
    a share `dynamic` a new one for every run. The loop takes `loop_seconds` and examines `per_loop`
    runs, looking the version up once and with chance `repeats` again, at once.
    """

    dags: int = 1500
    hours: float = 4.0
    loop_seconds: float = 1.0
    per_loop: int = 20
    dynamic: float = 0.03
    churn_per_day: float = 2.0
    repeats: float = 0.3
    aligned: float = 0.6
    mix: Sequence[float] = (0.02, 0.06, 0.12, 0.5, 0.3)
    stretch: float = 1.0


def scheduler(name: str = "sched", seed: int = 3, installation: Installation | None = None) -> Trace:
    """Lookups of a scheduler loop.

    The creation of a run looks the newest version up, and its start looks it up again. Then every loop examines
    the runs with the oldest examination, each on the version of its creation.
    """
    return _Simulation(installation or Installation(), np.random.default_rng(seed)).run(name)


class _Simulation:
    def __init__(self, installation: Installation, rng: np.random.Generator) -> None:
        self.setup = installation
        self.rng = rng
        self.times: list[float] = []
        self.keys: list[int] = []
        self.family_of: list[int] = []
        self.size_of: list[int] = []
        self.events: list[tuple[float, int, int]] = []
        self.queued: deque[tuple[int, int]] = deque()
        self.active: deque[tuple[int, int, float]] = deque()  # version, dag, end
        self.running: Counter[int] = Counter()  # runs per dag
        self.in_use: Counter[int] = Counter()  # runs per version
        self.active_bytes = 0
        mix = np.array(installation.mix)
        count = installation.dags
        self.kinds = rng.choice(len(PERIODS), count, p=mix / mix.sum())
        self.base = graph_sizes(rng, count)
        periods = np.array(PERIODS)[self.kinds]
        starts = np.where(rng.random(count) < installation.aligned, 0.0, rng.random(count) * periods)
        self.is_dynamic = rng.random(count) < installation.dynamic
        self.newest = [self._new_version(dag) for dag in range(count)]
        for dag in range(count):
            self._schedule(dag, float(starts[dag]))

    def run(self, name: str) -> Trace:
        now, loops, bytes_seen = 0.0, 0, 0
        while now < self.setup.hours * HOUR:
            self._happen_until(now)
            self._start_runs(now)
            self._examine_runs(now)
            bytes_seen += self.active_bytes
            loops += 1
            now += self.setup.loop_seconds
        return build(
            name,
            self.times,
            self.keys,
            family_of=self.family_of,
            size_of=self.size_of,
            working_set=bytes_seen / loops,
            rng=self.rng,
        )

    def _new_version(self, dag: int) -> int:
        self.family_of.append(dag)
        self.size_of.append(next_version_size(self.rng, int(self.base[dag])))
        return len(self.family_of) - 1

    def _schedule(self, dag: int, start: float) -> None:
        if self.kinds[dag] == DAILY:
            hour = self.rng.integers(0, 24) * HOUR
            start = hour + (0.0 if self.rng.random() < self.setup.aligned else self.rng.random() * HOUR)
        heapq.heappush(self.events, (start, NEW_RUN, dag))
        if self.setup.churn_per_day and not self.is_dynamic[dag]:
            heapq.heappush(self.events, (self._until_churn(), NEW_VERSION, dag))

    def _until_churn(self) -> float:
        return self.rng.exponential(DAY / self.setup.churn_per_day)

    def _happen_until(self, now: float) -> None:
        while self.events and self.events[0][0] <= now:
            moment, event, dag = heapq.heappop(self.events)
            if event == NEW_VERSION:
                self.newest[dag] = self._new_version(dag)
                heapq.heappush(self.events, (moment + self._until_churn(), NEW_VERSION, dag))
                continue
            heapq.heappush(self.events, (moment + PERIODS[self.kinds[dag]], NEW_RUN, dag))
            if self.is_dynamic[dag]:
                self.newest[dag] = self._new_version(dag)
            self.queued.append((dag, self.newest[dag]))
            self._look_up(now, self.newest[dag])

    def _start_runs(self, now: float) -> None:
        for _ in range(min(len(self.queued), self.setup.per_loop)):
            dag, version = self.queued.popleft()
            if self.running[dag] >= RUNS_PER_DAG:
                self.queued.append((dag, version))
                continue
            self.running[dag] += 1
            self._look_up(now + 0.001, version)
            duration = MEDIAN_RUN[self.kinds[dag]] * self.setup.stretch * self.rng.lognormal(0, 0.7)
            self.active.append((version, dag, now + duration))
            if not self.in_use[version]:
                self.active_bytes += self.size_of[version]
            self.in_use[version] += 1

    def _examine_runs(self, now: float) -> None:
        for i in range(min(self.setup.per_loop, len(self.active))):
            version, dag, end = self.active.popleft()
            moment = now + 0.01 + i * 0.02
            self._look_up(moment, version)
            if self.rng.random() < self.setup.repeats:
                self._look_up(moment + 0.002, version)
                if self.rng.random() < 0.3:
                    self._look_up(moment + 0.004, version)
            if end > now:
                self.active.append((version, dag, end))
                continue
            self.running[dag] -= 1
            self.in_use[version] -= 1
            if not self.in_use[version]:
                self.active_bytes -= self.size_of[version]

    def _look_up(self, moment: float, version: int) -> None:
        self.times.append(moment)
        self.keys.append(version)
