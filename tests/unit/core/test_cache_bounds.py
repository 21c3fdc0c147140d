"""Bounds: bytes, oversize values, resizing, idle time, versions."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from dagcache import ConfigError, Loaded, OversizeError, Rejection, RemovalCause
from dagcache.core.newcomers import BURST_SHARE
from tests.support import probe
from tests.support.caches import KIB, MIB, Removals, Unfreezable, Weighted, fill, make_cache, never


def test_the_budget_holds_after_every_admission() -> None:
    """However much is loaded, the accounted bytes stay at or below the limit."""
    cache, clock = make_cache(max_bytes=MIB)
    for key in range(300):
        clock.advance(1)
        fill(cache, [key % 97], nbytes=(key * 7919 % 200) * KIB)
        assert cache.stats().total_bytes <= MIB
        cache.check_invariants()
    assert cache.stats().demotions > 0


def test_a_sweep_that_takes_a_third_of_a_second_keeps_what_it_has() -> None:
    """Each hit is noted, so live copies do not seem to be used every second time only."""
    cache, clock = make_cache(max_bytes=15 * MIB)
    demoted = []
    for _ in range(16):
        before = cache.stats().demotions
        for key in range(300):
            fill(cache, [key])
            clock.advance(0.001)
        cache.check_invariants()
        demoted.append(cache.stats().demotions - before)
    assert sum(demoted[8:]) <= 8, demoted


def test_newcomers_take_a_share_until_they_are_used_again() -> None:
    """Values of one burst do not fill the budget with live copies; values that were used again do."""
    cache, clock = make_cache(max_bytes=MIB, unproven_share=0.25)
    fill(cache, range(8))
    cache.check_invariants()
    assert {info.key for info in cache.entries() if info.tier == "live"} == {6, 7}
    clock.advance(10)
    fill(cache, range(8))
    cache.check_invariants()
    stats = cache.stats()
    assert (stats.live_entries, stats.misses, stats.hits_frozen, stats.hits_live) == (8, 8, 6, 2)


def test_further_lookups_in_a_burst_prove_nothing() -> None:
    """A scheduler uses a version several times within a moment: thawed copies take the same share."""
    cache, clock = make_cache(max_bytes=2 * MIB, unproven_share=0.25)
    for key in range(14):
        fill(cache, [key, key, *range(key)])
        cache.check_invariants()
        assert cache.stats().live_bytes <= BURST_SHARE * 2 * MIB / 4
    clock.advance(2)
    fill(cache, ["another"])
    assert cache.stats().live_bytes <= 2 * MIB / 4
    assert cache.stats().entries == 15


def test_newcomers_stay_for_the_rest_of_their_burst() -> None:
    """Each is looked up again while the others of a group come in, though they exceed the share together."""
    cache, clock = make_cache(max_bytes=2 * MIB, unproven_share=0.25)
    for group in range(20):
        for _ in range(4):
            fill(cache, range(8 * group, 8 * group + 8))
            cache.check_invariants()
            clock.advance(0.1)
        before = cache.stats()
        clock.advance(1.5)
    fill(cache, range(160, 168))
    for _ in range(3):
        fill(cache, range(160, 168))
    after = cache.stats()
    assert (after.hits_live - before.hits_live, after.misses - before.misses) == (24, 8)


def test_a_newcomer_that_exceeds_the_share_is_live_from_its_second_lookup_on() -> None:
    cache, _ = make_cache(max_bytes=2 * MIB, unproven_share=0.25)
    cache["giant"] = Weighted("giant", 600 * KIB)
    assert cache.stats().live_entries == 0
    fill(cache, ["giant", *range(4), "giant"])
    cache.check_invariants()
    assert cache.stats().hits_live == 1


def test_newcomers_that_were_used_again_leave_the_share_to_the_others() -> None:
    cache, clock = make_cache(max_bytes=4 * MIB, unproven_share=0.25)
    fill(cache, ["new", *range(9)])
    clock.advance(4)
    fill(cache, [*range(9), "another"])
    cache.check_invariants()
    assert cache.stats().live_entries == 11


def test_the_share_of_newcomers_follows_their_weights_and_the_budget() -> None:
    """After a value has changed its bytes, after a smaller budget, and after a repair."""
    for change in ("weights", "budget", "repair"):
        cache, clock = make_cache(max_bytes=16 * MIB, unproven_share=0.25)
        fill(cache, range(30))
        assert cache.stats().live_entries == 30
        if change == "weights":
            for key in range(8):
                probe.reweigh(cache, key, 700 * KIB)
            cache.check_invariants()
        if change == "repair":
            probe.tear(cache)
            fill(cache, ["another"])
        clock.advance(2)
        cache.resize(4 * MIB)
        cache.check_invariants()
        assert 0 < cache.stats().live_bytes <= MIB, change


def test_a_newcomer_that_was_used_again_remains_live_when_its_turn_comes() -> None:
    cache, clock = make_cache(max_bytes=MIB, unproven_share=0.25)
    fill(cache, [0])
    clock.advance(10)
    fill(cache, [0, *range(1, 8)])
    cache.check_invariants()
    assert {info.key for info in cache.entries() if info.tier == "live"} == {0, 6, 7}


def test_newcomers_that_left_by_another_way_take_no_share() -> None:
    """A removal, an eviction, a smaller budget and a clear make room for others."""
    cache, _ = make_cache(max_bytes=MIB, unproven_share=0.95)
    ways = (lambda: cache.pop(1), lambda: fill(cache, range(2, 30)), lambda: cache.resize(32 * KIB), cache.clear)
    for leave in ways:
        cache.resize(MIB)
        fill(cache, [0, 1])
        assert cache.stats().live_entries >= 2
        leave()
        cache.check_invariants()


def test_values_that_were_used_again_stay_live_with_a_smaller_budget() -> None:
    """However many of them came in as newcomers."""
    cache, clock = make_cache(max_bytes=16 * MIB, unproven_share=0.25)
    fill(cache, range(100), nbytes=30 * KIB)
    clock.advance(4)
    fill(cache, range(100))
    cache.resize(4 * MIB)
    cache.check_invariants()
    assert cache.stats().live_entries == 100


def test_newcomers_without_a_frozen_form_are_live_whatever_their_share() -> None:
    """They could not be kept otherwise."""
    cache, _ = make_cache(max_bytes=MIB, unproven_share=0.0)
    for key in range(8):
        cache[key] = Unfreezable(key)
    cache.check_invariants()
    assert cache.stats().live_entries == 8


def test_a_value_that_is_known_to_be_used_again_needs_no_share() -> None:
    cache, clock = make_cache(max_bytes=MIB, unproven_share=0.0)
    for _ in range(2):
        fill(cache, ["known"])
        clock.advance(10)
    cache["known"] = Weighted("another")
    fill(cache, ["unknown"])
    cache.check_invariants()
    assert {info.key: info.tier for info in cache.entries()} == {"known": "live", "unknown": "frozen"}


def test_another_value_of_a_key_that_was_out_of_date_is_no_newcomer() -> None:
    cache, clock = make_cache(max_bytes=MIB, unproven_share=0.0)
    for _ in range(2):
        fill(cache, ["known"])
        clock.advance(10)
    cache.invalidate("known")
    fill(cache, ["known"])
    cache.check_invariants()
    assert {info.key: info.tier for info in cache.entries()} == {"known": "live"}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_newcomers_is_a_share(share: float) -> None:
    """The message names it, with the accepted forms."""
    with pytest.raises(ConfigError, match=r"unproven_share.*0\.0 to 1\.0"):
        make_cache(unproven_share=share)


def test_overhead_counts_against_the_budget() -> None:
    """Many tiny values cannot hide their records from the limit."""
    cache, _ = make_cache(max_bytes=MIB)
    fill(cache, range(1500), nbytes=1)
    stats = cache.stats()
    assert stats.overhead_bytes > stats.live_bytes + stats.frozen_bytes
    assert stats.total_bytes <= MIB
    assert stats.entries < 1000


def test_demotion_keeps_the_entry_and_is_no_eviction() -> None:
    removals = Removals()
    cache, _ = make_cache(max_bytes=MIB, on_removal=removals)
    fill(cache, range(20))
    stats = cache.stats()
    assert stats.demotions + stats.live_entries >= 20
    assert sum(stats.evictions.values()) == 0
    assert len(cache) == 20
    assert not removals.told


def test_when_not_even_frozen_copies_fit_entries_leave() -> None:
    """The cause is the size, the listener is called, and the ledger agrees."""
    removals = Removals()
    cache, clock = make_cache(max_bytes=30 * KIB, on_removal=removals)
    for key in range(60):
        clock.advance(5)
        fill(cache, [key])
        cache.check_invariants()
    stats = cache.stats()
    assert stats.evictions[RemovalCause.SIZE] + stats.rejections[Rejection.POLICY] == 60 - len(cache)
    assert stats.evictions[RemovalCause.SIZE] == len(removals.told) > 0
    assert set(removals.causes().values()) == {RemovalCause.SIZE}


def test_a_value_larger_than_the_budget_is_kept_frozen_if_that_fits() -> None:
    """Its live copy never fits, its frozen copy saves the load."""
    cache, _ = make_cache(max_bytes=MIB)
    cache.get_or_load("a", lambda key: Weighted(key, 5 * MIB))
    assert cache.get_or_load("a", never) == Weighted("a", 5 * MIB)
    assert cache.entries()[0].tier == "frozen"
    cache.check_invariants()


def test_an_oversize_value_is_served_and_not_kept() -> None:
    """It evicts nothing and is counted."""
    cache, _ = make_cache(max_bytes=MIB)
    fill(cache, range(5))
    value = cache.get_or_load("big", lambda key: Unfreezable(key, 2 * MIB))
    assert value == Unfreezable("big", 2 * MIB)
    assert "big" not in cache
    assert len(cache) == 5
    assert cache.stats().rejections[Rejection.OVERSIZE] == 1
    cache.check_invariants()


def test_an_oversize_replacement_does_not_leave_the_old_value_behind() -> None:
    """After the assignment the old value is gone, for it is not current any more."""
    cache, _ = make_cache(max_bytes=MIB)
    cache["a"] = Weighted("old")
    cache["a"] = Unfreezable("new", 2 * MIB)
    assert "a" not in cache
    assert cache.stats().evictions[RemovalCause.REPLACED] == 1
    cache.check_invariants()


def test_an_oversize_assignment_can_raise_and_then_changes_nothing() -> None:
    """With `oversize="raise"` the mapping is as it was, and the message names setting and bytes."""
    cache, _ = make_cache(max_bytes=MIB, oversize="raise")
    cache["a"] = Weighted("old")
    with pytest.raises(OversizeError, match=r"max_bytes = 1\.0 MiB cannot hold the value of 'a'"):
        cache["a"] = Unfreezable("new", 2 * MIB)
    assert cache["a"] == Weighted("old")
    assert isinstance(OversizeError(), ValueError)
    cache.check_invariants()


def test_an_oversize_load_can_raise() -> None:
    """With `oversize="raise"` a load that cannot be kept is an error for the caller."""
    cache, _ = make_cache(max_bytes=MIB, oversize="raise")
    with pytest.raises(OversizeError):
        cache.get_or_load("a", lambda key: Unfreezable(key, 2 * MIB))
    assert cache.stats().rejections[Rejection.OVERSIZE] == 1
    cache.check_invariants()


def test_replacing_gives_the_old_weight_back_first() -> None:
    """A value that fits alone replaces one of the same size without an eviction."""
    cache, _ = make_cache(max_bytes=MIB)
    fill(cache, range(8))
    for turn in range(10):
        cache[3] = Weighted(turn)
        cache.check_invariants()
    stats = cache.stats()
    assert stats.entries == stats.live_entries == 8
    assert stats.demotions == 0
    assert stats.evictions[RemovalCause.REPLACED] == 10


def test_shrinking_gives_up_live_copies_before_entries() -> None:
    """Half the budget demotes; nothing has to be loaded afterwards."""
    cache, _ = make_cache(max_bytes=4 * MIB)
    fill(cache, range(30))
    cache.resize("1MiB")
    assert cache.max_bytes == MIB
    assert cache.stats().total_bytes <= MIB
    assert len(cache) == 30
    cache.check_invariants()
    cache.resize(20 * KIB)
    assert 0 < len(cache) < 30
    cache.check_invariants()


def test_one_byte_too_much_is_too_much() -> None:
    """A limit equal to the held bytes costs nothing; one a byte lower costs a copy."""
    cache, _ = make_cache(max_bytes=4 * MIB)
    fill(cache, range(3))
    used = cache.stats().total_bytes
    cache.resize(used)
    assert cache.stats().demotions == 0
    cache.resize(used - 1)
    assert cache.stats().demotions == 1
    cache.check_invariants()


def test_growing_takes_effect_at_once() -> None:
    """After a larger limit, thawed copies stay live."""
    cache, clock = make_cache(max_bytes=MIB)
    fill(cache, range(20))
    cache.resize(0)
    for _ in range(2):
        clock.advance(10)
        fill(cache, range(20))
    assert cache.stats().live_entries == 20
    cache.check_invariants()


def test_what_was_asked_for_is_kept_beside_what_is_in_force() -> None:
    """Also if less is in force for a while, and if a later request is refused."""
    cache, _ = make_cache(max_bytes="25%", memory_limit="4MiB")
    fill(cache, range(5))
    assert str(cache.requested) == "25%"
    cache.apply_budget(200 * KIB)
    assert (str(cache.requested), cache.max_bytes) == ("25%", 200 * KIB)
    assert cache.stats().total_bytes <= 200 * KIB
    with pytest.raises(ConfigError):
        cache.resize("10XB")
    assert str(cache.requested) == "25%"
    cache.resize("50%")
    assert (str(cache.requested), cache.max_bytes) == ("50%", 2 * MIB)
    cache.check_invariants()


@pytest.mark.parametrize("garbage", ["10XB", "", "nan", None, True, 1e30, float("nan"), object(), "110%"])
def test_a_garbage_limit_is_refused_and_the_old_one_stays(garbage: Any) -> None:
    """The error names the setting, the value and the accepted forms."""
    cache, _ = make_cache(max_bytes=MIB)
    with pytest.raises(ConfigError, match="max_bytes") as caught:
        cache.resize(garbage)
    assert "512MiB" in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert cache.max_bytes == MIB


def test_a_negative_limit_is_a_warning_and_then_no_limit(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the setting and the value."""
    cache, _ = make_cache(max_bytes=MIB)
    with caplog.at_level(logging.WARNING, logger="dagcache"):
        cache.resize("-5MiB")
    assert cache.max_bytes == 0
    assert "max_bytes" in caplog.text
    assert "-5MiB" in caplog.text


