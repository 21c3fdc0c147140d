"""The upkeep of a cache: expiry of idle entries, and disposal of released ones, a few milliseconds per call.

The cache has no thread of its own. Lookups, changes and views do the work that others have left, each within its
`Allowance`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from dagcache.concurrency.allowance import LOOKUP_SECONDS, VIEW_SECONDS, Allowance
from dagcache.concurrency.critical_section import CriticalSection
from dagcache.core.clock import SteadyClock
from dagcache.core.disposal import Disposer
from dagcache.core.single_flight import Flights
from dagcache.core.store import Store
from dagcache.reclaim.gc_lap import end_lap_if_over

_EXPIRY_SLICE = 8  # entries per turn under the lock, between two looks at the time
_EXPIRY_BATCH = 256  # the same, where all entries are looked at


class Upkeep:
    """Expires, disposes, and charges residents for values that callers hold. Thread-safe.

    ``repair`` mends the cache after a torn change, and ``repaired`` reports that: see `CriticalSection`.
    """

    def __init__(
        self,
        store: Store,
        flights: Flights,
        disposer: Disposer,
        clock: SteadyClock,
        *,
        repair: Callable[[], object],
        repaired: Callable[[], object],
    ) -> None:
        self._store = store
        self._flights = flights
        self._disposer = disposer
        self._clock = clock
        self._settles = False
        self.timer: Callable[[], float] = time.perf_counter
        """The clock that measures allowances, seconds."""
        self._section = CriticalSection(repair=repair, repaired=repaired, after=self._take_released)

    @property
    def section(self) -> CriticalSection:
        """The critical section of the cache: each step in it ends with a look at the released entries."""
        return self._section

    # ---- for calls of the cache, without the lock ----

    def is_any_due(self) -> bool:
        """Whether the time of some entry may be up."""
        return self._clock() > self._store.next_due

    def for_lookup(self) -> None:
        """Expire and dispose for as long as a lookup may take."""
        self._expire_within(Allowance(LOOKUP_SECONDS, self.timer))

    def for_view(self) -> None:
        """Expire and dispose for as long as a view may take, and look at the values that wait."""
        if self._section.entered():
            return
        end_lap_if_over()
        allowance = Allowance(VIEW_SECONDS, self.timer)
        self._expire_within(allowance)
        if self._disposer.is_awaited:
            self._dispose_within(allowance)  # due bytes become held bytes: both count, so no resident has to leave

    def for_dropped(self) -> None:
        """Dispose of values that left, for as long as a lookup may take. Nothing within a change by this thread.

        Nor during a load or a thaw: the time would count as theirs.
        """
        if self._disposer.is_awaited and not self._flights and not self._section.entered():
            self._dispose_for_a_while()

    def expire_all(self) -> int:
        """Remove every idle entry; the number of them. Nothing within a change by this thread."""
        gone = 0
        if not self._section.entered():
            while self.is_any_due():
                gone += self._section.run(self._expire_some, _EXPIRY_BATCH)
            if self._store.absences:
                self._section.run(self._expire_absences)
            self._disposer.dispose()
            self._settle()
        return gone

    def free_all(self) -> None:
        """Dispose of everything that left, and take apart all that is free, however long that takes."""
        self._disposer.empty()
        self._store.forget_held()
        self._settle()

    # ---- inside ----

    def _take_released(self) -> Callable[[], None] | None:
        released = self._store.take_released()
        if released:
            self._disposer.take(released, self._clock.latest)
        if self._settles:  # `_settle` is the caller, and continues
            self._settles = False
            return self._dispose_for_a_while
        # Objects freed before a thaw do not offset those that it makes: a collection would still be due.
        before_a_thaw = bool(self._flights) and gc.isenabled()
        is_due = self._disposer.is_due or (self._disposer.is_awaited and not before_a_thaw)
        return self._tidy if is_due else None

    def _tidy(self) -> None:
        """Dispose of released entries and charge those that callers hold: after a change, outside the lock."""
        self._dispose_for_a_while()
        self._settle()

    def _dispose_for_a_while(self) -> None:
        self._dispose_within(Allowance(LOOKUP_SECONDS, self.timer))

    def _dispose_within(self, allowance: Allowance) -> None:
        """Dispose until the time is up, and beyond that of the bytes over the budget."""
        self._disposer.dispose(lambda: allowance.is_spent() and not self._is_over_budget())

    def _is_over_budget(self) -> bool:
        return self._store.exceeds(self._disposer.held_bytes, self._disposer.due_bytes)

    def _settle(self) -> None:
        """Charge the residents for values that left and that callers hold: both are in the process's memory."""
        if self._disposer.is_disposing:
            return  # the disposal around this settles when it is done
        while self._store.exceeds(self._disposer.held_bytes):
            if not self._section.run(self._charge_held):
                return
        self._store.note_held(self._disposer.held_bytes)

    def _charge_held(self) -> bool:
        self._settles = True
        return self._store.settle(self._disposer.held_bytes, self._clock())

    def _expire_within(self, allowance: Allowance) -> None:
        """Expire idle entries and dispose of released ones, until the time is up."""
        if self._section.entered() or self._disposer.is_disposing:
            return
        while self.is_any_due():
            self._section.run(self._expire_some, _EXPIRY_SLICE)
            if allowance.is_spent():
                return
        if self._disposer.is_due:
            self._dispose_within(allowance)

    def _expire_absences(self) -> None:
        self._store.absences.expire(self._clock())

    def _expire_some(self, limit: int) -> int:
        return self._store.expire(self._clock(), limit)
