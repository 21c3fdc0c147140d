"""Accounted bytes, the growth of the process, and the memory that comes back."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import pytest

from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD
from tests.support import probe
from tests.support.caches import Weighted, fill, make_cache
from tools.scorecard.measures.evictions import evict
from tools.scorecard.processes import measure

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the resident memory is read from /proc")


MOST_LEFT = 0.6 if sys.version_info >= (3, 11) else 0.8
"""Share of the growth of the process, after `clear`. Python 3.10 keeps two thirds for its next objects."""


@lru_cache
def footprint() -> dict[str, Any]:
    """Of DAGs of 75 tasks, 32 MiB of them, in a process of its own."""
    return measure("footprint", 75, 32)


@on_linux
def test_the_accounted_bytes_are_what_the_process_grew_by() -> None:
    """Within five per cent."""
    result = footprint()
    assert abs(result["accounted"] / result["grown"] - 1) < 0.05


@on_linux
def test_most_of_the_memory_of_a_cleared_cache_comes_back() -> None:
    """Nothing small is left behind that would keep an arena of the allocator's."""
    result = footprint()
    assert result["left"] < MOST_LEFT * result["grown"]


def test_a_cleared_cache_watches_nothing() -> None:
    """Entries that left are not held until their time would have been up."""
    cache, _ = make_cache(ttl=1000)
    fill(cache, range(30))
    cache.clear()
    assert probe.deadline_count(cache) == 0
    fill(cache, range(3))
    cache.check_invariants()


def test_nothing_that_is_remembered_grows_with_the_evictions() -> None:
    """Ghosts, families, deadlines and flights are bounded by the residents, however much has left."""
    result = evict(3000)
    early, late = result["early"], result["late"]
    assert late["evictions"] >= 3000 > 4 * early["evictions"]
    for name in ("ghosts", "families", "deadlines"):
        assert 0 < late[name] <= 2 * late["entries"] + 64 + 1, name
    assert late["flights"] == late["waiting"] == late["deferred"] == 0


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("heavy", [lambda number: f"{number}" * 20_000, lambda number: (number, bytes(100_000))])
def test_heavy_keys_are_bounded_as_their_values_are(frozen: bool, heavy: Callable[[int], Hashable]) -> None:
    """Of keys of some 100 KB each a budget of 4 MiB holds forty."""
    cache, _ = make_cache(max_bytes="4MiB", frozen=frozen, sizer=lambda value: 100)
    for number in range(1, 120):
        cache.get_or_load(heavy(number * 10_000), lambda key: Weighted(1, 100))
        cache.check_invariants()
    assert 10 < len(cache) < 45
    assert cache.stats().overhead_bytes > 0.9 * sum(map(sys.getsizeof, map(_heaviest, cache)))
    cache.resize("1MiB")
    cache.check_invariants()
    cache.clear()
    cache.check_invariants()
    assert cache.stats().total_bytes == 0


def _heaviest(key: object) -> object:
    return key[1] if isinstance(key, tuple) else key


@pytest.mark.parametrize(
    "key", [7, 2**70, "b6c1ee1c-9c3c-4a1e-a3a1-7f1a1d1c2b3d", uuid.UUID(int=2**127), ("dag", 3), b"x" * 32, None]
)
def test_a_usual_key_is_part_of_the_usual_overhead(key: Hashable) -> None:
    """Ids, and tuples of them."""
    cache, _ = make_cache()
    cache.get_or_load(key, lambda key: Weighted(1, 100))
    assert cache.stats().overhead_bytes == ENTRY_OVERHEAD + LIVE_OVERHEAD
    cache.check_invariants()


def test_a_key_that_cannot_be_weighed_counts_as_a_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value is cached all the same."""

    def fail(*args: object, **options: object) -> None:
        raise ValueError("no weight")

    cache, _ = make_cache()
    monkeypatch.setattr("dagcache.core.preparation.weigh", fail)
    cache.get_or_load("a key" * 100, lambda key: Weighted(1, 100))
    assert cache.stats().overhead_bytes == ENTRY_OVERHEAD + LIVE_OVERHEAD


def test_no_key_outlives_its_entry_because_its_value_did_not_thaw() -> None:
    """Only a hash is remembered of it."""
    cache, _ = make_cache()
    remembered = probe.fail_thaw(cache, ("heavy", bytes(100_000)), ValueError("damaged"))
    assert list(map(type, remembered)) == [int]
