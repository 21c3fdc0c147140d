"""The opening of a store: at its first use, in a thread of its own, and again after a failure or a loss.

A key may come from a command, a folder may be on a disk that hangs, a database may not answer. So the first caller
waits for the opening for 250 ms at most, and no other caller waits. Until it has ended, lookups do without the store.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import ClassVar, Final, Generic, TypeVar

from dagcache.concurrency.lock import Lock
from dagcache.concurrency.time_limit import try_elsewhere
from dagcache.warm_start.circuit_breaker import SLOWEST_SECONDS

T = TypeVar("T")

THREAD: Final = "dagcache-warm-open"


class OffError(Exception):
    """A store cannot be used in this process. The message says why, and shows no secret."""

    kind: ClassVar[str] = "open"
    """The kind of the error in `dagcache.warm_start.counts.ERRORS`."""
    level: ClassVar[int] = logging.ERROR
    """The level of the line in the log."""


class _State(enum.Enum):
    NEW = "new"
    OPENING = "opening"
    OPEN = "open"
    OFF = "off"
    CLOSED = "closed"


class Opening(Generic[T]):
    """Opens the part of a store that input and output need. Thread-safe; a forked child calls `after_fork_in_child`.

    Args:
        open_part: opens it, in a thread of its own.
        then: called in that thread with the opened part, after other threads have it.
        discard: called with a part that was opened while the store was closed or turned off.
        failed: called in that thread with the Exception of ``open_part``. It pauses the store, or turns it off.
        is_paused: whether the part is not to be opened now.

    """

    def __init__(
        self,
        open_part: Callable[[], T],
        *,
        then: Callable[[T], object],
        failed: Callable[[Exception], object],
        is_paused: Callable[[], bool],
        discard: Callable[[T], object] = id,
    ) -> None:
        self._open_part = open_part
        self._then = then
        self._failed = failed
        self._is_paused = is_paused
        self._discard = discard
        self._state = _State.NEW
        self._starting = Lock()
        self.opened: T | None = None
        """The opened part; None as long as there is none."""

    @property
    def is_new(self) -> bool:
        """Whether the next `ready` begins to open the part."""
        return self._state is _State.NEW

    @property
    def is_off(self) -> bool:
        """Whether the store cannot be used in this process."""
        return self._state is _State.OFF

    @property
    def has_ended(self) -> bool:
        """Whether the store is off or closed: the part is never opened again."""
        return self._state in (_State.OFF, _State.CLOSED)

    def ready(self) -> T | None:
        """The opened part. The first caller begins to open it, and waits for 250 ms at most."""
        if self._state is _State.NEW and not self._is_paused():
            self._starting.try_run(self._start)
        return self.opened

    def lose(self, part: T) -> None:
        """Have the next `ready` open the part again, if this one is still in use."""
        if self.opened is part:
            self.opened = None
            self._state = _State.NEW

    def turn_off(self) -> None:
        """Never open the part again: it cannot be used."""
        self._end(_State.OFF)

    def close(self) -> None:
        """Never open the part again: it is not wanted."""
        self._end(_State.CLOSED)

    def after_fork_in_child(self) -> None:
        """Leave an unfinished opening, whose thread does not exist here."""
        self._starting = Lock()
        if self._state is _State.OPENING:
            self._state = _State.NEW

    def _end(self, state: _State) -> None:
        self._state = state
        self.opened = None

    def _start(self) -> None:
        if self._state is _State.NEW:
            self._state = _State.OPENING
            if try_elsewhere(SLOWEST_SECONDS, self._open, THREAD) is None and self._state is _State.OPENING:
                self._state = _State.NEW  # no thread: the next caller tries again

    def _open(self) -> None:
        try:
            part = self._open_part()
        except Exception as error:
            self._failed(error)
            if self._state is _State.OPENING:
                self._state = _State.NEW
            return
        self.opened = part
        if self._state is not _State.OPENING:  # closed meanwhile
            self.opened = None
            self._discard(part)
            return
        self._state = _State.OPEN
        self._then(part)
