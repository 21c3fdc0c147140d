"""A clock that never goes back, over any clock of seconds."""

from __future__ import annotations

from collections.abc import Callable


class SteadyClock:
    """The time of its source, or the latest time that it gave if that is greater. Thread-safe."""

    __slots__ = ("latest", "source")

    def __init__(self, source: Callable[[], float]) -> None:
        self.source = source
        self.latest = source()
        """The time that it gave last."""

    def __call__(self) -> float:
        """The time, in seconds."""
        now = self.source()
        if now < self.latest:
            return self.latest
        self.latest = now
        return now
