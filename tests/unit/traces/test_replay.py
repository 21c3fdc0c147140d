"""The simulation is the cache, without values: same lookups, same counts."""

from __future__ import annotations

import itertools
import random
import statistics
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from dagcache import DagCache
from dagcache.core.entry import Entry
from dagcache.core.loaded import Loaded
from dagcache.freezing.pickle_freezer import Frozen
from dagcache.reclaim.breaker import GenericBreaker
from dagcache.traces import replay as replaying
from dagcache.traces.replay import Lookup, ReplayResult, replay, replay_lru
from tests.support import probe
from tests.support.caches import KIB
from tests.support.clock import ManualClock


def lookup(at: float, key: Hashable, **facts: float) -> Lookup:
    """A lookup of a value of 100 KiB, 2 KiB frozen, that takes a tenth of a second to load."""
    usual = Lookup(at, key, 100 * KIB, 2 * KIB, 0.1, 0.01)
    return replace(usual, **facts)  # type: ignore[arg-type]


def sweeps(keys: int, rounds: int, seconds: float = 0.5) -> list[Lookup]:
    """Each key in turn, over and over."""
    return [lookup(step * seconds, step % keys) for step in range(keys * rounds)]


def uneven_sweeps(keys: int, rounds: int, seed: int) -> list[Lookup]:
    """The same of values of all sizes, in steps that are shorter than a burst."""
    chance = random.Random(seed)
    sizes = [int(chance.lognormvariate(11.5, 1)) + 1000 for _ in range(keys)]
    facts = [Lookup(0.0, key, size, size // 40, size * 1e-7, size * 1e-8) for key, size in enumerate(sizes)]
    return [replace(facts[step % keys], at=step * 0.05) for step in range(keys * rounds)]


def busy_day(seed: int) -> list[Lookup]:
    """Sweeps, bursts, strays, pauses and new versions, of values of all sizes, some without a frozen form."""
    chance = random.Random(seed)
    facts: dict[int, tuple[int, int, float, float]] = {}
    lookups, now = [], 0.0
    for step in range(800):
        now += chance.choice([0.0, 0.01, 0.3, 1.0, 4.0] + [60.0] * (step % 200 == 0))
        key = chance.choice([step % 40, chance.randrange(60), chance.randrange(5), 100 + step // 30])
        if key not in facts:
            size = int(chance.lognormvariate(11, 1)) + 1000
            frozen = 0 if key % 7 == 0 else size // chance.randrange(10, 60) + 10
            facts[key] = size, frozen, size * 1e-7 * chance.uniform(0.5, 2), size * 1e-8
        size, frozen, load, thaw = facts[key]
        family, order = (None, 0) if key % 3 == 0 else (key % 10, key)
        lookups.append(Lookup(now, key, size, frozen, load, thaw, family, order, record_bytes=key % 4 * 300))
    return lookups


class Real:
    """A `DagCache` that is looked up in as the lookups say, its values as large and as slow as they say."""

    def __init__(
        self, max_bytes: int, ttl: float, unproven_share: float = 1.0, breaker: GenericBreaker | None = None
    ) -> None:
        self.clock = ManualClock()
        self.seconds = 0.0
        self.peak = 0
        self.current: Lookup
        self.cache: DagCache[Hashable, Lookup] = DagCache(
            max_bytes=max_bytes,
            ttl=ttl,
            clock=self.clock,
            sizer=lambda value: int(value.live_bytes),
            freezer=self,
            breaker=breaker,
            unproven_share=unproven_share,
            version_of=lambda _key: None if self.current.family is None else (self.current.family, self.current.order),
        )
        probe.time_lookups(self.cache, lambda: self.seconds)

    def freeze(self, value: object) -> Frozen:
        """Bytes as many as stated; too many to be worth keeping where there are to be none."""
        assert isinstance(value, Lookup)
        return Frozen(bytes(value.frozen_bytes or value.live_bytes), ())

    def thaw(self, _data: bytes) -> object:
        """Takes as long as stated."""
        self.seconds += self.current.thaw_seconds
        return self.current

    def load(self, _key: Hashable) -> Loaded[Lookup]:
        """Takes as long as stated, with records of its own."""
        self.seconds += self.current.load_seconds
        return Loaded(self.current, record_bytes=self.current.record_bytes)

    def run(self, lookups: list[Lookup]) -> ReplayResult:
        """The results, by its own statistics."""
        start = self.clock.now
        for current in lookups:
            self.current = current
            self.clock.now = start + current.at
            self.cache.get_or_load(current.key, self.load)
            self.peak = max(self.peak, probe.resident_bytes(self.cache))
        stats = self.cache.stats()
        return ReplayResult(
            stats.max_bytes,
            stats.lookups,
            stats.hits_live,
            stats.hits_frozen,
            stats.misses,
            self.seconds,
            self.peak,
        )


@pytest.mark.parametrize(("ttl", "unproven_share"), [(0.0, 1.0), (100.0, 1.0), (10_800.0, 1.0), (10_800.0, 0.25)])
@pytest.mark.parametrize("max_bytes", [0, 2000, 20 * KIB, 200 * KIB, 1000 * KIB, 4000 * KIB])
def test_a_real_cache_makes_the_same_of_the_same_lookups(max_bytes: int, ttl: float, unproven_share: float) -> None:
    """Every count, every second and the peak, from a budget that holds next to nothing to none at all."""
    lookups = busy_day(max_bytes + int(ttl))
    simulated = replay(lookups, max_bytes, ttl, unproven_share)
    real = Real(max_bytes, ttl, unproven_share).run(lookups)
    assert simulated.seconds == pytest.approx(real.seconds)
    assert replace(simulated, seconds=0.0) == replace(real, seconds=0.0)


class Node:
    """A value with a cycle, so that the cache finds out whether a caller holds it."""

    def __init__(self, facts: Lookup) -> None:
        self.live_bytes, self.frozen_bytes = facts.live_bytes, facts.frozen_bytes
        self.me = [self]


class Held(Real):
    """A `DagCache` with a caller that drops its values after each twenty lookups."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, 10_800.0, breaker=GenericBreaker())
        probe.time_upkeep(self.cache, lambda: 0.0)
        self.values: list[object] = []

    def freeze(self, value: object) -> Frozen:
        """Bytes as many as stated."""
        assert isinstance(value, Node)
        return Frozen(bytes(value.frozen_bytes or value.live_bytes), ())

    def thaw(self, data: bytes) -> object:
        """A graph of its own each time."""
        return Node(cast("Lookup", super().thaw(data)))

    def load(self, key: Hashable) -> Any:
        """A graph of its own each time."""
        loaded = super().load(key)
        return Loaded(Node(loaded.value), record_bytes=loaded.record_bytes)

    def live_hits(self, lookups: list[Lookup]) -> int:
        """How many there are."""
        start = self.clock.now
        for current in lookups:
            self.current = current
            self.clock.now = start + current.at
            if len(self.values) == 20:
                self.values.clear()
            self.values.append(self.cache.get_or_load(current.key, self.load))
        self.cache.check_invariants()
        return self.cache.stats().hits_live


@pytest.mark.parametrize("max_bytes", [500 * KIB, 1000 * KIB])
def test_values_that_callers_hold_take_room_as_in_a_cache(max_bytes: int) -> None:
    """Live hits are within 3 % of those of a cache; without the option the error is larger."""
    lookups = busy_day(7)
    real = Held(max_bytes).live_hits(lookups)
    held, dropped = replay(lookups, max_bytes, held_lookups=20).live_hits, replay(lookups, max_bytes).live_hits
    assert abs(held - real) <= 0.03 * len(lookups)
    assert abs(held - real) < abs(dropped - real)


def test_values_that_fit_are_held_for_nothing() -> None:
    """Only released values take additional room."""
    lookups = busy_day(7)
    assert replay(lookups, 0, held_lookups=20) == replay(lookups, 0)


def test_held_values_are_dropped_together_at_the_end_of_a_session() -> None:
    """Over sweeps of values of all sizes the mean error of live hits is at most 1 % of the lookups."""
    errors = []
    for seed, part in itertools.product((1, 2, 3), (0.25, 0.5, 0.75)):
        lookups = uneven_sweeps(200, 10, seed)
        max_bytes = int(part * sum(each.live_bytes for each in lookups[:200]))
        error = replay(lookups, max_bytes, held_lookups=20).live_hits - Held(max_bytes).live_hits(lookups)
        errors.append(abs(error) / len(lookups))
    assert statistics.mean(errors) <= 0.01


def histories(entries: Iterable[Entry]) -> dict[Hashable, tuple[int, float, bool]]:
    """A store's knowledge of the uses of its entries, without their times."""
    return {entry.key: (entry.hits, round(entry.gap, 6), entry.superseded) for entry in entries}


def test_what_is_left_at_the_end_is_the_same_with_the_same_histories() -> None:
    """Not only the counts: hits in quick succession are noted, or not, as in a cache."""
    lookups = busy_day(5)
    real, simulated = Real(1000 * KIB, 10_800.0), replaying._Cache(1000 * KIB, 10_800.0, 1.0)
    real.run(lookups)
    for each in lookups:
        simulated.look_up(each)
    expected = histories(probe.entries(real.cache).values())
    assert len(expected) > 20
    assert histories(simulated._store.entries.values()) == expected


def test_the_lookups_that_the_real_cache_is_held_to_use_every_tier() -> None:
    """Otherwise the test above would show nothing."""
    outcome = replay(busy_day(1), 1000 * KIB, 100.0)
    assert min(outcome.live_hits, outcome.frozen_hits, outcome.misses) > 50


def test_without_a_budget_each_key_is_loaded_once() -> None:
    """And stays, live."""
    outcome = replay(sweeps(30, 5), 0)
    assert (outcome.lookups, outcome.misses, outcome.live_hits, outcome.frozen_hits) == (150, 30, 120, 0)
    assert outcome.seconds == pytest.approx(30 * 0.1)
    assert outcome.peak_bytes > 30 * 102 * KIB


def test_each_load_and_each_thaw_has_its_disposal() -> None:
    """A live hit displaces nothing."""
    lookups = [replace(each, release_seconds=0.004) for each in sweeps(30, 5)]
    bare, outcome = replay(sweeps(30, 5), 1100 * KIB), replay(lookups, 1100 * KIB)
    assert replace(outcome, seconds=0.0) == replace(bare, seconds=0.0)
    assert outcome.seconds - bare.seconds == pytest.approx((outcome.misses + outcome.frozen_hits) * 0.004)


def test_the_budget_is_kept_and_what_does_not_fit_live_is_thawed() -> None:
    """All of it fits frozen, a third of it live."""
    outcome = replay(sweeps(30, 5), 1100 * KIB)
    assert outcome.misses == 30
    assert 0 < outcome.live_hits < 120
    assert outcome.seconds == pytest.approx(30 * 0.1 + outcome.frozen_hits * 0.01)
    assert 1000 * KIB < outcome.peak_bytes <= 1100 * KIB


def test_what_is_idle_for_longer_than_the_ttl_is_loaded_again() -> None:
    """And not a second sooner."""
    assert replay([lookup(0, "a"), lookup(60, "a")], 0, ttl=60.0).misses == 1
    assert replay([lookup(0, "a"), lookup(61, "a")], 0, ttl=60.0).misses == 2
    assert replay([lookup(0, "a"), lookup(10**9, "a")], 0, ttl=0.0).misses == 1


def test_a_value_without_a_frozen_form_is_live_or_gone() -> None:
    """There is nothing to thaw."""
    outcome = replay([replace(each, frozen_bytes=0) for each in sweeps(30, 5)], 1100 * KIB)
    assert outcome.frozen_hits == 0
    assert outcome.misses > 30


def test_time_never_goes_back() -> None:
    """Lookups of several threads may end in another order than they were noted."""
    lookups = [lookup(100, "a"), lookup(99, "a"), lookup(150, "a")]
    outcome = replay(lookups, 20 * KIB, ttl=50.0)  # there is only room for the frozen form
    assert (outcome.misses, outcome.frozen_hits) == (1, 2)


def test_no_lookups_are_an_outcome() -> None:
    """Of zeros."""
    for outcome in (replay([], 100), replay_lru([])):
        assert (outcome.lookups, outcome.misses, outcome.seconds, outcome.hit_ratio) == (0, 0, 0.0, 0.0)


def test_the_hit_ratio_counts_both_tiers() -> None:
    assert ReplayResult(0, 10, 3, 2, 5, 1.0, 1).hit_ratio == 0.5


def test_the_most_recently_used_are_kept_by_count() -> None:
    """As a plain model does it."""
    lookups = busy_day(3)
    held: OrderedDict[Hashable, None] = OrderedDict()
    misses = 0
    for each in lookups:
        misses += each.key not in held
        held[each.key] = None
        held.move_to_end(each.key)
        if len(held) > 20:
            held.popitem(last=False)
    outcome = replay_lru(lookups, entries=20)
    assert (outcome.misses, outcome.live_hits) == (misses, len(lookups) - misses)


def test_a_sweep_over_one_more_than_fits_has_no_hit_by_recency() -> None:
    """Which is the reason for all of this; and its memory is that of all it holds."""
    outcome = replay_lru(sweeps(21, 5), entries=20)
    assert (outcome.misses, outcome.peak_bytes) == (105, 20 * 100 * KIB)
    assert outcome.seconds == pytest.approx(10.5)
    assert replay_lru(sweeps(20, 5), entries=20).misses == 20
