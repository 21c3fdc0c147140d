"""The counters of a warm store."""

from __future__ import annotations

from typing import Final

from dagcache.concurrency.lock import Lock
from dagcache.stats import WarmStats

ERRORS: Final = ("folder", "open", "read", "write", "slow", "full", "dropped", "internal")
"""The kinds of errors, in the order of the metric:

- folder: the folder or a file is unsafe, and the store is off;
- open, read, write: an error of the disk or the database in that step, or the store cannot be used and is off;
- slow: a call took longer than 250 ms;
- full: a record did not fit into ``warm_start_max_bytes``, or into the longest record;
- dropped: a record was not written, because the store was passed over or earlier writes had not ended;
- internal: a fault of dagcache.
"""


class WarmCounts:
    """Plain numbers since the start of the process. Bytes and seconds. Thread-safe."""

    def __init__(self) -> None:
        self.hits = 0
        """Keys with a record."""
        self.misses = 0
        """Keys without one, also those in ``stale`` and ``forged``."""
        self.stale = 0
        """Misses for which the store has other content of the version."""
        self.forged = 0
        """Misses for which the store has a record whose tag is not valid: damaged or forged."""
        self.refused = 0
        """Records that were hits, and that name a class that may not be unpickled."""
        self.stored = 0
        """Records written."""
        self.errors: dict[str, int] = dict.fromkeys(ERRORS, 0)
        """By kind."""
        self.bytes_read = 0
        self.bytes_written = 0
        self.read_seconds = 0.0
        self.write_seconds = 0.0
        self._counting = Lock()

    def add(self, **amounts: float) -> None:
        """Add to numbers by name."""
        self._counting.run(self._add, amounts)

    def add_error(self, kind: str) -> None:
        """Count an error of one of `ERRORS`."""
        self._counting.run(self._add_error, kind)

    def snapshot(self, *, records: int, is_passed_over: bool) -> WarmStats:
        """The numbers as the statistics of a store, with its number of records and its state."""
        return WarmStats(
            hits=self.hits,
            misses=self.misses,
            stale=self.stale,
            forged=self.forged,
            refused=self.refused,
            stored=self.stored,
            errors=dict(self.errors),
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
            read_seconds=self.read_seconds,
            write_seconds=self.write_seconds,
            records=records,
            is_passed_over=is_passed_over,
        )

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may hold. The numbers stay."""
        self._counting = Lock()

    def _add(self, amounts: dict[str, float]) -> None:
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) + amount)

    def _add_error(self, kind: str) -> None:
        self.errors[kind] += 1
