"""Changes to the mapping, and their reports."""

from __future__ import annotations

import gc
import logging
import re
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from dagcache import CacheConfig, DagCache, EntryInfo, RemovalCause
from tests.support import probe
from tests.support.builds import with_global_lock
from tests.support.caches import MIB, Removals, Weighted, automatic_gc_off, fill, make_cache


def test_deleting_removes_and_tells() -> None:
    """The cause is explicit; a second deletion is a KeyError."""
    removals = Removals()
    cache, _ = make_cache(on_removal=removals)
    fill(cache, ["a"])
    del cache["a"]
    assert removals.causes() == {"a": RemovalCause.EXPLICIT}
    with pytest.raises(KeyError, match="a"):
        del cache["a"]
    cache.check_invariants()


def test_deleting_an_expired_entry_is_a_key_error() -> None:
    """It is not there any more, and expiry is why."""
    removals = Removals()
    cache, clock = make_cache(ttl=10, on_removal=removals)
    fill(cache, ["a"])
    clock.advance(11)
    with pytest.raises(KeyError):
        del cache["a"]
    assert removals.causes() == {"a": RemovalCause.EXPIRED}


def test_invalidating_removes_as_stale() -> None:
    """For callers that learn that a value is out of date; a missing key is not an error."""
    removals = Removals()
    cache, _ = make_cache(on_removal=removals)
    fill(cache, ["a"])
    cache.invalidate("a")
    cache.invalidate("never there")
    assert removals.causes() == {"a": RemovalCause.STALE}


def test_assigning_replaces_and_tells() -> None:
    """The new value is served, the listener hears of the old one."""
    removals = Removals()
    cache, _ = make_cache(on_removal=removals)
    cache["a"] = Weighted(1, 500)
    cache["a"] = Weighted(2, 700)
    assert cache["a"] == Weighted(2, 700)
    ((info, cause),) = removals.told
    assert (info.key, info.live_bytes, cause) == ("a", 500, RemovalCause.REPLACED)
    assert cache.stats().live_bytes == 700


def test_a_changed_value_that_is_assigned_again_is_frozen_again() -> None:
    """The frozen copy has the last assigned content, even of the same object."""
    cache, _ = make_cache(max_bytes=MIB)
    value = Weighted("before")
    cache["a"] = value
    value.label = "after"
    cache["a"] = value
    del value
    cache.resize(1500)
    assert cache.stats().waiting_bytes == 0
    cache.resize(MIB)
    assert cache["a"].label == "after"
    assert cache.stats().hits_frozen == 1


def test_popping_returns_the_value_once() -> None:
    """A second pop raises, or gives its default."""
    cache, _ = make_cache()
    cache["a"] = Weighted("a")
    assert cache.pop("a") == Weighted("a")
    assert cache.pop("a", None) is None
    with pytest.raises(KeyError):
        cache.pop("a")


def test_setdefault_assigns_only_what_is_missing() -> None:
    """None included."""
    cache: DagCache[str, Any] = DagCache(max_bytes=0)
    assert cache.setdefault("a") is None
    assert cache.setdefault("a", 1) is None
    assert cache.setdefault("b", 2) == 2
    assert cache["b"] == 2


def test_clearing_empties_and_keeps_the_counts() -> None:
    """The listener hears of every entry; counters only grow."""
    removals = Removals()
    cache, _ = make_cache(on_removal=removals)
    fill(cache, range(10))
    cache.clear()
    assert len(cache) == 0
    assert cache.stats().total_bytes == 0
    assert cache.stats().misses == 10
    assert len(removals.told) == 10
    cache.check_invariants()


def test_iteration_is_over_a_snapshot() -> None:
    """The cache may change under the loop."""
    cache, _ = make_cache()
    fill(cache, range(10))
    seen = []
    for key in cache:
        seen.append(key)
        del cache[key]
        fill(cache, [key + 100])
    assert seen == list(range(10))
    cache.check_invariants()


