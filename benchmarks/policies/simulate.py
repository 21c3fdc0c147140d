"""Runs of policies over cases, and the cost of their misses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from math import exp, log
from multiprocessing import Pool
from typing import Protocol

from benchmarks.policies.catalogue import CATALOGUE, HELD_BACK, QUICK, RECORDED, RECORDED_HELD_BACK
from benchmarks.policies.offline import offline_cost
from benchmarks.policies.predicted import Predicted
from benchmarks.policies.rivals import RIVALS
from benchmarks.policies.traces import Trace

OURS = "dagcache"
RECORDED_SETS = {"recorded, for tuning": RECORDED, "recorded, held back": RECORDED_HELD_BACK}
SETS = {"catalogue": CATALOGUE, "held back": HELD_BACK, **RECORDED_SETS}


class Cache(Protocol):
    """A cache of keys in a simulation."""

    def request(self, key: int, size: int, cost: float, now: float) -> bool:
        """Look a key up and offer it if it is absent; whether it was there."""


POLICIES: Mapping[str, Callable[[int], Cache]] = {OURS: Predicted, **RIVALS}


@dataclass(frozen=True)
class Case:
    """One trace (by its place in a set of scenarios) and one budget (as a share of its working set)."""

    cases: str
    scenario: int
    share: float


@dataclass(frozen=True)
class CaseResult:
    """Cost of the misses of each policy in one case, in seconds of loads."""

    cases: str
    family: str
    trace: str
    share: float
    offline: float
    costs: Mapping[str, float]

    def ratio(self, policy: str) -> float:
        """Cost over the offline cost."""
        return self.costs[policy] / self.offline


def all_cases() -> list[Case]:
    """Every case of every set."""
    return [
        Case(kind, index, share)
        for kind, scenarios in SETS.items()
        for index, scenario in enumerate(scenarios)
        for share in scenario.shares
    ]


def quick_cases() -> list[Case]:
    """One budget for each of a few traces of the catalogue."""
    return [
        Case("catalogue", index, scenario.shares[len(scenario.shares) // 2])
        for index, scenario in enumerate(CATALOGUE)
        if scenario.name in QUICK
    ]


def run_cases(cases: Iterable[Case], policies: Sequence[str], jobs: int) -> Iterator[CaseResult]:
    """Results in the order of the cases, computed in `jobs` processes."""
    tasks = zip(cases, repeat(tuple(policies)))
    if jobs == 1:
        yield from map(_run_task, tasks)
        return
    with Pool(jobs) as pool:
        yield from pool.imap(_run_task, tasks)


def run_case(case: Case, policies: Iterable[str]) -> CaseResult:
    """Run every policy over one case."""
    scenario = SETS[case.cases][case.scenario]
    trace = trace_of(case.cases, case.scenario)
    budget = int(case.share * trace.working_set)
    costs = {policy: miss_cost(POLICIES[policy](budget), trace) for policy in policies}
    offline = offline_cost(trace, budget)
    return CaseResult(case.cases, scenario.family, trace.name, case.share, offline, costs)


def miss_cost(cache: Cache, trace: Trace) -> float:
    """Seconds of loads that a cache causes over a trace."""
    total = 0.0
    for key, size, cost, now in trace.requests():
        if not cache.request(key, size, cost, now):
            total += cost
    return total


def hit_share(cache: Cache, trace: Trace) -> float:
    """Of all lookups of a trace, those that a cache answers."""
    return sum(cache.request(*each) for each in trace.requests()) / len(trace.keys)


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios."""
    logs = [log(value) for value in values]
    return exp(sum(logs) / len(logs))


def by_family(results: Iterable[CaseResult]) -> dict[str, list[CaseResult]]:
    """Results per family, in the order of their first appearance."""
    families: dict[str, list[CaseResult]] = defaultdict(list)
    for result in results:
        families[result.family].append(result)
    return dict(families)


def _run_task(task: tuple[Case, tuple[str, ...]]) -> CaseResult:
    return run_case(*task)


@lru_cache(maxsize=1)
def trace_of(cases: str, scenario: int) -> Trace:
    """The trace of a case; the last one is kept."""
    return SETS[cases][scenario].make()
