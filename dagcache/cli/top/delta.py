"""What a component did lately: two scrapes of it, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dagcache.cli.shared.snapshot import Durations, Figures


@dataclass(frozen=True, slots=True)
class Window:
    """The newest figures, and older ones of the same process."""

    now: Figures
    before: Figures | None = None
    """None: there is nothing to compare with."""
    seconds: float = 0.0
    """From the older ones to the newest."""

    @property
    def is_open(self) -> bool:
        """Whether there is anything between; a process that was started anew has forgotten what it counted."""
        return self.before is not None and self.seconds > 0 and self.now.lookups >= self.before.lookups

    def grown(self, count: Callable[[Figures], float]) -> float:
        """By how much a count has grown; since the process's start if there is nothing to compare with."""
        return count(self.now) - (count(self.before) if self.before is not None and self.is_open else 0)

    def rate(self, count: Callable[[Figures], float]) -> float | None:
        """The same per second; None if there is nothing to compare with."""
        return self.grown(count) / self.seconds if self.is_open else None

    @property
    def loads(self) -> Durations:
        """What was loaded in between; since the start if that was nothing."""
        return self._durations(lambda figures: figures.loads)

    @property
    def thaws(self) -> Durations:
        """What was thawed in between; since the start if that was nothing."""
        return self._durations(lambda figures: figures.thaws)

    def _durations(self, pick: Callable[[Figures], Durations]) -> Durations:
        whole = pick(self.now)
        if self.before is None or not self.is_open:
            return whole
        recent = whole.since(pick(self.before))
        return recent if recent.count else whole