def test_idle_entries_expire() -> None:
    """A lookup after the TTL is a miss, and the cause says why."""
    removals = Removals()
    cache, clock = make_cache(ttl=100, on_removal=removals)
    fill(cache, ["a"])
    clock.advance(101)
    assert cache.get("a") is None
    assert removals.causes() == {"a": RemovalCause.EXPIRED}
    cache.check_invariants()


def test_expiry_is_exact_to_a_second() -> None:
    """A live entry serves hits just before its time and not after, however often it was hit in between."""
    for idle, alive in ((99, True), (101, False)):
        cache, clock = make_cache(ttl=100)
        fill(cache, ["a"])
        for _ in range(10):
            clock.advance(0.3)
            assert cache.get("a") is not None
        clock.advance(idle)
        assert (cache.get("a") is not None) is alive


def test_lookups_re_arm_the_ttl() -> None:
    cache, clock = make_cache(ttl=100)
    fill(cache, ["a"])
    for _ in range(10):
        clock.advance(90)
        assert cache.get("a") is not None
        cache.check_invariants()


def test_frozen_entries_expire_too() -> None:
    cache, clock = make_cache(ttl=100, max_bytes=300 * KIB)
    fill(cache, range(10))
    clock.advance(101)
    assert cache.expire() == 10
    assert len(cache) == 0
    cache.check_invariants()


