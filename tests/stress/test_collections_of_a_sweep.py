"""Collections of the garbage collector during a sweep of thaws."""

from __future__ import annotations

from dagcache.reclaim.gc_pause import SELDOM, collector_is_off, gc_paused
from tests.support.caches import automatic_gc_off
from tools.scorecard.processes import measure


def test_a_sweep_of_thaws_leaves_little_to_the_collector() -> None:
    """Values that are not kept are taken apart, so few lookups make enough garbage for a collection."""
    told = measure("pauses", "plain", 3, "made-up", 50)
    assert told["thaws"] > 0.7 * told["lookups"]
    assert told["disposals"] > 0.9 * told["thaws"]
    assert told["collections"] < 0.2 * told["lookups"]


def test_a_pause_of_ours_does_not_hide_that_the_host_has_switched_the_collector_off() -> None:
    """Thawed values that are not kept would wait for a collection that never comes."""
    with automatic_gc_off():
        assert collector_is_off()
        with gc_paused(), gc_paused():
            assert collector_is_off()
    with gc_paused():
        assert not collector_is_off()


def test_garbage_of_the_host_does_not_pile_up_while_threads_keep_thawing() -> None:
    """Some block is open nearly all of the time."""
    told = measure("host_garbage", 2, 3)
    assert told["thaws"] > 20
    assert told["collections"] > told["garbage"] / (3 * SELDOM)
    assert told["most_alive"] < 3 * SELDOM
