"""A warm store in memory: what one bag puts there, another finds, as if it were another process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from dagcache.warm_start.store import WarmKey, WarmRecord


class MemoryStore:
    """As the protocol, with everything in reach of a test."""

    def __init__(self) -> None:
        self.records: dict[WarmKey, WarmRecord] = {}
        self.reads: list[Sequence[WarmKey]] = []
        self.forgotten: list[WarmKey] = []
        self.not_allowed: list[WarmKey] = []
        self.counts: Counter[str] = Counter()
        """Hits, misses and so on, as a store on disk counts them."""
        self.is_closed = False

    def get_many(self, keys: Sequence[WarmKey]) -> Mapping[WarmKey, WarmRecord]:
        """The records of these keys."""
        self.reads.append(keys)
        found = {key: self.records[key] for key in keys if key in self.records}
        self.counts.update(hits=len(found), misses=len(keys) - len(found))
        return found

    def versions_near(self, version_id: UUID, limit: int) -> Sequence[UUID]:
        """The version and those that were stored after it."""
        versions = list(dict.fromkeys(key.version_id for key in self.records if key.last_updated))
        near = versions[versions.index(version_id) :][:limit] if version_id in versions else ()
        self.counts.update(misses=int(not near))
        return near

    def put(self, key: WarmKey, record: WarmRecord) -> None:
        """Store a record."""
        self.counts.update(stored=1)
        self.records[key] = record

    def forget(self, keys: Sequence[WarmKey]) -> None:
        """Do not return these again."""
        self.counts.update(forgotten=len(keys))
        self.forgotten += keys
        for key in keys:
            self.records.pop(key, None)

    def refused(self, key: WarmKey) -> None:
        """Note the key, and do not return its record again."""
        self.counts.update(refused=1)
        self.not_allowed.append(key)
        self.records.pop(key, None)

    def close(self) -> None:
        """Note that the store was closed."""
        self.is_closed = True

    def key_of(self, version_id: UUID) -> WarmKey:
        """The newest key of a version."""
        return [key for key in self.records if key.version_id == version_id][-1]
