"""Clocks that tests move."""

from __future__ import annotations


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
