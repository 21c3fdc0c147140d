"""When which entry is looked at for its idle time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache import ConfigError, RemovalCause
from dagcache.core.entry import Candidate, Entry
from dagcache.core.expiry import Deadlines
from tests.support.caches import KIB, MIB, Removals, Weighted, demote_all, fill, make_cache, never


def make_entry(used: float) -> Entry:
    """An entry that was last used then."""
    entry = Entry(Candidate(key=object(), value=None, live_bytes=1), used)
    entry.used = used
    return entry


def watching(*entries: Entry, ttl: float = 10, **settings: Any) -> Deadlines:
    """Deadlines of these entries, each loaded at its last use."""
    deadlines = Deadlines(ttl, **settings)
    for entry in entries:
        deadlines.begin(entry, entry.used)
        deadlines.schedule(entry)
    return deadlines


def resident(_entry: Entry) -> bool:
    """Every entry is."""
    return True


def test_the_next_look_is_when_the_first_ttl_is_up() -> None:
    """In any order of arrival; never, without entries."""
    assert watching(make_entry(5), make_entry(3), make_entry(4)).next_due == 13
    assert watching().next_due == inf


def test_an_entry_expires_after_its_ttl_and_not_at_it() -> None:
    """Idle for longer than the TTL."""
    entry = make_entry(3)
    deadlines = watching(entry)
    assert not deadlines.expired(entry, 13)
    assert list(deadlines.due(13, resident, 9)) == []
    assert deadlines.expired(entry, 13.1)
    assert list(deadlines.due(13.1, resident, 9)) == [entry]
    assert len(deadlines) == 0
    assert deadlines.next_due == inf


def test_an_entry_that_was_used_meanwhile_is_looked_at_later() -> None:
    """Its look moves to the end of its new time."""
    entry = make_entry(3)
    deadlines = watching(entry)
    entry.used = 9
    assert list(deadlines.due(14, resident, 9)) == []
    assert deadlines.next_due == 19
    assert list(deadlines.due(19.1, resident, 9)) == [entry]


def test_an_entry_that_left_is_not_due() -> None:
    """It is forgotten when its time comes."""
    deadlines = watching(make_entry(3))
    assert list(deadlines.due(99, lambda _: False, 9)) == []
    assert len(deadlines) == 0


def test_no_more_are_looked_at_than_the_limit() -> None:
    """The rest stays due."""
    entries = [make_entry(used) for used in (1, 2, 3)]
    deadlines = watching(*entries)
    assert list(deadlines.due(99, resident, 2)) == entries[:2]
    assert deadlines.next_due == 13
    assert list(deadlines.due(99, resident, 2)) == entries[2:]


def test_without_a_ttl_nothing_is_watched() -> None:
    """0 turns it off, for new entries and when all are scheduled again."""
    entry = make_entry(3)
    deadlines = watching(entry, ttl=0, jitter=0.5)
    deadlines.rebuild([entry])
    assert not deadlines.expired(entry, 1e9)
    assert (len(deadlines), deadlines.next_due) == (0, inf)
    deadlines.check_invariants([entry])


def test_what_is_watched_in_vain_is_forgotten_once_it_is_much() -> None:
    """More than twice the residents and a few: then exactly the residents are watched."""
    entries = [make_entry(used) for used in range(70)]
    deadlines = watching(*entries)
    deadlines.drop_removed(entries[:3], 3)
    assert len(deadlines) == 70
    deadlines.drop_removed(entries[1:3], 2)
    assert len(deadlines) == 2
    assert deadlines.next_due == 11


def test_its_check_notices_a_resident_that_is_watched_too_late() -> None:
    """Or not at all, or a next look that is wrong."""
    entry, other = make_entry(3), make_entry(4)
    deadlines = watching(entry)
    deadlines.check_invariants([entry])
    with pytest.raises(AssertionError):
        deadlines.check_invariants([entry, other])
    deadlines.next_due = 99
    with pytest.raises(AssertionError):
        deadlines.check_invariants([entry])
    deadlines.next_due = 13
    entry.used = 2
    with pytest.raises(AssertionError):
        deadlines.check_invariants([entry])


# ---- the greatest age ----


def test_an_entry_expires_at_its_greatest_age_however_often_it_is_used() -> None:
    entry = make_entry(3)
    deadlines = watching(entry, ttl=0, max_age=10)
    assert deadlines.next_due == 13
    entry.used = 13
    assert not deadlines.expired(entry, 13)
    assert deadlines.expired(entry, 13.1)
    assert list(deadlines.due(13.1, resident, 9)) == [entry]


def test_the_sooner_of_both_limits_counts() -> None:
    entry = make_entry(3)
    deadlines = watching(entry, ttl=10, max_age=25)
    for used, due in ((10, 20), (17, 27), (27, 28)):
        entry.used = used
        deadlines.rebuild([entry])
        assert deadlines.next_due == due
        assert not deadlines.expired(entry, due)
        assert deadlines.expired(entry, due + 0.1)
        deadlines.check_invariants([entry])


def look_up(cache: Any, key: Any) -> Any:
    """The value of a key, by `get`."""
    return cache.get(key)


def load(cache: Any, key: Any) -> Any:
    """The value of a key, by `get_or_load`; nothing is loaded."""
    return cache.get_or_load(key, lambda _: None)


@pytest.mark.parametrize("lookup", [look_up, load], ids=["get", "get_or_load"])
@pytest.mark.parametrize("step", [0.01, 1.0])
def test_a_value_in_use_is_served_until_its_greatest_age_and_not_after(
    lookup: Callable[[Any, Any], Any], step: float
) -> None:
    """Exactly, also where hits come so fast that they are not noted."""
    cache, clock = make_cache(max_bytes=MIB, max_age=10, ttl=5)
    born = clock.now
    cache["a"] = Weighted("a")
    while clock.now <= born + 10:
        assert lookup(cache, "a") == Weighted("a")
        clock.advance(step)
    cache.check_invariants()
    assert lookup(cache, "a") is None
    assert "a" not in cache
    assert cache.stats().evictions[RemovalCause.EXPIRED] == 1


def test_a_frozen_copy_expires_at_the_age_of_its_load() -> None:
    """A thaw does not make it younger."""
    cache, clock = make_cache(max_age=10)
    cache["a"] = Weighted("a")
    clock.advance(6)
    demote_all(cache)
    assert cache.get("a") == Weighted("a")
    clock.advance(6)
    assert cache.get("a") is None
    cache["a"] = Weighted("a")
    demote_all(cache)
    clock.advance(10.1)
    assert cache.fetch("a", private=True).value is None
    cache.check_invariants()


def test_a_new_value_begins_a_new_age() -> None:
    removals = Removals()
    cache, clock = make_cache(max_age=10, on_removal=removals)
    cache["a"] = Weighted("old")
    clock.advance(8)
    cache["a"] = Weighted("new")
    clock.advance(8)
    assert cache.get("a") == Weighted("new")
    clock.advance(3)
    assert cache.expire() == 1
    assert [cause for _, cause in removals.told] == [RemovalCause.REPLACED, RemovalCause.EXPIRED]
    cache.check_invariants()


def test_nothing_expires_in_a_cache_that_only_observes() -> None:
    cache, clock = make_cache(max_age=10, ttl=5, mode="observe")
    cache["a"] = Weighted("a")
    clock.advance(100)
    assert cache.get("a") == Weighted("a")
    cache.check_invariants()


# ---- jitter ----


def test_jitter_takes_a_share_off_both_limits() -> None:
    entry = make_entry(100)
    deadlines = watching(entry, ttl=10, max_age=50, jitter=0.4, random=iter([0.5, 0.25]).__next__)
    assert entry.idle_limit == pytest.approx(8)
    assert entry.expires == pytest.approx(145)
    deadlines.check_invariants([entry])


def test_without_jitter_all_entries_share_one_limit() -> None:
    """No byte more for each."""
    one, other = make_entry(3), make_entry(4)
    watching(one, other)
    assert one.idle_limit is other.idle_limit


def test_a_quiet_night_does_not_expire_all_entries_at_once() -> None:
    """All were used in the same second. With a tenth of jitter they leave over a tenth of the TTL."""
    left: dict[float, list[int]] = {}
    for jitter in (0.0, 0.1):
        cache, clock = make_cache(ttl=1000, jitter=jitter)
        fill(cache, range(200), KIB)
        clock.advance(899)
        left[jitter] = []
        for _ in range(11):
            clock.advance(10)
            cache.expire()
            cache.check_invariants()
            left[jitter].append(len(cache))
    assert left[0.0] == [200] * 10 + [0]
    assert left[0.1][-1] == 0
    assert max(before - after for before, after in itertools.pairwise([200, *left[0.1]])) < 60


def test_entries_in_use_do_not_expire_by_jitter() -> None:
    """Each use begins the whole shortened time again, and hits that are not noted do not use it up."""
    cache, clock = make_cache(ttl=0.2, jitter=0.5)
    fill(cache, range(20), KIB)
    for _ in range(200):
        clock.advance(0.01)
        assert all(cache.get_or_load(key, never) for key in range(20))


@given(st.floats(0, 0.5), st.floats(0, 1e5), st.floats(0, 1e5), st.integers(0, 99))
def test_no_limit_grows_by_jitter(jitter: float, ttl: float, max_age: float, seed: int) -> None:
    entry = make_entry(7.0)
    deadlines = watching(entry, ttl=ttl, max_age=max_age, jitter=jitter, random=Random(seed).random)
    deadlines.check_invariants([entry])
    assert entry.idle_limit <= (ttl or inf)
    assert entry.expires <= 7.0 + (max_age or inf)
    assert entry.expires >= 7.0 + (1 - jitter) * (max_age or inf)


@pytest.mark.parametrize(("given", "seconds"), [("2h", 7200.0), (timedelta(days=1), 86_400.0), (0, 0.0)])
def test_the_greatest_age_is_a_duration(given: Any, seconds: float) -> None:
    assert make_cache(max_age=given)[0].config.max_age == seconds


@pytest.mark.parametrize(("setting", "value"), [("max_age", "old"), ("jitter", 0.6), ("jitter", -0.1), ("jitter", "x")])
def test_an_age_or_a_jitter_that_cannot_be_read_is_named(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{setting} = "):
        make_cache(**{setting: value})


@given(
    jitter=st.sampled_from([0.0, 0.3]),
    uses=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    ttls=st.lists(st.integers(0, 20), min_size=1, max_size=4),
)
def test_a_changed_ttl_holds_for_residents_and_newcomers(jitter: float, uses: list[int], ttls: list[int]) -> None:
    """As if it had been the TTL from the start, but for the jitter."""
    entries = [make_entry(used) for used in uses]
    deadlines = watching(*entries, ttl=5, jitter=jitter, random=Random(1).random)
    for ttl in ttls:
        deadlines.change_ttl(ttl, entries)
        deadlines.check_invariants(entries)
        newcomer = make_entry(0)
        deadlines.begin(newcomer, 0)
        for entry in [*entries, newcomer]:
            limit = (ttl or inf) * (1 - jitter) if ttl else inf
            assert limit <= entry.idle_limit <= (ttl or inf)


def test_a_shorter_ttl_removes_what_is_idle_for_longer() -> None:
    """With the next call; a longer one keeps what would have left; 0 means never."""
    cache, clock = make_cache(ttl=100)
    fill(cache, "ab")
    clock.advance(50)
    cache.get("b")
    cache.change_ttl("40")
    assert cache.get("a") is None
    assert list(cache) == ["b"]
    cache.change_ttl(timedelta(hours=1))
    clock.advance(3000)
    assert list(cache) == ["b"]
    cache.change_ttl(0)
    clock.advance(10**6)
    assert list(cache) == ["b"]
    cache.check_invariants()


def test_a_ttl_that_cannot_be_read_changes_nothing() -> None:
    """The error names the setting."""
    cache, _ = make_cache(ttl=100)
    with pytest.raises(ConfigError, match="ttl"):
        cache.change_ttl("soon")
    assert cache.ttl == 100
    assert cache.changed_settings == {}


def test_an_observing_cache_removes_nothing_by_a_changed_ttl() -> None:
    """It only accounts."""
    cache, clock = make_cache(mode="observe")
    fill(cache, "a")
    cache.change_ttl(1)
    clock.advance(100)
    assert list(cache) == ["a"]
    cache.check_invariants()