def test_a_failing_listener_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The removal stands, and the other removals are reported."""
    told = []

    def listener(info: EntryInfo[Any], _cause: RemovalCause) -> None:
        told.append(info.key)
        raise ValueError("no")

    cache, _ = make_cache(on_removal=listener)
    fill(cache, range(3))
    with caplog.at_level(logging.ERROR, logger="dagcache"):
        cache.clear()
    assert told == [0, 1, 2]
    assert cache.stats().listener_failures == 3
    assert "listener failed" in caplog.text
    cache.check_invariants()


def test_a_listener_may_use_the_cache() -> None:
    """It is called outside the lock."""

    def listener(info: EntryInfo[Any], _cause: RemovalCause) -> None:
        cache[("gone", info.key)] = Weighted(info.key)

    cache, _ = make_cache(on_removal=listener)
    fill(cache, range(3))
    for key in range(3):
        del cache[key]
    assert sorted(cache) == [("gone", 0), ("gone", 1), ("gone", 2)]
    cache.check_invariants()


class Node:
    """A part of a cycle."""

    def __init__(self) -> None:
        self.other: Node | None = None


def ring() -> Node:
    """A value that only the collector, or taking it apart, can free."""
    first, second = Node(), Node()
    first.other, second.other = second, first
    return first


def nodes() -> int:
    """How many nodes exist; a weak reference would count as a holder."""
    return sum(type(item) is Node for item in gc.get_objects())


@with_global_lock
@pytest.mark.parametrize("how", ["delete", "replace", "clear", "resize", "expire"])
def test_a_cyclic_victim_is_destroyed_at_once(how: str) -> None:
    """For any cause, its memory does not wait for the collector."""
    cache, clock = make_cache(sizer=lambda _: MIB, ttl=10)
    gc.collect()
    with automatic_gc_off():
        cache["a"] = ring()
        assert nodes() == 2
        if how == "delete":
            del cache["a"]
        elif how == "replace":
            cache["a"] = ring()
        elif how == "clear":
            cache.clear()
        elif how == "resize":
            cache.resize("100KiB")
        else:
            clock.advance(11)
            cache.expire()
        assert nodes() == (2 if how == "replace" else 0)
    assert cache.stats().unbroken_cycles == 0


def test_a_victim_that_somebody_holds_stays_whole_until_it_is_dropped() -> None:
    """It waits, and its bytes are reported."""
    cache, _ = make_cache(sizer=lambda _: MIB)
    with automatic_gc_off():
        cache["a"] = ring()
        held = cache["a"]
        del cache["a"]
        assert held.other.other is held
        assert cache.stats().waiting_bytes == MIB
        del held
        cache.stats()
        assert cache.stats().waiting_bytes == 0
        assert nodes() == 0
    assert cache.stats().unbroken_cycles == 0


def test_a_victim_that_a_lookup_has_just_found_stays_whole() -> None:
    """Between finding the copy and returning its value, a lookup without a lock can be overtaken by a removal."""
    cache, _ = make_cache(sizer=lambda _: MIB)
    with automatic_gc_off():
        cache["a"] = ring()
        found = probe.live_copy(cache, "a")
        del cache["a"]
        assert found.value.other.other is found.value
        assert cache.stats().waiting_bytes == MIB
        del found
        cache.stats()
        assert nodes() == 0


def test_entries_that_left_are_not_cyclic_garbage_themselves() -> None:
    """The cache's own records go without the collector's help."""
    gc.collect()
    with automatic_gc_off():
        cache, _ = make_cache(max_bytes=MIB)
        fill(cache, range(50))
        records = [weakref.ref(value) for value in (cache.get(key) for key in range(50)) if value is not None]
        cache.clear()
        assert not any(record() for record in records)
        assert gc.collect() < 50


def test_a_configuration_and_its_fields_exclude_each_other() -> None:
    """One or the other."""
    assert DagCache(CacheConfig(max_bytes="1MiB")).max_bytes == MIB
    with pytest.raises(TypeError, match="ttl"):
        DagCache(CacheConfig(), ttl=7)


def test_the_repr_shows_state_and_no_content() -> None:
    """Name, entries, bytes, limit; no keys and no values."""
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    cache["secret key"] = Weighted("secret value")
    assert re.fullmatch(r"<DagCache 'scheduler': 1 entries, 1 live, 10\d\.\d KiB of 1\.0 MiB>", repr(cache))
    cache.resize(0)
    assert "no limit" in repr(cache)


def test_a_subclass_that_overrides_a_lookup_is_heard() -> None:
    """The fast path on the instance must not hide it."""

    class Loud(DagCache[str, int]):
        def get(self, key: str, default: Any = None) -> Any:
            return "overridden"

    assert Loud(max_bytes=0).get("a") == "overridden"


def test_popitem_takes_another_key_if_the_first_has_gone_meanwhile() -> None:
    """As another thread may have taken it."""

    class OneIsGone(DagCache[str, Any]):
        def __iter__(self) -> Iterator[str]:
            yield "gone"
            yield from super().__iter__()

    cache = OneIsGone(max_bytes=MIB)
    cache["here"] = "value"
    assert cache.popitem() == ("here", "value")
    cache.check_invariants()
