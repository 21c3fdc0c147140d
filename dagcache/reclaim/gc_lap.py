"""Rare collections between loads that follow each other, as in the first lap over all versions.

The objects of a load stay. With the host's thresholds, a collection of the youngest objects would follow each load, and
ten of these a larger one, and so on: collections that free nothing. So the relaxed block of a load lasts beyond the
load, until no load has ended for `LONGEST_WAIT` seconds. The next thaw, view or lookup of a bag after that time ends
it, or the thread that has allowed laps: without such a thread a process that looks no more would keep the threshold.
Meanwhile a due collection waits no longer than in `gc_pause`: `LONGEST_WAIT` while blocks open, or `SELDOM` new
objects.

A callback of the collector could end a lap as well. But Python code that runs within a collection is also where the
handler of a signal runs that arrived meanwhile, and the interpreter drops the exception that it raises there, such as
the `SystemExit` of a component that is to stop.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from dagcache.forks import after_fork_in_child
from dagcache.reclaim.gc_pause import LONGEST_WAIT, gc_relaxed, tenuring


class _Lap:
    """A relaxed block from one load to the next. Thread-safe: a race opens two blocks, and one of them ends at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.is_allowed = False
        self._block: gc_relaxed | None = None
        self._until = 0.0

    def extend(self) -> None:
        """Begin a lap, or continue it: a load ends. Nothing unless laps are allowed."""
        if not self.is_allowed:
            return
        self._until = self.clock() + LONGEST_WAIT
        if self._block is None:
            block = gc_relaxed()
            block.__enter__()
            self._block = block

    def end_if_over(self) -> None:
        """End the lap if no load has ended for long."""
        if self._block is not None and self.clock() >= self._until:
            self.end()

    def end(self) -> None:
        """End the lap. Never waits: while another block opens or ends, the lap stays."""
        block = self._block
        if block is not None and block.try_end():
            self._block = None

    def restart_in_child(self) -> None:
        """Forget the block: a child starts without any, and without the thread."""
        self.is_allowed = False
        self._block = None
        tenuring.forget()


_lap = _Lap()
after_fork_in_child(_lap.restart_in_child)


class gc_relaxed_lap(gc_relaxed):  # noqa: N801 - as `gc_relaxed`
    """A block of `gc_relaxed` around a load. If laps are allowed, collections stay rare for the loads that follow it.

    After an exception they do not: then there are no objects that stay.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        super().__enter__()
        self._before = gc.get_count()[0]

    def stays(self, nbytes: int) -> None:
        """Note that the loaded value stays live, with its bytes: see `gc_tenuring`."""
        if _lap.is_allowed:
            tenuring.note(gc.get_count()[0] - self._before, nbytes)

    def __exit__(self, *raised: object) -> None:
        if not any(raised):
            _lap.extend()
        super().__exit__()


def end_lap_if_over() -> None:
    """End the lap if no load has ended for `LONGEST_WAIT` seconds. Costs little, and never waits."""
    _lap.end_if_over()


def allow_laps() -> None:
    """Allow laps in this process. A thread of the caller has to call `end_lap_if_over` every few seconds."""
    _lap.is_allowed = True


def forbid_laps() -> None:
    """End the lap, and begin no other. The thread of the caller ends."""
    _lap.is_allowed = False
    _lap.end()
