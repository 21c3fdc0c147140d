"""The circuit breaker of a warm store: after an error or a slow call, the calls of the next seconds are passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Final

SLOWEST_SECONDS: Final = 0.25
PAUSE_SECONDS: Final = 30.0


class CircuitBreaker:
    """Open for 30 s after a call that failed or took longer than 250 ms. Thread-safe, without a lock.

    It is also open while such a slow call continues in another thread: the kernel does not end a call early.

    Args:
        clock: monotonic seconds.
        on_slow: called after a slow call.
        failures: the errors of a call that open it.

    """

    def __init__(
        self,
        clock: Callable[[], float],
        on_slow: Callable[[], object] = bool,
        failures: tuple[type[Exception], ...] = (OSError,),
    ) -> None:
        self._clock = clock
        self._on_slow = on_slow
        self._failures = failures
        self._until: float | None = None
        self._began: dict[int, float] = {}

    def is_open(self) -> bool:
        """Whether calls are to be passed over."""
        now = self._clock()
        if self._until is not None and now < self._until:
            return True
        return any(now - began > SLOWEST_SECONDS for began in list(self._began.values()))

    def trip(self) -> None:
        """Open it."""
        self._until = self._clock() + PAUSE_SECONDS

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Run one call, and open it if the call fails or was slow."""
        thread = get_ident()
        began = self._began[thread] = self._clock()
        try:
            yield
        except self._failures:
            self.trip()
            raise
        finally:
            self._began.pop(thread, None)
            if self._clock() - began > SLOWEST_SECONDS:
                self.trip()
                self._on_slow()
