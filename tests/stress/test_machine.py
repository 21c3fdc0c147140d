"""A state machine against a model: a dict, a clock, and a list of reasons for which an entry may be gone."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dagcache import DagCache, EntryInfo, FreezeError, RemovalCause, ThawError
from dagcache.core.ledger import HELD_PART
from dagcache.freezing.pickle_freezer import Frozen, PickleFreezer
from tests.support import probe
from tests.support.caches import KIB, Unfreezable, Weighted
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("quiet")

KEYS = st.integers(0, 11)
WEIGHTS = st.sampled_from([0, 1, 700, 5 * KIB, 20 * KIB, 60 * KIB, 100 * KIB, 500 * KIB])
TTL = 100.0
MAX_AGE = 250.0
NEGATIVE_TTL = 30.0
MISSING = object()


class TroubleError(Exception):
    """The exception of injected failures."""


class Frail:
    """A freezer that fails on request."""

    def __init__(self) -> None:
        self._whole = PickleFreezer()
        self.failing: str | None = None

    def freeze(self, value: object) -> Frozen:
        """As the real one."""
        if self.failing == "freeze":
            raise FreezeError
        if self.failing == "freeze badly":
            raise TroubleError
        return self._whole.freeze(value)

    def thaw(self, data: bytes) -> object:
        """As the real one."""
        if self.failing == "thaw":
            raise ThawError
        if self.failing == "thaw badly":
            raise TroubleError
        return self._whole.thaw(data)


class CacheMachine(RuleBasedStateMachine):
    """Every loss must be justified, every count exact, the budget never exceeded."""

    @initialize(
        budget=st.sampled_from([0, 3 * KIB, 20 * KIB, 150 * KIB, 400 * KIB]),
        tiers=st.booleans(),
        versions=st.booleans(),
        ages=st.booleans(),
        jitter=st.sampled_from([0.0, 0.5]),
        absences=st.booleans(),
        unproven_share=st.sampled_from([0.0, 0.25, 1.0]),
    )
    def start(
        self,
        budget: int,
        tiers: bool,
        versions: bool,
        ages: bool,
        jitter: float,
        absences: bool,
        unproven_share: float,
    ) -> None:
        """A cache of some size, with and without each of its options."""
        self.jitter = jitter
        self.max_age = MAX_AGE if ages else 0.0
        self.remembers = absences
        self.clock = ManualClock()
        self.freezer = Frail()
        self.failing: str | None = None
        self.cache: DagCache[int, Any] = DagCache(
            max_bytes=budget,
            ttl=TTL,
            max_age=self.max_age,
            jitter=jitter,
            negative_ttl=NEGATIVE_TTL if absences else 0,
            clock=self.clock,
            sizer=self.weigh,
            freezer=self.freezer if tiers else None,
            on_removal=self.removed,
            version_of=(lambda key: (key // 4, key)) if versions else None,
            unproven_share=unproven_share,
        )
        probe.time_upkeep(self.cache, lambda: 0.0)  # on a busy machine, a removal is reported by a later call
        probe.time_lookups(self.cache, functools.partial(next, itertools.count(0.0, 0.001)))  # victims depend on it
        self.latest = self.clock.now
        self.model: dict[int, Weighted] = {}
        self.used: dict[int, float] = {}
        self.born: dict[int, float] = {}
        self.absent: dict[int, float] = {}
        self.held: list[Weighted] = []
        self.private: list[Weighted] = []
        """Objects that the cache must not return again: of private lookups, and those shared before a renewal."""
        self.lookups = 0
        self.serial = 0
        self.gave_way: int | None = None

    def weigh(self, value: Weighted) -> int:
        """A sizer that fails on request."""
        if self.failing == "sizer":
            raise TroubleError
        if self.failing == "sizer nonsense":
            return -1
        return value.nbytes

    def removed(self, info: EntryInfo[Any], cause: RemovalCause) -> None:
        """Hear of a removal: is it justified? An entry that is gone must not be expected any more."""
        if cause is RemovalCause.EXPIRED:
            too_old = self.max_age and self.latest - self.born[info.key] > (1 - self.jitter) * self.max_age
            assert too_old or info.idle_seconds > (1 - self.jitter) * TTL
        if cause is RemovalCause.SIZE:
            assert self.cache.max_bytes, "nothing leaves an unbounded cache for its size"
            self.gave_way = info.key
        if cause in (RemovalCause.EXPIRED, RemovalCause.SIZE, RemovalCause.STALE):
            self.model.pop(info.key, None)
        if self.failing == "listener":
            raise TroubleError

    def new_value(self, nbytes: int, freezable: bool) -> Weighted:
        """A value never seen before."""
        self.gave_way = None
        self.serial += 1
        return (Weighted if freezable else Unfreezable)(self.serial, nbytes)

    def note_use(self, key: int) -> None:
        """The cache saw a use of the key."""
        self.used[key] = self.latest

    def check_found(self, key: int, found: Any) -> None:
        """The found value is the last assigned one, and was not expired."""
        assert found == self.model[key]
        assert all(found is not each for each in self.private)
        assert self.latest - self.used[key] <= TTL + 1
        assert not self.max_age or self.latest - self.born[key] <= self.max_age

    def settle(self, key: int, value: Weighted) -> None:
        """After an admission the entry is there, or there was a reason: a rejection, or an eviction at once."""
        self.born[key] = self.latest
        self.absent.pop(key, None)
        if key in self.cache:
            self.model[key] = value
        else:
            self.model.pop(key, None)
            reasons = self.cache.stats().rejections
            assert sum(reasons.values()) > self.rejections or self.gave_way == key, "rejected for no reason"
        self.note_use(key)
        self.rejections = sum(self.cache.stats().rejections.values())

    rejections = 0

    @rule(key=KEYS)
    def get(self, key: int) -> None:
        """Look up without loading."""
        self.lookups += 1
        found = self.cache.get(key, MISSING)
        if found is MISSING:
            assert key not in self.cache
            self.model.pop(key, None)
        else:
            self.check_found(key, found)
            self.note_use(key)

    @rule(key=KEYS)
    def hold(self, key: int) -> None:
        """Look up, and keep what is found."""
        self.lookups += 1
        found = self.cache.get(key)
        if found is None:
            self.model.pop(key, None)
        else:
            self.check_found(key, found)
            self.note_use(key)
            self.held.append(found)

    @rule()
    def drop(self) -> None:
        """Drop the held objects."""
        self.held.clear()
        self.private.clear()

    @rule(key=KEYS, renew=st.booleans())
    def fetch_private(self, key: int, renew: bool) -> None:
        """Look up, and keep an object of one's own; the objects that were shared before may be given up with it."""
        self.lookups += 1
        found = self.cache.fetch(key, private=True, renew=renew).value
        if renew:
            self.private += [each for each in self.held if each == self.model.get(key)]
        if found is None:
            if key not in self.cache:
                self.model.pop(key, None)
        else:
            self.check_found(key, found)
            assert all(found is not each for each in self.held)
            self.note_use(key)
            self.private.append(found)

    @rule(key=KEYS, nbytes=WEIGHTS, freezable=st.booleans())
    def get_or_load(self, key: int, nbytes: int, freezable: bool) -> None:
        """Look up; a missing value is loaded."""
        self.lookups += 1
        fresh = self.new_value(nbytes, freezable)
        found = self.cache.get_or_load(key, lambda _: fresh)
        if found is None:
            assert self.latest - self.absent[key] <= NEGATIVE_TTL
            self.model.pop(key, None)
        elif found is fresh:
            self.settle(key, fresh)
        else:
            self.check_found(key, found)
            self.note_use(key)

    @rule(key=KEYS, none=st.booleans())
    def load_in_vain(self, key: int, none: bool) -> None:
        """Look up with a loader that finds nothing or fails."""
        self.lookups += 1

        def loader(_key: int) -> None:
            if not none:
                raise TroubleError
            if self.remembers:
                self.absent[key] = self.latest

        try:
            found = self.cache.get_or_load(key, loader)
        except TroubleError:
            found = None
        if found is None:
            assert key not in self.cache
            self.model.pop(key, None)
        else:
            self.check_found(key, found)
            self.note_use(key)

    @rule(key=KEYS, nbytes=WEIGHTS, freezable=st.booleans())
    def put(self, key: int, nbytes: int, freezable: bool) -> None:
        """Assign."""
        value = self.new_value(nbytes, freezable)
        self.cache[key] = value
        self.settle(key, value)

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        """Remove."""
        there = key in self.cache
        try:
            del self.cache[key]
        except KeyError:
            assert not there
        else:
            assert there
        self.model.pop(key, None)
        self.absent.pop(key, None)

    @rule(key=KEYS)
    def invalidate(self, key: int) -> None:
        """Remove what is out of date."""
        self.cache.invalidate(key)
        assert key not in self.cache
        self.model.pop(key, None)
        self.absent.pop(key, None)

    @rule(seconds=st.sampled_from([0.1, 0.6, 2.0, 4.0, 20.0, 90.0, 101.0, 1e6, -1.0, -50.0, -1e6]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass, jump, or go back; for the cache it only ever passes."""
        self.clock.advance(seconds)
        self.latest = max(self.latest, self.clock.now)

    @rule(budget=st.sampled_from([0, 1, 2 * KIB, 20 * KIB, 100 * KIB, 300 * KIB]))
    def resize(self, budget: int) -> None:
        """Another budget."""
        self.cache.resize(budget)

    @rule()
    def expire(self) -> None:
        """Drop what is idle; afterwards nothing is beyond its time."""
        self.cache.expire()
        assert all(info.idle_seconds <= TTL for info in self.cache.entries())

    @rule()
    def clear(self) -> None:
        """Remove everything; afterwards only held values remain."""
        self.model.clear()
        self.absent.clear()
        self.cache.clear()
        assert len(self.cache) == 0
        held = {id(value): value.nbytes for value in [*self.held, *self.private]}
        assert self.cache.stats().waiting_bytes <= sum(held.values())

    @rule(
        what=st.sampled_from(
            [None, "sizer", "sizer nonsense", "listener", "freeze", "freeze badly", "thaw", "thaw badly"]
        )
    )
    def fail(self, what: str | None) -> None:
        """From now on something fails, or nothing does."""
        self.failing = self.freezer.failing = what

    @invariant()
    def everything_adds_up(self) -> None:
        """Totals, counts and bounds after every step; and nothing is there that the model does not know."""
        if not hasattr(self, "cache"):
            return
        self.cache.check_invariants()
        assert probe.due_bytes(self.cache) == 0
        stats = self.cache.stats()
        assert stats.lookups == self.lookups
        resident = stats.total_bytes - stats.waiting_bytes
        charged = min(stats.waiting_bytes, stats.max_bytes // HELD_PART)
        assert not stats.max_bytes or resident + charged <= stats.max_bytes
        assert stats.internal_errors == 0
        assert set(self.cache) <= set(self.model)
        assert stats.entries == len(self.cache)
        assert stats.absences <= len(self.absent)

    def teardown(self) -> None:
        """Each entry of the model is present, or the listener got a justified cause of its loss."""
        if hasattr(self, "cache"):
            assert set(self.model) - set(self.cache) == set(), "entries were lost without a reason"


def run_machine(examples: int) -> None:
    """Run the state machine over so many sequences of fifty steps."""
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )


def test_the_cache_agrees_with_its_model() -> None:
    """Two hundred sequences of fifty steps."""
    run_machine(200)


@pytest.mark.soak
def test_the_cache_agrees_with_its_model_ten_thousand_times() -> None:
    """Ten thousand sequences of fifty steps."""
    run_machine(10_000)
