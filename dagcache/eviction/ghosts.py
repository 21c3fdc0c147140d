"""Ghosts: the access histories of keys that are no longer resident."""

from __future__ import annotations

from itertools import islice
from math import isqrt
from struct import Struct

from dagcache.eviction.access_history import AccessHistory

_RECORD = Struct("dddd?B")


class Ghosts:
    """Access histories of keys that left, about 150 bytes each; the oldest are dropped first.

    They are stored under hash(key), so that a ghost never keeps a key alive. Two keys with one hash share a ghost,
    which costs a worse prediction and never a wrong value. Not thread-safe: used under the cache's lock.
    """

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._records)

    def remember(self, key_hash: int, history: AccessHistory) -> None:
        """Keep the history of a key that left or was rejected."""
        self._records.pop(key_hash, None)
        self._records[key_hash] = _RECORD.pack(
            history.burst_start,
            history.gap,
            history.last_filled,
            history.pause,
            history.paused,
            history.matching_pauses,
        )

    def recall(self, key_hash: int, history: AccessHistory) -> None:
        """Restore the history of a returning key into its new history, and drop the ghost."""
        record = self._records.pop(key_hash, None)
        if record is not None:
            (
                history.burst_start,
                history.gap,
                history.last_filled,
                history.pause,
                history.paused,
                history.matching_pauses,
            ) = _RECORD.unpack(record)

    def trim(self, limit: int) -> None:
        """Drop the oldest ghosts until at most `limit` are left."""
        surplus = len(self._records) - limit
        if surplus <= 0:
            return
        # In batches, because a dict finds its first key by a walk over the gaps that deletions left.
        for key_hash in list(islice(self._records, surplus + isqrt(limit))):
            del self._records[key_hash]

    def clear(self) -> None:
        """Drop all ghosts."""
        self._records.clear()
