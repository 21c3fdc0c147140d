"""Clocks that tests move."""

from __future__ import annotations

from dagcache.concurrency.coarse_clock import CoarseClock


class ManualClock:
    """Seconds that pass only on request, in either direction."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class StillClock(ManualClock, CoarseClock):
    """One that can stand in for the clock of a component: to be started and closed, and moved by hand all the same."""

    def __init__(self, now: float = 1000.0) -> None:
        CoarseClock.__init__(self)
        ManualClock.__init__(self, now)
