"""The benchmark of a burst of expiry: it ends when the burst has, and times each call."""

from __future__ import annotations

import pytest

from benchmarks.expiry import calls, idle_cache, is_any_left, measure
from tests.support import probe
from tests.support.graphs import as_json, make_dag

TEXT = as_json(make_dag(2))
IDLE = range(300)


@pytest.mark.parametrize("name", calls(TEXT))
def test_the_calls_remove_all_that_is_idle_and_nothing_else(name: str) -> None:
    """Graphs included: none waits to be taken apart."""
    cache, clock = idle_cache(len(IDLE), [TEXT])
    assert is_any_left(cache, IDLE)
    found = measure(cache, IDLE, clock, calls(TEXT)[name](cache))
    assert not is_any_left(cache, IDLE)
    assert -1 in cache
    assert found.calls >= (1 if name.startswith("expire") else 2)
    assert 0 < found.first <= found.worst <= found.total
    cache.check_invariants()


def test_nothing_is_expired_before_the_first_timed_call() -> None:
    """Neither by the preparations, nor by the look at what is left."""
    cache, _ = idle_cache(len(IDLE), [TEXT])
    assert is_any_left(cache, IDLE)
    assert len(probe.entries(cache)) == len(IDLE) + 1
