"""The repeated weighing of live values: in use they grow or shrink, and a first weight may be an estimate.

The thread that looked a value up weighs it, without the cache's lock. The time for that is limited: a share of the time
of loads and thaws, and a share of the time that passes. A known cost is paid in advance. A value that has grown much
costs more than expected; then no other one is weighed until that is paid.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dagcache.concurrency.lock import Lock
from dagcache.core.entry import USES_BEFORE_REWEIGHING, LiveCopy
from dagcache.eviction.cost_model import CostModel

_MOST_USES = 256
_SHARE_OF_WORK = 0.01  # of the time that loads and thaws take
_SHARE_OF_TIME = 0.001  # of the time that passes
_MOST_CREDIT = 0.25  # seconds, for the most expensive value that is weighed again
_A_CHANGE = 0.01  # of the weight: a smaller change counts as none


class Reweighing:
    """Weighs live values again, one at a time, and no more of them than the price allows. Thread-safe.

    ``weigh(value, nbytes)`` gives a value's weight in bytes, where ``nbytes`` is the last one known; ``timer`` gives
    seconds.
    """

    def __init__(self, weigh: Callable[[Any, int], int], *, timer: Callable[[], float] = time.perf_counter) -> None:
        self._weigh = weigh
        self._timer = timer
        self._turn = Lock()
        self._costs = CostModel()
        self._credit = 0.0
        self._since: float | None = None
        self.seconds_total = 0.0
        """The time that weighing has taken so far, seconds."""

    def earn(self, seconds: float) -> None:
        """Credit a load or a thaw of some seconds. Takes no lock: of two at once, one may go uncredited."""
        if seconds > 0:
            self._credit = min(self._credit + _SHARE_OF_WORK * seconds, _MOST_CREDIT)

    def look_at(self, copy: LiveCopy, now: float) -> int | None:
        """Weigh a copy's value if the price allows it, bytes; None if it does not, or another thread weighs.

        Raises:
            Exception: an error of the weigher. The copy is not due again immediately.

        """
        found: list[int] = []
        self._turn.try_run(self._look_at, copy, now, found)
        return found[0] if found else None

    def _look_at(self, copy: LiveCopy, now: float, found: list[int]) -> None:
        if copy.uses < copy.due or not self._affords(copy.value_bytes, now):
            return
        copy.uses, known = 0, copy.value_bytes
        started = self._timer()
        try:
            nbytes = self._weigh(copy.value, known)
        finally:
            seconds = self._timer() - started
            self._credit -= seconds
            self.seconds_total += seconds
        self._costs.smooth(seconds, nbytes)
        has_changed = abs(nbytes - known) > _A_CHANGE * known
        copy.due = USES_BEFORE_REWEIGHING if has_changed else min(2 * copy.due, _MOST_USES)
        found.append(nbytes)

    def _affords(self, nbytes: int, now: float) -> bool:
        if self._since is not None:
            self._credit = min(self._credit + _SHARE_OF_TIME * max(0.0, now - self._since), _MOST_CREDIT)
        self._since = now
        return self._credit > 0 and self._credit >= self._costs.usual(nbytes)
