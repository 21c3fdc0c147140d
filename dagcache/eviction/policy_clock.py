"""Time as the policy sees it: seconds, but never fewer than one per fifty uses.

The policy takes uses within three seconds of each other for one, because a scheduler looks a version up several times
in one pass. A sweep that is done in less than that would look like one long burst, and its entries like ones to which
nobody ever came back: so where uses come faster than schedulers make them, the policy's clock runs faster too. Idle
times and the TTL are in real seconds.
"""

from __future__ import annotations

LEAST_STEP = 1 / 50
"""Seconds of the policy's time that a use takes at least."""


class PolicyClock:
    """The policy's clock. Written without a lock by hits, too: a lost step is harmless."""

    __slots__ = ("_now", "_time")

    def __init__(self) -> None:
        self._now = 0.0
        self._time = 0.0

    def use(self, now: float) -> float:
        """Step on for a use at `now`, real seconds; the policy's time of it."""
        self._time += max(LEAST_STEP, now - self._now)
        self._now = now
        return self._time

    def at(self, now: float) -> float:
        """The policy's time at `now`, real seconds."""
        return self._time + max(0.0, now - self._now)