def test_lookups_of_others_sweep_what_is_idle() -> None:
    """Memory comes back without lookups of the idle entry and without misses."""
    cache, clock = make_cache(ttl=100)
    fill(cache, ["idle", "busy"])
    for _ in range(11):
        clock.advance(10)
        assert cache.get("busy") is not None
    assert "idle" not in probe.entries(cache)
    cache.check_invariants()


@pytest.mark.parametrize("how", ["stats", "len", "iter", "entries"])
def test_looking_at_the_cache_sweeps_too(how: str) -> None:
    cache, clock = make_cache(ttl=100)
    fill(cache, range(300), nbytes=KIB)
    clock.advance(101)
    looks = {
        "stats": lambda: cache.stats().entries,
        "len": lambda: len(cache),
        "iter": lambda: len(list(cache)),
        "entries": lambda: len(cache.entries()),
    }
    assert looks[how]() == 0
    cache.check_invariants()


def test_a_ttl_of_zero_never_expires() -> None:
    """Only bytes bound the cache then."""
    cache, clock = make_cache(ttl=0)
    fill(cache, ["a"])
    clock.advance(1e9)
    assert cache.get("a") is not None
    assert cache.expire() == 0


def test_a_clock_that_goes_back_does_no_harm() -> None:
    """Idle times are never negative, and no entry expires early or stays forever."""
    cache, clock = make_cache(ttl=100)
    fill(cache, ["a"])
    clock.advance(-500)
    assert cache.get("a") is not None
    assert cache.entries()[0].idle_seconds == 0
    cache.check_invariants()
    clock.advance(601)
    assert cache.get("a") is None
    cache.check_invariants()


