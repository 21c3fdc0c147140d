"""Versions without a frozen copy, remembered for a while: readers past the bag load them without the cache.

A version may not be freezable, or the cache has no place for it. Freezing it at each read would cost more than
Airflow's own load, and save nothing. A load that another change has overtaken is not marked: the next read may keep it.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress

_SECONDS = 600.0
_MOST = 1000


class Unkept:
    """Marks of versions, each for ten minutes; the oldest of more than a thousand are forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def holds(self, version: Hashable, now: float) -> bool:
        """Whether a version is marked at ``now``, in monotonic seconds."""
        until = self._until.get(version)
        return until is not None and now < until

    def add(self, version: Hashable, now: float) -> None:
        """Mark a version."""
        self._until[version] = now + _SECONDS
        with suppress(RuntimeError, StopIteration):  # other threads change the dictionary: some marks too many stay
            while len(self._until) > _MOST:
                self._until.pop(next(iter(self._until)), None)
