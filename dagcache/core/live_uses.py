"""Uses of live copies: noted without the lock on the hit path, and followed by a new weighing now and then."""

from __future__ import annotations

from dagcache.concurrency.critical_section import CriticalSection
from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.disposal import Disposer
from dagcache.core.entry import LiveCopy
from dagcache.core.preparation import Preparer
from dagcache.core.store import Store
from dagcache.core.upkeep import Upkeep
from dagcache.core.watching import Watching
from dagcache.log_limits import report


class LiveUses:
    """Notes the uses of live copies. Thread-safe."""

    def __init__(
        self,
        store: Store,
        preparer: Preparer,
        disposer: Disposer,
        counts: LookupCounts,
        upkeep: Upkeep,
        clock: SteadyClock,
        watching: Watching,
    ) -> None:
        self._store = store
        self._preparer = preparer
        self._disposer = disposer
        self._counts = counts
        self._upkeep = upkeep
        self._section: CriticalSection = upkeep.section
        self._clock = clock
        self._watching = watching

    def note(self, copy: LiveCopy) -> bool:
        """Note a use on the hit path, without the lock; False if the entry's time is up."""
        now = self._clock()
        store = self._store
        if not store.use_unlocked(copy, now):
            return False
        if now > store.next_due or self._disposer.is_due:
            self._upkeep.for_lookup()
        self.weigh_again(copy)
        return True

    def note_watched(self, copy: LiveCopy) -> bool:
        """As the hit path and `note`, and report to the watcher."""
        if self._clock.source() >= copy.fresh and not self.note(copy):
            return False
        self._watching.report(copy.entry.key, "live", copy.entry)
        return True

    def weigh_again(self, copy: LiveCopy | None) -> None:
        """Weigh a value that a lookup has found, if that is due. Only the result is accounted under the lock."""
        if copy is None or copy.uses < copy.due or self._section.entered():
            return
        nbytes = self._preparer.weigh_again(copy, self._clock.latest)
        if nbytes is None or nbytes == copy.value_bytes:
            return
        try:
            self._section.run(self._reweigh, copy, nbytes)
        except Exception as error:
            report("reweigh", "the new weight of %r could not be accounted", copy.entry.key, error=error)
            self._counts.internal_errors += 1

    def _reweigh(self, copy: LiveCopy, nbytes: int) -> None:
        self._store.reweigh(copy, nbytes, self._clock())