def test_a_clock_that_goes_back_does_not_make_uses_older() -> None:
    """A lookup of a frozen entry after the clock went back counts as now, not as then."""
    cache, clock = make_cache(ttl=100, max_bytes=300 * KIB)
    fill(cache, range(10))
    clock.advance(-500)
    for key in range(10):
        assert cache.get_or_load(key, never) == Weighted(key)
        cache.check_invariants()
    assert all(info.idle_seconds == 0 for info in cache.entries())


def test_a_clock_that_jumps_far_ahead_expires_everything() -> None:
    """After a jump of a year nothing is served."""
    cache, clock = make_cache(ttl=100)
    fill(cache, range(50))
    clock.advance(3e7)
    assert [cache.get(key) for key in range(50)] == [None] * 50
    cache.check_invariants()


def test_what_was_watched_in_vain_is_forgotten() -> None:
    """A churn of short-lived entries leaves no records waiting for a TTL of days."""
    cache, clock = make_cache(ttl=1e6, max_bytes=50 * KIB)
    for key in range(1500):
        clock.advance(0.01)
        cache[key] = Weighted(key)
    assert probe.deadline_count(cache) <= 2 * len(cache) + 65
    cache.check_invariants()


def test_a_superseded_version_that_falls_idle_leaves_first() -> None:
    """With `version_of`, an old version goes before entries that have been idle for longer."""
    cache, clock = make_cache(max_bytes=MIB, freezer=None, version_of=lambda key: key)
    keys = [(f"dag{i}", 1) for i in range(9)]
    for _ in range(5):
        for key in keys:
            clock.advance(10)
            fill(cache, [key], 105 * KIB)
    fill(cache, [("dag8", 2)], 50 * KIB)
    assert ("dag8", 1) in cache
    for _ in range(3):
        for key in [*keys[:8], ("dag8", 2)]:
            clock.advance(30)
            fill(cache, [key], 105 * KIB)
    fill(cache, [("newcomer", 1)], 100 * KIB)
    assert ("dag8", 1) not in cache
    assert all(key in cache for key in [*keys[:8], ("dag8", 2), ("newcomer", 1)])
    cache.check_invariants()


