"""A value with the results of an earlier load: it is not frozen, is weighed as a thawed copy, and is kept."""

from __future__ import annotations

from typing import Any

import pytest

from dagcache.core.loaded import Kept, Loaded, Prepared
from dagcache.errors import ThawError
from dagcache.freezing.pickle_freezer import Frozen, PickleFreezer
from tests.support.caches import make_cache

VALUE = {"tasks": ["a" * 100]}
BYTES = 10_000


class Counting(PickleFreezer):
    """Counts what it freezes."""

    frozen = 0

    def freeze(self, value: object) -> Frozen:
        """As its base."""
        self.frozen += 1
        return super().freeze(value)


def prepared(freezer: PickleFreezer) -> Prepared:
    """As an earlier load had it."""
    return Prepared(freezer.freeze(VALUE).data, BYTES, 2.5)


def test_a_prepared_value_is_not_frozen_again_and_has_the_cost_of_the_earlier_load() -> None:
    """The frozen copy is the one that it came with. A thawed copy has a weight of its own."""
    freezer = Counting()
    cache, _ = make_cache(freezer=freezer, sizer=None)
    known = prepared(freezer)
    loaded = Loaded(dict(VALUE), serialized_bytes=7, content="content", version=("dag", 3), prepared=known)
    cache.get_or_load("key", lambda _: loaded)
    cache.check_invariants()
    assert freezer.frozen == 1
    weight = cache.stats().live_bytes
    assert cache.frozen_copy("key") == Kept(known._replace(live_bytes=weight), 7, "content", "dag", 3)
    assert 0 < weight < BYTES
    assert cache.stats().loads == 1
    (entry,) = cache.entries()
    assert entry.load_seconds == 2.5


def test_a_cache_that_does_not_freeze_weighs_the_value_itself() -> None:
    """The frozen bytes would be of no use."""
    cache, _ = make_cache(freezer=None, sizer=None)
    known = prepared(PickleFreezer())
    cache.get_or_load("key", lambda _: Loaded(dict(VALUE), prepared=known))
    cache.check_invariants()
    assert cache.frozen_copy("key") is None
    assert 0 < cache.stats().live_bytes < BYTES


def test_frozen_bytes_that_have_failed_to_thaw_are_not_kept_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value is kept live only, as after a freeze."""
    freezer = PickleFreezer()
    cache, _ = make_cache(freezer=freezer, sizer=None)
    known = prepared(freezer)

    def load(_: Any) -> Loaded[Any]:
        return Loaded(dict(VALUE), prepared=known)

    cache.get_or_load("key", load)
    stats = cache.stats()
    cache.resize(stats.frozen_bytes + stats.overhead_bytes)
    cache.resize(0)

    def fail(_: object) -> object:
        raise ThawError("no") from ValueError("no")

    monkeypatch.setattr(freezer, "thaw", fail)
    assert cache.get_or_load("key", load) == VALUE
    cache.check_invariants()
    assert cache.frozen_copy("key") is None


def test_a_key_without_a_frozen_copy_has_no_facts() -> None:
    """Nor has one that has expired."""
    cache, clock = make_cache(freezer=PickleFreezer(), sizer=None, ttl=10)
    assert cache.frozen_copy("key") is None
    cache.get_or_load("key", lambda _: dict(VALUE))
    assert cache.frozen_copy("key") is not None
    clock.now += 11
    assert cache.frozen_copy("key") is None
