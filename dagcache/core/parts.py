"""The parts of one cache, built together: for a new cache, and again in a forked child.

Users hold a `DagCache`, or one of its bound lookups (``get = cache.get``). Both hold these parts, and the parts hold
neither. So no reference cycle keeps a dropped cache in memory, and a bound lookup outlives its cache::

    DagCache, get, get_or_load ──> Parts ──> store, lookups, ..., the switch of the hit path

With the last of them the parts end, and take apart the values that nothing else holds. Within the parts, the upkeep and
the critical section know each other, and so do an entry and its copies; the end undoes that.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from dagcache.config import CacheConfig
from dagcache.core import hit_path
from dagcache.core.bulk import BulkLookups
from dagcache.core.clock import SteadyClock
from dagcache.core.counters import LookupCounts
from dagcache.core.disposal import Disposer
from dagcache.core.lookup import Lookups
from dagcache.core.preparation import Preparer
from dagcache.core.single_flight import Flights
from dagcache.core.store import Store
from dagcache.core.upkeep import Upkeep
from dagcache.core.watching import Watcher
from dagcache.forks import after_fork_in_child
from dagcache.freezing.pickle_freezer import Freezer
from dagcache.log_limits import report

ORPHANS: Final[list[object]] = []
"""Inherited by forked children: destruction would copy the pages."""


class Parts:
    """The parts of a cache. Each is thread-safe, or guarded by the section."""

    def __init__(
        self,
        config: CacheConfig,
        clock: SteadyClock,
        budget: int,
        *,
        freezer: Freezer | None,
        make_preparer: Callable[[], Preparer],
        make_disposer: Callable[..., Disposer],
    ) -> None:
        self._config = config
        self._clock = clock
        self._freezer = freezer
        self._make_preparer = make_preparer
        self._make_disposer = make_disposer
        self._build(budget, config.ttl)

    def _build(self, budget: int, ttl: float) -> None:
        """Build the empty state."""
        config, clock = self._config, self._clock
        enforce = config.mode == "enforce"
        self.store = Store(
            budget=budget,
            ttl=ttl,
            max_age=config.max_age,
            jitter=config.jitter,
            negative_ttl=config.negative_ttl,
            enforce=enforce,
            unproven_share=config.unproven_share,
        )
        self.flights = Flights()
        self.preparer = self._make_preparer()
        self.disposer = self._make_disposer(budget=budget if enforce else 0)
        self.counts = LookupCounts()
        self.upkeep = Upkeep(
            self.store,
            self.flights,
            self.disposer,
            clock,
            repair=partial(_repair, self.store, clock),
            repaired=partial(_report_repair, config.name),
        )
        self.section = self.upkeep.section
        self.lookups = Lookups(
            self.store,
            self.flights,
            self.preparer,
            self.disposer,
            self.counts,
            self.upkeep,
            clock,
            freezer=self._freezer,
            raises_oversize=config.oversize == "raise",
        )
        self.bulk = BulkLookups(self.lookups, self.store, self.flights, self.section, clock)

    # ---- the hit path ----

    def make_hit_path(self) -> hit_path.HitPath:
        """Make the hit path. It holds these parts, which hold its switch only. Called once."""
        self._hits_before = 0
        path, self._switch = hit_path.build(self, *self._hit_path_inputs())
        after_fork_in_child(self._after_fork_in_child)
        return path

    def watch(self, watcher: Watcher | None) -> None:
        """Report each lookup to a watcher from now on; None ends that. Bound lookups that were taken earlier, too."""
        self.lookups.watching.watcher = watcher
        self._switch.turn(*self._hit_path_inputs())

    def unlocked_hits(self) -> int:
        """The number of lookups that the hit path served."""
        return self._switch.hits() - self._hits_before

    def _hit_path_inputs(self) -> tuple[hit_path.Live, hit_path.Clock, hit_path.Use]:
        uses = self.lookups.uses
        if self.lookups.watching.watcher is None:
            return self.store.live, self._clock.source, uses.note
        return self.store.live, _never_fresh, uses.note_watched

    # ---- forks, and the end ----

    def _after_fork_in_child(self) -> None:
        orphan = self.store
        ORPHANS.extend((orphan, self.disposer, self.upkeep))
        self._build(orphan.budget, orphan.ttl)
        self.store.closed = orphan.closed
        self._hits_before = self._switch.hits()
        self._switch.turn(*self._hit_path_inputs())

    def __del__(self) -> None:
        """Free the values. No thread is in a lookup, because that would hold these parts.

        An interrupt that arrives in here is dropped by the interpreter, as in every finaliser.
        """
        if hasattr(self, "_switch") and not sys.is_finalizing():
            try:
                self._end()
            except Exception as error:
                report(
                    "end",
                    "the values of the dropped cache %r are left to the collector",
                    self._config.name,
                    error=error,
                )

    def _end(self) -> None:
        self.disposer.mute()  # the listener is for removals from a cache that is there
        self.section.run(self.store.clear)
        self.disposer.empty()
        self.section.disconnect()


def _never_fresh() -> float:
    """Stand for a clock by which no hit is fresh: each is noted."""
    return math.inf


def _repair(store: Store, clock: SteadyClock) -> None:
    store.repair(clock.latest)  # a clock that fails is one of the things that tear a change


def _report_repair(name: str) -> None:
    message = "a change to the cache %r was interrupted: its totals were recomputed"
    report("repair", message, name, level=logging.WARNING)