def fails(_key: object) -> Any:
    """Stand for a broken `version_of`."""
    raise OSError


@pytest.mark.parametrize("hint", [lambda _: None, lambda _: 7, lambda _: ([], 1), lambda _: ("a", "new"), fails])
def test_a_version_hint_that_makes_no_sense_counts_as_none(hint: Any) -> None:
    """The entry is kept as any other."""
    cache, _ = make_cache(version_of=hint)
    fill(cache, range(3))
    assert len(cache) == 3
    cache.check_invariants()


@pytest.mark.parametrize("version", [7, ([], 1), ("a", "new"), ("a", float("nan"))])
def test_a_loaded_version_that_makes_no_sense_counts_as_none(version: Any) -> None:
    """The entry is kept as any other."""
    cache, _ = make_cache()
    for key in range(3):
        cache.get_or_load(key, lambda key: Loaded(Weighted(key), version=version))
    assert len(cache) == 3
    cache.check_invariants()


def test_a_loaders_version_is_known_and_precedes_version_of() -> None:
    """The key need not say of which thing it is a version."""
    cache, _ = make_cache(version_of=lambda key: ("by key", 1))
    cache.get_or_load("a", lambda key: Loaded(Weighted(key), version=("by loader", 2)))
    cache.get_or_load("b", lambda key: Loaded(Weighted(key)))
    cache["c"] = Weighted("c")
    versions = [(entry.family, entry.order) for entry in cache.entries()]
    assert versions == [("by loader", 2), ("by key", 1), ("by key", 1)]
    cache.check_invariants()
