"""What a forked child does first, done here: coverage and debuggers do not see into a child."""

from __future__ import annotations

import gc
import threading

from dagcache.core import cache as cache_module
from dagcache.reclaim import gc_pause
from dagcache.reclaim.gc_pause import gc_paused, gc_relaxed
from tests.support.caches import MIB, Weighted, automatic_gc_off, fill, make_cache, never


def test_a_childs_caches_start_empty_with_the_budget_in_force() -> None:
    """All of them; what they inherited is neither served nor destroyed, for that would copy its pages."""
    (first, _), (second, _) = make_cache(max_bytes=0, name="first"), make_cache(max_bytes=MIB, name="second")
    fill(first, range(3))
    fill(second, range(3))
    first.resize(2 * MIB)
    old_get, inherited = first.get, first._store
    cache_module._after_fork_in_child()
    assert (len(first), len(second)) == (0, 0)
    assert (first.max_bytes, second.max_bytes) == (2 * MIB, MIB)
    assert old_get(0) is None
    assert len(inherited.entries) == 3
    assert inherited in cache_module._ORPHANS
    fill(first, [0])
    assert first.get_or_load(0, never) == old_get(0) == Weighted(0)
    assert first.stats().lookups == 4
    first.check_invariants()
    cache_module._ORPHANS.remove(inherited)


def test_a_child_ends_all_pauses_of_the_collector() -> None:
    """With a lock of its own; blocks that end later in the child change nothing."""
    inside, release = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        release.wait(30)

    with gc_paused():
        holder = threading.Thread(target=gc_pause._off._lock.run, args=(hold,))
        holder.start()
        assert inside.wait(30)
        gc_pause._restart_in_child()
        release.set()
        holder.join(30)
        assert gc.isenabled()
        gc.disable()
        assert gc_pause.collector_is_off()
    assert not gc.isenabled()
    gc.enable()


def test_a_child_without_pauses_leaves_the_collector_as_it_is() -> None:
    """Off by the host's wish, it stays off."""
    with automatic_gc_off():
        gc_pause._restart_in_child()
        assert gc_pause.collector_is_off()


def test_a_child_of_a_fork_in_a_load_collects_as_often_as_before() -> None:
    """The thread that loads may not exist in the child."""
    before = gc.get_threshold()
    with gc_relaxed():
        gc_pause._restart_in_child()
        assert gc.get_threshold() == before
    assert gc.get_threshold() == before


def test_ending_a_pause_twice_ends_it_once() -> None:
    """The second time there is nothing to end."""
    pause = gc_paused()
    with gc_paused():
        pause.__enter__()
        pause.__exit__()
        pause.__exit__()
        assert not gc.isenabled()
    assert gc.isenabled()
