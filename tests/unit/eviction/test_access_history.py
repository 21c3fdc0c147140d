"""The access history of one key."""

from __future__ import annotations

import pytest

from dagcache.eviction.access_history import BURST, AccessHistory
from dagcache.eviction.node import Node


def test_uses_within_a_burst_are_one_use() -> None:
    """They count as hits, but show no gap."""
    history = AccessHistory(10.0)
    history.touch(10.0 + BURST)
    assert (history.hits, history.gap, history.burst_start) == (1, 0.0, 10.0)


def test_the_time_of_the_last_use_is_the_owners() -> None:
    """It may be kept in other seconds than the policy's."""
    history = AccessHistory(10.0)
    history.touch(50.0)
    assert history.used == 10.0


def test_the_first_gap_is_taken_as_it_is() -> None:
    """There is no earlier mean to mix it with."""
    history = AccessHistory(10.0)
    history.touch(50.0)
    assert (history.gap, history.burst_start) == (40.0, 50.0)


def test_later_gaps_enter_a_geometric_mean() -> None:
    """The mean of 10 and 22.5 seconds is 15."""
    history = AccessHistory(0.0)
    history.touch(10.0)
    history.touch(32.5)
    assert history.gap == pytest.approx(15.0)


def test_one_pause_does_not_change_the_mean() -> None:
    """After a pause the old rhythm is expected again."""
    history = AccessHistory(0.0)
    for now in (10.0, 20.0, 30.0, 3_000.0, 3_010.0):
        history.touch(now)
    assert history.gap == pytest.approx(10.0)


def test_two_pauses_in_a_row_are_a_new_rhythm() -> None:
    """A first gap that was accidentally short is corrected."""
    history = AccessHistory(0.0)
    for now in (4.0, 104.0, 204.0):
        history.touch(now)
    assert history.gap == pytest.approx(20.0)
    for now in (304.0, 404.0, 504.0, 604.0, 704.0, 804.0):
        history.touch(now)
    assert history.gap == pytest.approx(100.0, rel=0.2)


def test_pauses_of_about_the_same_length_agree() -> None:
    """An hourly run pauses for about as long each time; a pause of another length starts the count again."""
    history, now, agreed = AccessHistory(0.0), 0.0, []
    for pause in (1000.0, 1400.0, 1000.0, 1100.0, 2000.0, 1500.0, 900.0):
        for gap in (10.0, 10.0, 10.0, pause):
            now += gap
            history.touch(now)
        agreed.append(history.matching_pauses)
        assert history.pause == pytest.approx(pause)
    assert agreed == [0, 1, 2, 2, 0, 1, 0]


def test_a_clock_that_steps_back_does_no_harm() -> None:
    """A use stamped earlier than the last is part of its burst."""
    history = AccessHistory(100.0)
    history.touch(40.0)
    assert (history.gap, history.burst_start) == (0.0, 100.0)


def test_a_node_is_proven_only_by_a_use_after_its_admission() -> None:
    """A gap remembered from an earlier stay proves nothing about this one."""
    history = AccessHistory(0.0)
    history.touch(30.0)
    node = Node(history, nbytes=1, cost_density=1.0)
    node.admitted_at = 30.0
    assert not node.is_proven()
    history.touch(60.0)
    assert node.is_proven()


def test_a_replaced_value_leaves_its_history_to_the_next() -> None:
    """Rhythm, pauses and counts go on."""
    old, new = AccessHistory(0.0), AccessHistory(7.0)
    for now in (10.0, 20.0, 200.0, 210.0, 400.0):
        old.touch(now)
    old.last_filled = 3.0
    new.inherit(old)
    kept = ("burst_start", "gap", "paused", "pause", "matching_pauses", "hits", "last_filled")
    assert [getattr(new, name) for name in kept] == [getattr(old, name) for name in kept]
    assert new.used == 7.0
