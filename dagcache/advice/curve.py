"""The cost of misses as a function of the budget: the scheduler's sweeps, replayed in the real store.

The replay covers a few windows of the period: the busiest moment and three typical ones. Each window has some warm laps
that fill the cache before lookups count. If very many versions are in use, a random share of them stands for all, with
the same share of each budget.

A scheduler looks the DAGs of a loop's runs up twice, and holds them until the loop ends. Of these, the ones that left
the live tier take room from the residents, and serve the second lookup. So the replay holds as many.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from random import Random
from uuid import UUID

from dagcache.advice.sizes import Size
from dagcache.advice.working_set import Moment, Use, active, sweep
from dagcache.airflow.confirmations import RECORD_BYTES  # needs no Airflow
from dagcache.airflow.settings import UNPROVEN_SHARE  # needs no Airflow
from dagcache.traces.replay import Lookup, ReplayResult, replay, replay_lru
from dagcache.traces.scheduler_loop import PASSES, RUNS_PER_LOOP

STOCK_ENTRIES = 512
"""The entries that the scheduler's own cache holds in Airflow 3.3.2."""
_WARM_LAPS, _LAPS = 3, 4
_MOST_VERSIONS = 1_500
_MOST_LOOKUPS = 30_000
_TYPICAL = (0.25, 0.5, 0.75)
_THAW_SPREAD = 0.2
"""The variation of one version's thaw times, as the sigma of a lognormal; 0.14 - 0.21 were measured in real sweeps. The
cache ranks by measured times: without the variation, the replay is some per cent too optimistic."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the past to replay."""

    at: float
    runs: int
    lookups: list[Lookup]
    warm: int
    """The number of first lookups that only fill the cache."""
    share: float
    """The share of the versions that is replayed; 1 = all."""
    loop_seconds: float

    @property
    def sweep_seconds(self) -> float:
        """The duration of one sweep of the scheduler."""
        return max(1.0, self.runs / RUNS_PER_LOOP) * self.loop_seconds

    @property
    def uncached_seconds(self) -> float:
        """The cost of a sweep in which each run loads its DAG."""
        return sum(each.load_seconds for each in self.lookups) / max(1, len(self.lookups)) * self.runs

    @property
    def versions(self) -> dict[UUID, Lookup]:
        """The number of versions that are looked up."""
        return {look_up.key: look_up for look_up in self.lookups}  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Point:
    """The effect of a budget on a warm cache."""

    max_bytes: int
    live: float
    """A share of the lookups; live, frozen and missed add up to 1."""
    frozen: float
    missed: float
    seconds_per_sweep: float
    """The time for loads and thaws in one sweep."""
    busy: float
    """The same as a share of the scheduler's time."""
    held_bytes: int
    """The largest number of accounted bytes."""


def choose_moments(steps: Sequence[tuple[Moment, float]]) -> list[Moment]:
    """The busiest moment, then typical ones: the quartiles of the bytes in use over time."""
    busy = [step for step in steps if step[0].runs > 0]
    if not busy:
        return []
    ordered = sorted(busy, key=lambda step: step[0].full_bytes)
    passed = list(accumulate(duration for _, duration in ordered))
    typical = [ordered[bisect_left(passed, part * passed[-1])][0] for part in _TYPICAL if passed[-1]]
    return list(dict.fromkeys([ordered[-1][0], *typical]))


def window(
    uses: list[Use], moment: Moment, sizes: dict[UUID, Size], orders: dict[UUID, int], loop_seconds: float
) -> Window:
    """The lookups from a moment on."""
    chosen = _Chosen({use.version_id for use in active(uses, moment.at)})
    rounds = sweep(uses, moment.at, _WARM_LAPS + _LAPS, loop_seconds)
    noise = Random(1)  # a fixed seed: the same history gets the same advice
    replayed = (_lookup(at, use, loop, sizes, orders, noise) for at, use, loop in rounds if chosen.has(use.version_id))
    lookups = list(islice(replayed, _MOST_LOOKUPS))
    warm = len(lookups) * _WARM_LAPS // (_WARM_LAPS + _LAPS)
    return Window(moment.at, moment.runs, lookups, warm, chosen.share, loop_seconds)


def point(found: Window, max_bytes: int, ttl: float) -> Point:
    """Replay a window with a budget in bytes; 0 = unbounded."""
    budget = max(1, round(max_bytes * found.share)) if max_bytes else 0
    return _point(found, max_bytes, lambda lookups: replay(lookups, budget, ttl, UNPROVEN_SHARE))


def stock(found: Window) -> Point:
    """Replay a window with Airflow's own cache."""
    entries = max(1, round(STOCK_ENTRIES * found.share))
    return _point(found, 0, lambda lookups: replay_lru(lookups, entries))


def mean(points: Sequence[Point]) -> Point:
    """The sum of several windows with one budget."""
    count = len(points)
    return Point(
        points[0].max_bytes,
        sum(each.live for each in points) / count,
        sum(each.frozen for each in points) / count,
        sum(each.missed for each in points) / count,
        sum(each.seconds_per_sweep for each in points) / count,
        sum(each.busy for each in points) / count,
        max(each.held_bytes for each in points),
    )


def _point(found: Window, max_bytes: int, run: Callable[[list[Lookup]], ReplayResult]) -> Point:
    """The lookups after the warm laps: all, less a replay of the warm laps alone. Replays are deterministic."""
    all_of_it, before = run(found.lookups), run(found.lookups[: found.warm])
    lookups = max(1, all_of_it.lookups - before.lookups)
    per_sweep = (all_of_it.seconds - before.seconds) / lookups * found.runs * PASSES
    return Point(
        max_bytes=max_bytes,
        live=(all_of_it.live_hits - before.live_hits) / lookups,
        frozen=(all_of_it.frozen_hits - before.frozen_hits) / lookups,
        missed=(all_of_it.misses - before.misses) / lookups,
        seconds_per_sweep=per_sweep,
        busy=per_sweep / found.sweep_seconds,
        held_bytes=round(all_of_it.peak_bytes / found.share),
    )


def _lookup(at: float, use: Use, loop: int, sizes: dict[UUID, Size], orders: dict[UUID, int], noise: Random) -> Lookup:
    size = sizes[use.version_id]
    slowness = noise.lognormvariate(-(_THAW_SPREAD**2) / 2, _THAW_SPREAD)  # 1 on average
    return Lookup(
        at,
        use.version_id,
        size.live_bytes,
        size.frozen_bytes,
        size.load_seconds,
        size.thaw_seconds * slowness,
        use.dag_id,
        orders.get(use.version_id, 0),
        RECORD_BYTES,
        loop,
        size.release_seconds,
    )


class _Chosen:
    """A choice of the versions to replay: all, or if there are very many, a fixed share by id."""

    def __init__(self, versions: set[UUID]) -> None:
        self.share = min(1.0, _MOST_VERSIONS / max(1, len(versions)))

    def has(self, version: UUID) -> bool:
        """Whether this version is replayed."""
        return self.share == 1.0 or (version.int & 0xFFFF_FFFF) / 0x1_0000_0000 < self.share  # these bits are random
