"""Values that change in use: the times of weighing, its cost, and the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dagcache.core.cache import DagCache
from dagcache.core.entry import USES_BEFORE_REWEIGHING, Candidate, Entry, LiveCopy
from dagcache.core.reweighing import Reweighing
from dagcache.sizing.walk import weigh
from tests.support import probe
from tests.support.caches import KIB, MIB, Unfreezable, Weighted, fill, make_cache, never
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE

MOST_USES = 256
ENOUGH = 2 * MOST_USES + USES_BEFORE_REWEIGHING
"""Noted hits within which any live value is weighed again, if the cost does not matter."""


class Weighings:
    """A reweighing with a clock of its own, in which each weighing takes so long."""

    def __init__(self, seconds: float = 0.001) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.work = 0.0
        self.made = 0
        self.reweighing = Reweighing(self._weigh, timer=lambda: self.work)

    def _weigh(self, value: Any, known: int) -> int:
        self.made += 1
        self.work += self.seconds
        return int(value.nbytes)

    def use(self, copy: LiveCopy, times: int = 1, *, apart: float = 0.0) -> int:
        """Note so many uses, so many seconds apart; how many weighings that led to."""
        before = self.made
        for _ in range(times):
            self.now += apart
            copy.uses += 1
            if copy.uses >= copy.due:
                self.reweighing.look_at(copy, self.now)
        return self.made - before


def live_copy(nbytes: int = 100 * KIB) -> LiveCopy:
    """Of a value that weighs so much."""
    entry = Entry(Candidate(key="key", value=None, live_bytes=nbytes), 0.0)
    return LiveCopy(entry, Weighted("key", nbytes), nbytes, 1.0, None)


def look_up(cache: DagCache[Any, Any], clock: ManualClock, keys: Any, times: int, *, apart: float = 1.0) -> None:
    """Look keys up that are there, again and again."""
    for _ in range(times):
        for key in keys:
            clock.advance(apart)
            cache.get_or_load(key, never)
            cache.check_invariants()


# ---- when ----


def test_a_copy_is_weighed_after_sixteen_uses_and_less_often_while_nothing_changes() -> None:
    """The numbers double up to 256."""
    weighings, copy = Weighings(seconds=0.0), live_copy()
    weighings.reweighing.earn(1.0)
    uses = []
    for _ in range(7):
        count = 1
        while not weighings.use(copy):
            count += 1
        uses.append(count)
    assert uses == [16, 32, 64, 128, 256, 256, 256]


def test_a_copy_that_has_changed_is_weighed_after_sixteen_uses_again() -> None:
    weighings, copy = Weighings(seconds=0.0), live_copy()
    weighings.reweighing.earn(1.0)
    assert weighings.use(copy, 16 + 32) == 2
    copy.value.nbytes += 2 * KIB  # type: ignore[attr-defined]
    assert weighings.use(copy, 64) == 1
    assert copy.due == USES_BEFORE_REWEIGHING


def test_a_hit_that_needs_not_be_noted_counts_for_nothing() -> None:
    """The hit path costs what it cost before."""
    cache, clock = make_cache(ttl=0)
    fill(cache, ["key"])
    uses = probe.live_copy(cache, "key").uses
    for _ in range(1000):
        cache.get("key")
    assert probe.live_copy(cache, "key").uses == uses
    clock.advance(1.0)
    cache.get("key")
    assert probe.live_copy(cache, "key").uses == uses + 1


# ---- what it may cost ----


def test_weighings_take_a_hundredth_of_what_loads_and_thaws_take() -> None:
    """Where no time passes."""
    weighings, copy = Weighings(seconds=0.001), live_copy()
    assert weighings.use(copy, 1000) == 0
    for _ in range(1000):
        weighings.reweighing.earn(0.01)
        weighings.use(copy, 256)
    assert 0.9 < weighings.reweighing.seconds_total / (0.01 * 1000 * 0.01) <= 1.01


def test_weighings_take_a_thousandth_of_the_time_that_passes() -> None:
    """Where nothing is loaded any more."""
    weighings, copy = Weighings(seconds=0.002), live_copy()
    weighings.use(copy, 100_000, apart=0.005)
    assert 0.4 < weighings.reweighing.seconds_total / (0.001 * weighings.now) <= 1.01


def test_a_quiet_day_saves_up_no_long_pause() -> None:
    """A graph that takes so long to weigh is not weighed again."""
    weighings, small, large = Weighings(seconds=0.2), live_copy(MIB), live_copy(100 * MIB)
    weighings.reweighing.earn(1e9)
    assert weighings.use(small, 16) == 1
    weighings.seconds = 20.0
    weighings.reweighing.earn(1e9)
    assert weighings.use(large, 16) == 1  # nothing was known of such ones
    weighings.reweighing.earn(1e9)
    assert weighings.use(large, 10_000, apart=1e6) == 0
    assert weighings.use(small, 10_000, apart=1.0) > 0


def test_loads_before_the_first_weighing_save_up_no_long_pause() -> None:
    """One weighing of this cost takes all but a part of the most that is saved."""
    weighings, copy = Weighings(seconds=0.2), live_copy()
    weighings.reweighing.earn(1e9)
    assert weighings.use(copy, 16) == 1
    assert weighings.use(copy, 1000) == 0


def test_what_cost_more_than_was_expected_is_paid_before_the_next() -> None:
    """A value may have grown a hundredfold."""
    weighings, copy = Weighings(seconds=0.001), live_copy()
    weighings.reweighing.earn(1.0)
    weighings.use(copy, 16)
    weighings.seconds = 1.0
    weighings.reweighing.earn(1.0)
    assert weighings.use(copy, 32) == 1
    weighings.seconds = 0.001
    assert weighings.use(copy, 1000, apart=0.9) == 0
    assert weighings.use(copy, 1000, apart=0.9) > 0


def test_two_threads_never_weigh_at_once() -> None:
    """The second one serves its hit."""
    began, go_on = threading.Event(), threading.Event()
    made = []

    def slowly(value: Any, known: int) -> int:
        made.append(value)
        began.set()
        assert go_on.wait(PATIENCE)
        return known

    reweighing = Reweighing(slowly)
    reweighing.earn(10.0)
    copies = live_copy(), live_copy()
    for copy in copies:
        copy.uses = copy.due
    thread = threading.Thread(target=reweighing.look_at, args=(copies[0], 0.0))
    thread.start()
    assert began.wait(PATIENCE)
    assert reweighing.look_at(copies[1], 0.0) is None
    go_on.set()
    thread.join()
    assert made == [copies[0].value]
    assert copies[1].uses == copies[1].due


# ---- what becomes of the ledger ----


def test_values_that_grow_after_they_came_in_are_accounted_and_make_room() -> None:
    """Eight of 20 KB that become 28 MiB, in a budget of 8 MiB, by the real weighing."""
    cache, clock = make_cache(max_bytes="8MiB", sizer=None)
    for key in range(8):
        cache.get_or_load(key, lambda _: [bytes(20_000)])
    for key in range(8):
        cache.get_or_load(key, never).append(bytes(7 * MIB // 2))
    assert cache.stats().live_bytes < 200_000
    look_up(cache, clock, range(8), ENOUGH)
    stats = cache.stats()
    truth = sum(weigh(value).nbytes for value in probe.live_values(cache).values())
    assert stats.live_bytes == pytest.approx(truth, rel=0.1)
    assert stats.total_bytes <= 8 * MIB
    assert stats.demotions > 0


def test_a_giant_that_grows_is_weighed_again_by_a_sample() -> None:
    """The whole of it would take longer than one lookup may."""

    class Part:
        weighed = 0

        def __init__(self) -> None:
            self.items: list[bytes] = []

        def __sizeof__(self) -> int:
            Part.weighed += 1
            return object.__sizeof__(self)

    cache, clock = make_cache(max_bytes="1GiB", sizer=None)
    cache["giant"] = giant = [Part() for _ in range(20_000)]
    before = cache.stats().live_bytes
    for part in giant:
        part.items.append(bytes(1000))
    Part.weighed = 0
    look_up(cache, clock, ["giant"], ENOUGH)
    assert 2048 <= Part.weighed < 20_000
    assert cache.stats().live_bytes - before == pytest.approx(weigh(giant).nbytes - before, rel=0.05)
    cache.check_invariants()


def test_a_value_that_shrank_makes_room_for_others() -> None:
    """A cache that its user has emptied, for instance."""
    cache, clock = make_cache(max_bytes="1MiB", ttl=0)
    cache["big"] = value = Weighted("big", 900 * KIB)
    value.nbytes = KIB
    look_up(cache, clock, ["big"], USES_BEFORE_REWEIGHING)
    assert cache.stats().live_bytes == KIB
    cache["other"] = Weighted("other", 900 * KIB)
    assert cache.stats().live_entries == 2
    cache.check_invariants()


def test_a_value_without_a_frozen_form_that_outgrows_the_budget_leaves() -> None:
    """And the lookup that found it out is served."""
    cache, clock = make_cache(max_bytes="1MiB", ttl=0)
    cache["big"] = value = Unfreezable("big", 100 * KIB)
    value.nbytes = 2 * MIB
    served = 0
    while "big" in cache:
        clock.advance(1.0)
        assert cache.get("big") is value
        served += 1
    assert served == USES_BEFORE_REWEIGHING
    stats = cache.stats()
    assert stats.total_bytes == stats.waiting_bytes == 2 * MIB, "this test still holds it"
    cache.check_invariants()


def test_a_thaw_brings_back_a_value_as_it_was_frozen_and_it_is_charged_as_such() -> None:
    """The growth of the demoted copy is gone with it."""
    cache, clock = make_cache(max_bytes="1MiB", ttl=0)
    cache["key"] = value = Weighted("key", 100 * KIB)
    value.nbytes = 2 * MIB
    look_up(cache, clock, ["key"], USES_BEFORE_REWEIGHING)
    assert cache.stats().live_entries == 0
    del value
    cache.expire()
    assert cache.get("key") == Weighted("key", 100 * KIB)
    assert cache.stats().live_bytes == 100 * KIB
    cache.check_invariants()


def test_the_slow_path_weighs_as_well() -> None:
    """Where the hit path has no table to look into, as in a subclass that overrides it."""

    class Slow(DagCache[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            return super().get(key, default)

    clock = ManualClock()
    cache = Slow(max_bytes=0, sizer=lambda value: int(value.nbytes), clock=clock, ttl=0)
    cache["key"] = value = Weighted("key", 100)
    value.nbytes = 5000
    for _ in range(USES_BEFORE_REWEIGHING):
        clock.advance(1.0)
        cache.get("key")
    assert cache.stats().live_bytes == 5000
    cache.check_invariants()


@pytest.mark.parametrize("error", [ValueError("no weight"), MemoryError(), RecursionError()])
def test_a_weighing_that_fails_costs_the_correction_and_not_the_hit(error: Exception) -> None:
    """It counts as before, and is not tried at each hit."""
    calls = []

    def sizer(value: Any) -> int:
        calls.append(value)
        if len(calls) > 1:
            raise error
        return 500

    cache, clock = make_cache(sizer=sizer, ttl=0)
    cache["key"] = "value"
    look_up(cache, clock, ["key"], 3 * USES_BEFORE_REWEIGHING)
    assert cache.stats().live_bytes == 500
    assert 1 < len(calls) <= 4


def test_a_copy_that_was_replaced_while_it_was_weighed_changes_nothing() -> None:
    """Its weight says nothing of the new one."""
    cache, clock = make_cache(ttl=0, sizer=lambda value: replace_and_weigh(value))

    def replace_and_weigh(value: Any) -> int:
        if value.label == "old" and "key" in cache:
            cache["key"] = Weighted("new", 7)
            return 10**9
        return int(value.nbytes)

    cache["key"] = Weighted("old", 100)
    for _ in range(USES_BEFORE_REWEIGHING):
        clock.advance(1.0)
        cache.get("key")
        cache.check_invariants()
    assert cache.get("key") == Weighted("new", 7)
    assert cache.stats().live_bytes == 7


def test_threads_that_use_growing_values_leave_a_sound_ledger() -> None:
    """Real threads, a real clock."""
    cache: DagCache[int, Any] = DagCache(max_bytes="1MiB", ttl=0)
    probe.grant_weighing(cache, 1e6)
    errors: list[BaseException] = []

    def use() -> None:
        try:
            for turn in range(600):
                value: Any = cache.get_or_load(turn % 7, lambda key: [bytes(1000)])
                value.append(bytes(100))
                probe.unfreshen(cache, turn % 7)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    cache.check_invariants()
    assert cache.stats().sizing_seconds > 0


class Growing(RuleBasedStateMachine):
    """Values that grow and shrink at random, some of which have no frozen form."""

    def __init__(self) -> None:
        super().__init__()
        self.cache, self.clock = make_cache(max_bytes="1MiB", ttl=0)
        self.work = 0.0
        probe.time_weighing(self.cache, self._tick)

    def _tick(self) -> float:
        self.work += 0.0005  # a weighing takes a millisecond, or less
        return self.work

    @rule(key=st.integers(0, 5), seconds=st.floats(0, 30))
    def look_up(self, key: int, seconds: float) -> None:
        """Missing values are loaded."""
        self.clock.advance(seconds)
        kind: Callable[..., Weighted] = Unfreezable if key == 5 else Weighted
        self.cache.get_or_load(key, lambda key: kind(key, 80 * KIB))

    @precondition(lambda self: bool(probe.live_values(self.cache)))
    @rule(data=st.data(), nbytes=st.integers(1, 1500 * KIB))
    def change(self, data: Any, nbytes: int) -> None:
        """A user of a live value makes it weigh something else."""
        live = probe.live_values(self.cache)
        key = data.draw(st.sampled_from(sorted(live, key=str)))
        live[key].nbytes = nbytes

    @rule(limit=st.sampled_from(["300KiB", "1MiB", "4MiB", 0]))
    def resize(self, limit: Any) -> None:
        """With everything in it."""
        self.cache.resize(limit)

    @rule(key=st.integers(0, 5))
    def invalidate(self, key: int) -> None:
        """One that may be there."""
        self.cache.invalidate(key)

    @rule()
    def use_all_for_long(self) -> None:
        """After enough lookups all that is live is accounted as it is."""
        for _ in range(ENOUGH):
            self.clock.advance(10.0)
            for key in probe.live_values(self.cache):
                self.cache.get(key)
        self.cache.check_invariants()
        live = probe.live_values(self.cache).values()
        assert self.cache.stats().live_bytes == sum(value.nbytes for value in live)

    @invariant()
    def nothing_is_off(self) -> None:
        """At every step."""
        self.cache.check_invariants()


TestGrowing = Growing.TestCase
TestGrowing.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
