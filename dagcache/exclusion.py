"""The cache's one lock, and what a lock alone does not give.

Three things can go wrong around a critical section that every test of threads misses:

- The thread that holds the lock comes in again: a signal handler, a finaliser or a key's ``__eq__`` uses the cache. A
  plain lock would wait for ever, a re-entrant one would let it loose on half-made changes. Here it is told so.
- The section is torn: an asynchronous exception ends it half-way. The next one to come in repairs first.
- The process forks while another thread holds the lock. The child gets a new lock.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

R = TypeVar("R")
_log = logging.getLogger("dagcache")


class _OwnedLock(Protocol):
    """A re-entrant lock and the question that conditions ask it."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *exc: object) -> None: ...
    def _is_owned(self) -> bool: ...


class Exclusion:
    """Runs actions one at a time."""

    __slots__ = ("_after", "_deferred", "_lock", "_repair", "_repaired", "_torn")

    def __init__(
        self,
        *,
        repair: Callable[[], object],
        repaired: Callable[[], object],
        after: Callable[[], Callable[[], None] | None],
    ) -> None:
        """`repair` mends what a torn action left, and `repaired` tells of it, without the lock.

        `after` runs under the lock and may return what to do without it.
        """
        self._lock = cast(_OwnedLock, threading.RLock())
        self._torn = False
        self._repair = repair
        self._repaired = repaired
        self._after = after
        self._deferred: deque[Callable[[], object]] = deque()

    def entered(self) -> bool:
        """Whether this thread is inside already."""
        return self._lock._is_owned()  # noqa: SLF001 - what threading.Condition asks a lock, too

    def run(self, action: Callable[..., R], *args: Any) -> R:
        """Run an action alone. The caller has made sure that this thread is not inside (`entered`)."""
        result = self._run_alone(action, *args)
        while self._deferred:
            self._run_deferred()
        return result

    def _run_alone(self, action: Callable[..., R], *args: Any) -> R:
        # The lock is entered by the interpreter itself: a wrapper of our own could be interrupted before it returns.
        with self._lock:
            torn = self._torn
            if torn:
                self._repair()
            self._torn = True
            result = action(*args)
            afterwards = self._after()
            self._torn = False
        if torn:
            self._repaired()
        if afterwards is not None:
            afterwards()
        return result

    def run_or_defer(self, action: Callable[..., object], *args: Any) -> bool:
        """Run an action alone; if this thread is inside, as soon as it is out again (then False)."""
        if self.entered():
            self._deferred.append(lambda: action(*args))
            return False
        self.run(action, *args)
        return True

    def _run_deferred(self) -> None:
        try:
            action = self._deferred.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            self._run_alone(action)  # not `run`: a thousand that waited must not nest in each other
        except Exception:
            _log.exception("a change that waited for its turn failed")
