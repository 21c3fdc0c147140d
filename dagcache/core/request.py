"""One lookup's request: the loader, the conditions, and the time that it may wait for other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from dagcache.core.single_flight import Flight, FlightResult


class Request:
    """A loader and its conditions. Not thread-safe: it belongs to the thread that looks up."""

    __slots__ = ("_timeout", "_timer", "_until", "blocks", "finds", "loader", "overtakes", "private", "renew")

    def __init__(
        self,
        loader: Callable[[Any], Any] | None,
        *,
        private: bool = False,
        renew: bool = False,
        finds: bool = False,
        timeout: float | None = None,
        blocks: bool = True,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loader = loader
        self.blocks = blocks
        """Whether its waits stop the thread; those of a task do not."""
        self.private = private
        self.renew = renew
        self.finds = finds or renew
        """Whether the loader is called although the key is known to have no value."""
        # NaN and negative numbers mean no wait. The longest wait of a thread stands for longer ones.
        self._timeout = None if timeout is None else min(timeout, threading.TIMEOUT_MAX) if timeout > 0 else 0.0
        self._timer = timer
        self._until: float | None = None
        self.overtakes = False
        """Whether one flight has taken all of its time; that flight then gives way to it."""

    def wait(self, flight: Flight) -> FlightResult | None:
        """Wait for another thread's flight; None if the time is up, which begins with the first wait."""
        return self.waited(flight.wait(self.seconds_to_wait()))

    def seconds_to_wait(self) -> float | None:
        """The rest of the time to wait, which begins now if it has not begun; None: no limit."""
        if self._timeout is None:
            return None
        now = self._timer()
        if self._until is None:
            self._until = now + self._timeout
            self.overtakes = self._timeout > 0
        return self._until - now

    def waited(self, result: FlightResult | None) -> FlightResult | None:
        """Note the end of a wait."""
        self.overtakes = self.overtakes and result is None
        return result

    @property
    def is_late(self) -> bool:
        """Whether its time to wait is spent."""
        return self._until is not None and self._timer() >= self._until
