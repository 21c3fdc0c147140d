"""Reports of lookups to a watcher, for traces: see `dagcache.core.cache.DagCache.watch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagcache.core.entry import Candidate, Entry, FrozenCopy
from dagcache.stats import EntryFacts, LookupEvent

Watcher = Callable[[LookupEvent], object]
"""See `dagcache.core.cache.DagCache.watch`."""


class Watching:
    """The watcher of a cache, or none. Any thread may report, with or without the cache's lock."""

    __slots__ = ("watcher",)

    def __init__(self) -> None:
        self.watcher: Watcher | None = None

    def report(self, key: Any, tier: str, known: Entry | Candidate | None = None, seconds: float = 0.0) -> None:
        """Report a lookup: its tier, the facts that are known of the entry, and the seconds of its load or thaw."""
        watcher = self.watcher
        if watcher is not None:
            watcher(LookupEvent(key, tier, seconds, None if known is None else _facts_of(known)))


def _facts_of(known: Entry | Candidate) -> EntryFacts:
    frozen = known.frozen  # without the lock: it may leave in the middle of this
    data = frozen.data if isinstance(frozen, FrozenCopy) else frozen
    return EntryFacts(
        known.live_bytes,
        0 if data is None else len(data),
        known.load_seconds,
        known.family,
        known.order,
        known.record_bytes,
    )
