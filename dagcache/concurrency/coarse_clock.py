"""A clock that is read for free: a thread writes the time four times a second, hits only look.

Asking the operating system for the time is half of a lookup's cost. The cache does without a thread by default and pays
it; a process that looks up often hands this clock in. While it does not tick (before the first use, in a forked child,
at shutdown) it stands at infinity, which sends every lookup to the exact clock: a stopped ticker costs speed only.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref

from dagcache.concurrency.lock import Lock


class CoarseClock:
    """A monotonic clock in seconds: exact when called, a quarter of a second behind in ``now``. Thread-safe.

    The ticking thread is a daemon, starts at the first call in each process, and ends with the clock.
    """

    __slots__ = ("__weakref__", "_starting", "_ticker", "interval", "now")

    def __init__(self, interval: float = 0.25) -> None:
        self.interval = interval
        self.now = math.inf
        self._ticker: object | None = None
        self._starting = Lock()
        _clocks.add(self)

    def __call__(self) -> float:
        """The exact time; starts the ticker if this process has none."""
        if self._ticker is None:
            self._starting.try_run(self._start)
        return time.monotonic()

    def _start(self) -> None:
        if self._ticker is not None:
            return
        ticker = object()
        thread = threading.Thread(target=_tick, args=(weakref.ref(self), ticker), name="dagcache-clock", daemon=True)
        self._ticker = ticker
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending: exact time it is
            self._ticker = None

    def halt(self) -> None:
        """Stand at infinity until the next call."""
        self._ticker = None
        self.now = math.inf
        self._starting = Lock()  # in a forked child the old one may be held by a thread that is not here


def _tick(reference: weakref.ref[CoarseClock], ticker: object) -> None:
    try:
        _tick_on(reference, ticker)  # no loop in here: tests/unit/core/test_interrupts.py says why
    finally:
        clock = reference()
        if clock is not None and clock._ticker in (ticker, None):  # noqa: SLF001 - the clock's own thread
            clock._ticker = None  # noqa: SLF001 - as above
            clock.now = math.inf


def _tick_on(reference: weakref.ref[CoarseClock], ticker: object) -> None:
    while (clock := reference()) is not None and clock._ticker is ticker:  # noqa: SLF001 - as above
        clock.now = time.monotonic()
        interval = clock.interval
        del clock
        time.sleep(interval)


_clocks: weakref.WeakSet[CoarseClock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for clock in list(_clocks):
        clock.halt()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(after_in_child=_after_fork_in_child)
