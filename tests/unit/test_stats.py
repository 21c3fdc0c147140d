"""Histograms, and the properties that a snapshot derives from its counts."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from dagcache import DagCache
from dagcache.stats import DURATION_BOUNDS, WEIGHT_BOUNDS, Histogram, Tally
from tests.stress.test_threads import in_threads


@pytest.mark.parametrize(
    ("observation", "counts"),
    [(0.0, (1, 0, 0)), (1.0, (1, 0, 0)), (1.1, (0, 1, 0)), (2.0, (0, 1, 0)), (2.1, (0, 0, 1))],
)
def test_an_observation_falls_under_the_first_bound_that_is_not_below_it(
    observation: float, counts: tuple[int, ...]
) -> None:
    """Bounds are inclusive; above the last there is one place more."""
    assert Histogram.of((1.0, 2.0), [observation]).counts == counts


def test_a_histogram_knows_its_count_and_its_total() -> None:
    """In the observations' unit."""
    histogram = Histogram.of((1.0,), [0.5, 0.5, 7.0])
    assert (histogram.bounds, histogram.counts, histogram.count, histogram.total) == ((1.0,), (2, 1), 3, 8.0)


def test_a_snapshot_of_a_tally_stays_as_it_was() -> None:
    """The tally goes on."""
    tally = Tally((1.0,))
    before = tally.snapshot()
    tally.observe(0.5)
    assert (before.count, tally.snapshot().count) == (0, 1)


@pytest.mark.parametrize("bounds", [DURATION_BOUNDS, WEIGHT_BOUNDS])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    """Finding the right one relies on it."""
    assert list(bounds) == sorted(set(bounds))


def test_sums_are_of_the_counts_they_name() -> None:
    """Different powers of two distinguish them."""
    bare = DagCache[str, int](max_bytes=0).stats()
    stats = dataclasses.replace(
        bare, hits_live=1, hits_frozen=2, live_bytes=4, frozen_bytes=8, overhead_bytes=16, waiting_bytes=32
    )
    assert (stats.hits, stats.total_bytes) == (3, 60)
    assert stats.lookups == 3 + stats.misses


def test_each_thread_that_waits_for_a_failing_load_counts_a_failure_of_its_own() -> None:
    """A join shares a value, never an error."""
    cache: DagCache[str, int] = DagCache(max_bytes=0)
    barrier = threading.Barrier(4)

    def fail(_: str) -> int:
        raise LookupError

    def work(_: int) -> None:
        barrier.wait()
        with pytest.raises(LookupError):
            cache.get_or_load("a", fail)

    assert in_threads(4, work) == [None] * 4
    stats = cache.stats()
    assert (stats.misses, stats.load_failures, stats.joins) == (4, 4, 0)


def test_a_fetch_is_a_lookup() -> None:
    cache: DagCache[str, int] = DagCache(max_bytes=0)
    cache.fetch("a", lambda _: 1)
    assert cache.stats().lookups == 1
