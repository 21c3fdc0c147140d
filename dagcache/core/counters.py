"""The counters of lookups, and the snapshot of all statistics. Written and read under the cache's lock."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from dagcache.core.disposal import Disposer
from dagcache.core.family_costs import FamilyCosts
from dagcache.core.preparation import Preparer
from dagcache.core.store import Store
from dagcache.stats import DURATION_BOUNDS, CacheStats, Rejection, Tally


@dataclass(slots=True)
class LookupCounts:
    """The outcomes of lookups, without the hits of the hit path: that counts its own."""

    hits_live: int = 0
    hits_frozen: int = 0
    loads: int = 0
    load_failures: int = 0
    joins: int = 0
    absent: int = 0
    absent_known: int = 0
    thaw_failures: int = 0
    internal_errors: int = 0
    rejections: dict[Rejection, int] = field(default_factory=lambda: dict.fromkeys(Rejection, 0))
    load_seconds: Tally = field(default_factory=lambda: Tally(DURATION_BOUNDS))
    thaw_seconds: Tally = field(default_factory=lambda: Tally(DURATION_BOUNDS))
    families: FamilyCosts = field(default_factory=FamilyCosts)

    def thawed(self, seconds: float, family: Hashable | None) -> None:
        """Count a lookup that thawed a frozen copy."""
        self.hits_frozen += 1
        self.thaw_seconds.observe(seconds)
        self.families.thawed(family, seconds)

    def joined(self, thawing: bool) -> None:
        """Count a lookup that waited for another thread's thaw or load."""
        if thawing:
            self.hits_frozen += 1
        else:
            self.joins += 1

    def reject(self, reason: Rejection | None) -> Rejection | None:
        """Count a rejection, if it is one, and pass it on."""
        if reason is not None:
            self.rejections[reason] += 1
        return reason

    @property
    def misses(self) -> int:
        """All misses: each is counted as exactly one of four."""
        return self.loads + self.load_failures + self.joins + self.absent


def build_stats(
    name: str,
    store: Store,
    counts: LookupCounts,
    preparer: Preparer,
    disposer: Disposer,
    unlocked_hits: int,
    changed_settings: int,
    now: float,
) -> CacheStats:
    """The snapshot, as of `now`."""
    victim = store.next_victim(now)
    return CacheStats(
        name=name,
        hits_live=counts.hits_live + unlocked_hits,
        hits_frozen=counts.hits_frozen,
        misses=counts.misses,
        loads=counts.loads,
        load_failures=counts.load_failures,
        joins=counts.joins,
        absent=counts.absent,
        absent_known=counts.absent_known,
        evictions=dict(store.counts.evictions),
        evicted_bytes=dict(store.counts.evicted_bytes),
        demotions=store.counts.demotions,
        demoted_bytes=store.counts.demoted_bytes,
        rejections=dict(counts.rejections),
        thaw_failures=counts.thaw_failures,
        unfrozen=preparer.unfrozen,
        listener_failures=disposer.listener_failures,
        taken_apart=disposer.taken_apart,
        died=disposer.died,
        unbroken_cycles=disposer.unbroken_cycles,
        internal_errors=counts.internal_errors,
        load_seconds=counts.load_seconds.snapshot(),
        thaw_seconds=counts.thaw_seconds.snapshot(),
        entry_bytes=store.ledger.entry_bytes(),
        max_bytes=store.budget,
        changed_settings=changed_settings,
        live_bytes=store.ledger.live_bytes,
        frozen_bytes=store.ledger.frozen_bytes,
        overhead_bytes=store.ledger.overhead_bytes + store.ledger.absence_bytes,
        waiting_bytes=disposer.waiting_bytes,
        waiting=disposer.waiting,
        serialized_bytes=store.ledger.serialized_bytes,
        live_entries=len(store.live),
        frozen_entries=store.ledger.frozen_entries,
        entries=len(store.entries),
        absences=len(store.absences),
        next_victim_idle_seconds=0.0 if victim is None else max(0.0, now - victim.used),
        sizing_error_ratio=preparer.sizing_error_ratio,
        sizing_seconds=preparer.sizing_seconds,
    )
