"""The recent activity of a component: the difference between two snapshots of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dagcache.metrics.snapshot import Durations, Snapshot


@dataclass(frozen=True, slots=True)
class Delta:
    """The newest snapshot, and an older one of the same process."""

    now: Snapshot
    before: Snapshot | None = None
    """None: there is no older snapshot."""
    seconds: float = 0.0
    """From the older snapshot to the newest."""

    @property
    def is_open(self) -> bool:
        """Whether the two can be compared. They cannot after a restart of the process, which resets its counts."""
        return self.before is not None and self.seconds > 0 and self.now.lookups >= self.before.lookups

    def grown(self, count: Callable[[Snapshot], float]) -> float:
        """The growth of a count; since the start of the process if there is no comparison."""
        return count(self.now) - (count(self.before) if self.before is not None and self.is_open else 0)

    def rate(self, count: Callable[[Snapshot], float]) -> float | None:
        """The growth of a count per second; None if there is no comparison."""
        return self.grown(count) / self.seconds if self.is_open else None

    @property
    def loads(self) -> Durations:
        """The loads between the two; all since the start if there were none."""
        return self._durations(lambda each: each.loads)

    @property
    def thaws(self) -> Durations:
        """The thaws between the two; all since the start if there were none."""
        return self._durations(lambda each: each.thaws)

    def _durations(self, pick: Callable[[Snapshot], Durations]) -> Durations:
        whole = pick(self.now)
        if self.before is None or not self.is_open:
            return whole
        recent = whole.since(pick(self.before))
        return recent if recent.count else whole
