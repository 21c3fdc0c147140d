"""What the cache says it holds, what its process grew by, and what comes back."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import pytest

from tests.scorecard.measures.evictions import evict
from tests.scorecard.processes import measure
from tests.support.caches import fill, make_cache

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the resident memory is read from /proc")


MOST_LEFT = 0.6 if sys.version_info >= (3, 11) else 0.8
"""Of what the process grew by, after `clear`. Python 3.10 keeps two thirds for its next objects."""


@lru_cache
def footprint() -> dict[str, Any]:
    """Of DAGs of 75 tasks, 32 MiB of them, in a process of its own."""
    return measure("footprint", 75, 32)


@on_linux
def test_the_accounted_bytes_are_what_the_process_grew_by() -> None:
    """Within five per cent."""
    told = footprint()
    assert abs(told["accounted"] / told["grown"] - 1) < 0.05


@on_linux
def test_most_of_the_memory_of_a_cleared_cache_comes_back() -> None:
    """Nothing small is left behind that would keep an arena of the allocator's."""
    told = footprint()
    assert told["left"] < MOST_LEFT * told["grown"]


def test_a_cleared_cache_watches_nothing() -> None:
    """Entries that left are not held until their time would have been up."""
    cache, _ = make_cache(ttl=1000)
    fill(cache, range(30))
    cache.clear()
    assert len(cache._store._deadlines) == 0
    fill(cache, range(3))
    cache.check_invariants()


def test_nothing_that_is_remembered_grows_with_the_evictions() -> None:
    """Ghosts, families, deadlines and flights are bounded by what is resident, however much has left."""
    told = evict(3000)
    early, late = told["early"], told["late"]
    assert late["evictions"] >= 3000 > 4 * early["evictions"]
    for name in ("ghosts", "families", "deadlines"):
        assert 0 < late[name] <= 2 * late["entries"] + 64 + 1, name
    assert late["flights"] == late["waiting"] == late["deferred"] == 0
