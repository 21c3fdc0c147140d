"""Time to choose a victim, by the number of residents."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter_ns

from benchmarks.policies.predicted import Predicted

NBYTES = 600_000


@dataclass(frozen=True)
class Timing:
    """Microseconds per miss, all of the policy's work included."""

    residents: int
    mean: float
    p99: float
    full_scan_mean: float


def time_choices(residents: int, misses: int = 2000, scans: int = 20) -> Timing:
    """Time misses of a full cache, and beside them a scan that scores every resident for each miss.

    The garbage collector rests meanwhile: its passes belong to the size of the process, not to the choice.
    """
    cache = _full_cache(residents)
    rng = random.Random(1)
    moments = [3_000.0 + i / 20 for i in range(misses)]
    returning = [rng.randrange(residents, 2 * residents) for _ in moments]
    with _no_gc():
        samples = [
            _microseconds(cache.request, key, NBYTES, 0.01, now) for key, now in zip(returning, moments, strict=True)
        ]
        full = [_microseconds(_scan, cache, now) for now in moments[:scans]]
    return Timing(residents, fmean(samples), sorted(samples)[int(0.99 * misses)], fmean(full))


@contextmanager
def _no_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _full_cache(residents: int) -> Predicted:
    """A cache of residents with known gaps, and with a ghost for every key that will return."""
    rng = random.Random(2)
    cache = Predicted(residents * NBYTES)
    for key in range(residents):
        cache.request(key, NBYTES, rng.uniform(0.005, 0.02), rng.uniform(0.0, 1000.0))
    for key in range(residents):
        cache.request(key, NBYTES, 0.01, rng.uniform(1500.0, 2900.0))
    for key in range(residents, 2 * residents):
        node = cache.nodes[key - residents]
        cache.ghosts.remember(hash(key), node.history)
    return cache


def _scan(cache: Predicted, now: float) -> object:
    return max(
        cache.policy, key=lambda node: abs(now - node.history.burst_start - node.history.gap) * node.cost_density
    )


def _microseconds(action: Callable[..., object], *arguments: object) -> float:
    start = perf_counter_ns()
    action(*arguments)
    return (perf_counter_ns() - start) / 1000
