"""The recent snapshots of one component: rates are over the last half minute, in `top` and on the status page alike."""

from __future__ import annotations

from collections import deque
from typing import final

from dagcache.metrics.delta import Delta
from dagcache.metrics.snapshot import Snapshot

SECONDS = 30.0
"""The age of the oldest snapshot that rates are computed from. If none of that age is left, it is the one before."""


@final
class Window:
    """The snapshots of the last half minute, or the last two if those are further apart. Not thread-safe."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Snapshot]] = deque()  # the oldest first, each with its time

    def add(self, now: float, newest: Snapshot) -> None:
        """Add a snapshot; ``now`` is in seconds of a monotonic clock. A restart of the process ends the comparison."""
        if self._kept and newest.lookups < self._kept[-1][1].lookups:
            self._kept.clear()
        self._kept.append((now, newest))
        while len(self._kept) > 2 and now - self._kept[0][0] > SECONDS:
            self._kept.popleft()

    @property
    def delta(self) -> Delta:
        """The newest snapshot and the oldest of the window.

        Raises:
            IndexError: no snapshot was added.

        """
        (then, before), (now, newest) = self._kept[0], self._kept[-1]
        return Delta(newest, before if len(self._kept) > 1 else None, now - then)

    @property
    def newest(self) -> tuple[float, Snapshot]:
        """The last snapshot, with its time.

        Raises:
            IndexError: no snapshot was added.

        """
        return self._kept[-1]
