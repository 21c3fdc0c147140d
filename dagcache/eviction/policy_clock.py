"""The policy clock: seconds, but at least one per fifty uses.

The policy counts uses within three seconds as one, because a scheduler looks a version up several times in one pass. A
sweep that takes less time than that would look like one long burst, and its entries as if they were never used again.
So where uses come faster than schedulers make them, this clock runs faster as well. Idle times and the TTL are in real
seconds.
"""

from __future__ import annotations

LEAST_STEP = 1 / 50
"""Policy seconds per use, at least."""


class PolicyClock:
    """A clock that hits advance without a lock: a lost step is harmless."""

    __slots__ = ("_now", "_time")

    def __init__(self) -> None:
        self._now = 0.0
        self._time = 0.0

    def use(self, now: float) -> float:
        """Advance for a use at `now` (real seconds); return its policy time."""
        self._time += max(LEAST_STEP, now - self._now)
        self._now = now
        return self._time

    def at(self, now: float) -> float:
        """Return the policy time at `now` (real seconds)."""
        return self._time + max(0.0, now - self._now)
