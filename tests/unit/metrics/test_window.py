"""The recent snapshots of a component, for `top` and the status page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dagcache.metrics.snapshot import Snapshot
from dagcache.metrics.window import Window

EMPTY = Snapshot(*(0,) * 14)


def spans(*times: float) -> list[float]:
    """The seconds of the comparison after each snapshot; 0: there is none yet."""
    window, found = Window(), []
    for number, now in enumerate(times):
        window.add(now, replace(EMPTY, misses=number))
        assert (window.delta.before is None) == (number == 0)
        assert window.newest == (now, window.delta.now)
        found.append(window.delta.seconds)
    return found


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((0, 10, 20, 30, 40, 50), [0, 10, 20, 30, 30, 30]),
        ((0, 60, 120), [0, 60, 60]),
        ((0, 3600, 3605, 3610), [0, 3600, 5, 10]),
    ],
    ids=["the last half minute", "rare views", "a view after a pause"],
)
def test_rates_are_over_the_last_half_minute_or_between_the_last_two(times: list[float], expected: list[float]) -> None:
    """A snapshot from before a pause does not stay in the rates."""
    assert spans(*times) == expected


def test_a_restart_ends_the_comparison() -> None:
    """Counts begin with 0 again."""
    window = Window()
    for now, misses in ((0, 5), (1, 7), (2, 1)):
        window.add(now, replace(EMPTY, misses=misses))
    assert window.delta.before is None
