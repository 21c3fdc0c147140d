"""From a value to an candidate."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from uuid import UUID

import pytest

from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD
from dagcache.core.loaded import Loaded
from dagcache.core.preparation import Preparer
from dagcache.sizing.walk import weigh
from tests.support import probe
from tests.support.caches import Weighted, make_cache

SAMPLE = 2048
"""The parts of one class that a walk follows where a value has more than half as many again."""


def test_what_a_value_weighs_where_it_comes_from_helps_to_estimate_it() -> None:
    """Values without a frozen form need not all be walked, if the loader says how long they were."""

    def walks(stated: bool) -> int:
        preparer = Preparer(freezer=None, sizer=None)
        for number in range(200):
            length = 100 + number % 50
            value = list(range(1000, 1000 + length))
            candidate = preparer.take(number, Loaded(value, serialized_bytes=10 * length if stated else 0), 10.0, 0)
            assert candidate is not None
            assert candidate.live_bytes == pytest.approx(weigh(value).nbytes, rel=0.05)
        return preparer._learned.walks

    assert walks(stated=False) == 200
    assert walks(stated=True) < 100


@pytest.mark.parametrize("key", ["k" * 100_000, tuple(range(1000, 4000)), frozenset(map(str, range(1000)))])
def test_a_heavy_key_counts_with_its_weight(key: Hashable) -> None:
    """Among the records of its entry."""
    cache, _ = make_cache()
    cache.get_or_load(1, Weighted)
    usual = cache.stats().overhead_bytes
    cache.pop(1)
    cache.get_or_load(key, Weighted)
    assert cache.stats().overhead_bytes == usual + weigh(key).nbytes
    cache.check_invariants()


@pytest.mark.parametrize("key", [1, "dag_id", UUID(int=1), ("dag_id", 12)])
def test_a_usual_key_counts_nothing_beside_the_overhead_of_its_entry(key: Hashable) -> None:
    """Its owner has it anyway."""
    cache, _ = make_cache()
    cache.get_or_load(key, Weighted)
    assert cache.stats().overhead_bytes == ENTRY_OVERHEAD + LIVE_OVERHEAD


class Part:
    """One of very many alike, of uneven weight."""

    def __init__(self, number: int) -> None:
        self.text = "x" * (1000 + number % 97)
        self.items = [float(number)]


@pytest.mark.parametrize("count", [1000, 5000])
def test_only_a_giant_is_weighed_by_a_sample_of_its_parts(count: int) -> None:
    """That bounds the time of a load; the weight is within a few per cent of the exact one."""
    value = [Part(number) for number in range(count)]
    candidate = Preparer(freezer=None, sizer=None).take(1, Loaded(value), 1.0, 0)
    assert candidate is not None
    exact, sampled = weigh(value), weigh(value, most_alike=SAMPLE)
    assert candidate.live_bytes == sampled.nbytes == pytest.approx(exact.nbytes, rel=0.03)
    assert (sampled.nbytes != exact.nbytes) == (count > 1.5 * SAMPLE)


def test_a_fault_in_preparing_a_value_costs_its_place_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is served, logged, and counted as an error of the cache's own."""
    cache, _ = make_cache()

    def failing(*_: object) -> None:
        raise RuntimeError("a fault of our own")

    probe.replace_step(monkeypatch, cache, "prepare", lambda _: failing)
    with caplog.at_level(logging.ERROR, logger="dagcache"):
        assert cache.get_or_load("a", lambda _: "value") == "value"
    assert "could not be prepared" in caplog.text
    assert (cache.stats().internal_errors, cache.stats().loads, len(cache)) == (1, 1, 0)
    cache.check_invariants()


@pytest.mark.parametrize("by_key", [False, True])
def test_the_references_to_a_loaded_value_from_its_own_parts_are_counted_exactly(by_key: bool) -> None:
    """A greater count than this means vain censuses of the value while a caller holds it."""
    cache, _ = make_cache(sizer=None, version_of=(lambda key: ("dag", key)) if by_key else None)

    def ring(_: object) -> list[object]:
        made: list[object] = [[]]
        made.append(made)
        return made

    cache.get_or_load(1, ring)
    assert probe.live_copy(cache, 1).own_references == 1
