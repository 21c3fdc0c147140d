"""Ghosts of keys that left."""

from __future__ import annotations

from math import inf

from dagcache.eviction.access_history import AccessHistory
from dagcache.eviction.ghosts import Ghosts


def make_history(burst_start: float, gap: float = 0.0, last_filled: float = -inf) -> AccessHistory:
    """Build a history as it stands when its key leaves."""
    history = AccessHistory(burst_start)
    history.gap, history.last_filled = gap, last_filled
    return history


def test_a_returning_key_gets_its_history_back() -> None:
    """Burst start, gap, pauses and the time of the last load are restored exactly."""
    ghosts = Ghosts()
    left = make_history(12.345, gap=0.1, last_filled=12.5)
    left.paused, left.pause, left.matching_pauses = True, 1.1, 2
    ghosts.remember(7, left)
    history = AccessHistory(99.0)
    ghosts.recall(7, history)
    assert (history.burst_start, history.gap, history.last_filled) == (12.345, 0.1, 12.5)
    assert (history.paused, history.pause, history.matching_pauses) == (True, 1.1, 2)


def test_an_unknown_key_keeps_its_new_history() -> None:
    """Recalling an unknown key changes nothing."""
    history = AccessHistory(99.0)
    Ghosts().recall(7, history)
    assert (history.burst_start, history.gap, history.last_filled) == (99.0, 0.0, -inf)


def test_a_ghost_is_recalled_once() -> None:
    """The returning entry carries the history from then on."""
    ghosts = Ghosts()
    ghosts.remember(7, make_history(1.0))
    ghosts.recall(7, AccessHistory(2.0))
    assert len(ghosts) == 0


def test_a_key_that_leaves_twice_is_remembered_as_it_was_last() -> None:
    """One ghost per key, and it counts as young again."""
    ghosts = Ghosts()
    ghosts.remember(-1, make_history(1.0))
    for key_hash in range(50):
        ghosts.remember(key_hash, make_history(2.0))
    ghosts.remember(-1, make_history(3.0))
    assert len(ghosts) == 51
    ghosts.trim(20)
    history = AccessHistory(9.0)
    ghosts.recall(-1, history)
    assert history.burst_start == 3.0


def test_trimming_forgets_the_oldest_and_little_more_than_it_must() -> None:
    """The youngest stay; at most a square root of the limit goes in advance."""
    ghosts = Ghosts()
    for key_hash in range(200):
        ghosts.remember(key_hash, make_history(float(key_hash)))
    ghosts.trim(100)
    assert 90 <= len(ghosts) <= 100
    history = AccessHistory(999.0)
    ghosts.recall(199 - 89, history)
    assert history.burst_start == 110.0


def test_trimming_within_the_limit_forgets_nothing() -> None:
    """The limit is a limit, not a target."""
    ghosts = Ghosts()
    ghosts.remember(1, make_history(1.0))
    ghosts.trim(1)
    assert len(ghosts) == 1


def test_trimming_to_nothing_and_clearing_empty_it() -> None:
    """A limit of 0 is allowed."""
    ghosts = Ghosts()
    for key_hash in range(5):
        ghosts.remember(key_hash, make_history(1.0))
    ghosts.trim(0)
    assert len(ghosts) == 0
    ghosts.remember(1, make_history(1.0))
    ghosts.clear()
    assert len(ghosts) == 0
