"""Traces of an API server: views of DAGs and of their history."""

from __future__ import annotations

import numpy as np

from benchmarks.policies.traces import Trace, build, graph_sizes, next_version_size

DAY, HOUR = 86400.0, 3600.0


def api_server(
    name: str = "api",
    seed: int = 4,
    dags: int = 1500,
    hours: float = 12.0,
    rate: float = 3.0,
    alpha: float = 0.9,
    churn_per_day: float = 2.0,
    scans: bool = True,
) -> Trace:
    """Page views, `rate` per second at most, of DAGs by a Zipf law of exponent `alpha`.

    85 % go to the newest version, the rest some steps into the history; a view is 1 - 6 lookups within
    2 s; new versions attract views for a while. With `scans` there is a listing of 60 DAGs every
    15 min, of all every 2 h, and every 20 min a walk through one DAG's history.
    """
    return _Server(name, np.random.default_rng(seed), dags, alpha, churn_per_day).run(hours, rate, scans)


class _Server:
    def __init__(self, name: str, rng: np.random.Generator, dags: int, alpha: float, churn_per_day: float) -> None:
        self.name = name
        self.rng = rng
        self.dags = dags
        self.times: list[float] = []
        self.keys: list[int] = []
        self.family_of: list[int] = []
        self.size_of: list[int] = []
        self.versions: list[list[int]] = [[] for _ in range(dags)]
        self.fresh: list[int] = []
        self.base = graph_sizes(rng, dags)
        for dag in range(dags):
            for _ in range(1 + rng.geometric(1 / 8)):
                self._new_version(dag)
        self.working_set = sum(self.size_of[versions[-1]] for versions in self.versions)
        popularity = 1 / np.arange(1, dags + 1) ** alpha
        self.cumulated = np.cumsum(popularity / popularity.sum())
        self.ranking = rng.permutation(dags)
        self.between_versions = DAY / churn_per_day / dags

    def run(self, hours: float, rate: float, scans: bool) -> Trace:
        now, end = 0.0, hours * HOUR
        next_version = self.rng.exponential(self.between_versions)
        next_page, next_listing, next_history = 900.0, 3600.0, 600.0
        while now < end:
            now += self.rng.exponential(1 / (rate * (0.35 + 0.65 * np.sin(np.pi * now / end) ** 2)))
            while next_version < now:
                self._publish()
                next_version += self.rng.exponential(self.between_versions)
            self._view(now)
            if scans and now > next_page:
                next_page += 900
                now = self._list_page(now)
            if scans and now > next_listing:
                next_listing += 7200
                self._list_all(now)
            if scans and now > next_history:
                next_history += 1200
                self._walk_history(now)
        return build(
            self.name,
            self.times,
            self.keys,
            family_of=self.family_of,
            size_of=self.size_of,
            working_set=self.working_set,
            rng=self.rng,
        )

    def _new_version(self, dag: int) -> None:
        self.versions[dag].append(len(self.family_of))
        self.family_of.append(dag)
        self.size_of.append(next_version_size(self.rng, int(self.base[dag])))

    def _popular_dag(self) -> int:
        return int(self.ranking[np.searchsorted(self.cumulated, self.rng.random())])

    def _publish(self) -> None:
        dag = self._popular_dag() if self.rng.random() < 0.5 else int(self.rng.integers(self.dags))
        self._new_version(dag)
        self.fresh.append(dag)

    def _view(self, now: float) -> None:
        if self.fresh and self.rng.random() < 0.1:
            dag = self.fresh[-1 - min(len(self.fresh) - 1, self.rng.geometric(0.3) - 1)]
        else:
            dag = self._popular_dag()
        versions = self.versions[dag]
        back = 0 if self.rng.random() < 0.85 else min(len(versions) - 1, self.rng.geometric(0.3))
        for _ in range(self.rng.integers(1, 7)):
            self._look_up(now, versions[-1 - back])
            now += self.rng.random() * 0.4

    def _list_page(self, now: float) -> float:
        first = int(self.rng.integers(self.dags - 60))
        for dag in range(first, first + 60):
            self._look_up(now, self.versions[dag][-1])
            now += 0.01
        return now

    def _list_all(self, now: float) -> None:
        for dag in range(self.dags):
            self._look_up(now + dag * 0.01, self.versions[dag][-1])

    def _walk_history(self, now: float) -> None:
        versions = self.versions[int(self.rng.integers(self.dags))]
        for i, version in enumerate(versions[::-1][: self.rng.integers(20, 60)]):
            self._look_up(now + i * 2.0, version)

    def _look_up(self, moment: float, version: int) -> None:
        self.times.append(moment)
        self.keys.append(version)
