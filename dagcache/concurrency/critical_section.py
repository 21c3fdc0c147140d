"""The cache's critical section: a lock, with answers to re-entry, torn changes and forks.

Tests with threads alone miss these faults:

- The thread that holds the lock enters again: a signal handler, a finaliser or a key's ``__eq__`` uses the cache. A
  plain lock would deadlock, a re-entrant one would expose half-made changes. Here `CriticalSection.entered` shows it.
- The section is torn: an asynchronous exception ends it half-way. The next action is preceded by a repair.
- The process forks while another thread holds the lock. The child gets a new lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from dagcache.concurrency.lock import POLL_SECONDS, Lock
from dagcache.log_limits import report

P = ParamSpec("P")
R = TypeVar("R")

_Afterwards = Callable[[], None]


def _nothing() -> None:
    """Stand for an action."""


class CriticalSection:
    """Runs actions one at a time.

    A lock that is lost (see `dagcache.concurrency.lock`) is replaced, as after a torn action.
    """

    __slots__ = ("_after", "_deferred", "_lock", "_repair", "_repaired", "_torn")

    def __init__(
        self,
        *,
        repair: Callable[[], object],
        repaired: Callable[[], object],
        after: Callable[[], _Afterwards | None],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`repair` mends the state after a torn action, and `repaired` reports that, without the lock.

        `after` runs under the lock and may return a further action without it. `poll_seconds` as for a `Lock`.
        """
        self._lock = Lock(self._tear, poll_seconds=poll_seconds)
        self._torn = False
        self._repair = repair
        self._repaired = repaired
        self._after = after
        self._deferred: deque[Callable[[], object]] = deque()

    def entered(self) -> bool:
        """Whether this thread is inside."""
        return self._lock.entered()

    def run(self, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an action alone. This thread must not be inside (`entered`)."""
        result = self._run_alone(action, args, kwargs)
        while self._deferred:
            self._run_deferred()
        return result

    def run_or_defer(self, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Run an action alone and return True; within an action of this thread, queue it until that ends: False."""
        if self.entered():
            self._deferred.append(lambda: action(*args, **kwargs))
            return False
        self.run(action, *args, **kwargs)
        return True

    def disconnect(self) -> None:
        """Drop what knows it: its lock, and the actions that it was made with. It must not be run any more."""
        self._repair = self._repaired = self._after = _nothing
        self._lock = Lock()

    def _run_alone(self, action: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> R:
        done: tuple[bool, R, _Afterwards | None] = self._lock.run(self._section, action, args, kwargs)
        torn, result, afterwards = done
        if torn:
            self._repaired()
        if afterwards is not None:
            afterwards()
        return result

    def _section(
        self, action: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[bool, R, _Afterwards | None]:
        torn = self._torn
        if torn:
            self._repair()
        self._torn = True
        result = action(*args, **kwargs)
        afterwards = self._after()
        self._torn = False
        return torn, result, afterwards

    def _tear(self) -> None:
        self._torn = True

    def _run_deferred(self) -> None:
        try:
            action = self._deferred.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            self._run_alone(action, (), {})  # not `run`: a thousand that waited must not nest in each other
        except Exception as error:
            report("deferred change", "a change that waited for its turn failed", error=error)
