"""A warm store in a database: a row for each version, read by groups, written in the background.

The store is opened at the first call, in a thread of its own. Until it is open, lookups are misses and new records
wait. Each read runs in a thread of its own, and a caller waits for it for 250 ms at most. If it takes longer or fails,
the store is passed over for 30 s, and also as long as that read lasts. So a database that hangs delays each thread by
250 ms at most, once in 30 s.

A thread writes what waits once a second, together. It also removes rows that are of no use, once an hour.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Semaphore
from typing import ClassVar, Final, TypeVar
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from dagcache.concurrency.repetition import Repetition, repeat
from dagcache.concurrency.time_limit import start, try_elsewhere, try_for
from dagcache.database.warm.database import MOST_CONNECTIONS, WarmDatabase
from dagcache.database.warm.opened import OpenedRows
from dagcache.forks import after_fork_in_child
from dagcache.warm_start.circuit_breaker import SLOWEST_SECONDS, CircuitBreaker
from dagcache.warm_start.common_store import CommonStore
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.opening import Opening
from dagcache.warm_start.store import WarmKey, WarmRecord

R = TypeVar("R")

WRITER: Final = "dagcache-warm-write"
"""The name of the thread that writes."""
UPKEEP_SECONDS: Final = 3600.0
WRITE_INTERVAL_SECONDS: Final = 1.0

_SLOW_SHARE: Final = 0.8
"""The share of a caller's patience that a read alone has to take before the database counts as slow."""
_TOGETHER: Final = 50  # records in one transaction
_BYTES_TOGETHER: Final = 2**20


class DatabaseStore(CommonStore[OpenedRows]):
    """A `WarmStore` of one generation. Thread-safe, fork-safe; no method raises an Exception. Close it after use.

    Args:
        connect: makes the database object, without a connection. An `OffError` turns the store off.
        digest: the fingerprint. Records of another one are not found.
        parts: the parts of the fingerprint by name. They are written beside the records, for people.
        secret: gives the secret that the signing key is derived from. As ``connect``, it is called when the store is
            opened, in a thread of its own, and may hang.
        max_bytes: the limit of the records of all generations together, bytes.
        clock: monotonic seconds.
        now: nanoseconds since 1970 in UTC.
        interval: seconds between two writes.
        patience: seconds that a caller waits for a read.

    """

    failures: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError, OSError)

    def __init__(
        self,
        connect: Callable[[], WarmDatabase],
        *,
        digest: str,
        parts: Mapping[str, str],
        secret: Callable[[], bytes],
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
        interval: float = WRITE_INTERVAL_SECONDS,
        patience: float = SLOWEST_SECONDS,
    ) -> None:
        super().__init__()
        self._connect = connect
        self._digest = digest
        self._parts = dict(parts)
        self._secret = secret
        self._max_bytes = max_bytes
        self._clock = clock
        self._now = now
        self._interval = interval
        self._patience = patience
        self._database: WarmDatabase | None = None
        self._inherited: list[WarmDatabase] = []
        self._upkeep_due = 0.0
        self._repetition: Repetition | None = None
        self._prepare()
        self._opening = Opening(
            self._open_rows,
            then=lambda _: start(self._begin_writing, "dagcache-warm-upkeep"),
            failed=self._open_failed,
            is_paused=lambda: self._reads.is_open(),
            discard=lambda _: self._close_database(),
        )
        after_fork_in_child(self._after_fork_in_child)

    def get_many(self, keys: Sequence[WarmKey]) -> Mapping[WarmKey, WarmRecord]:
        """The records of these keys; missing, stale and refused ones are left out. At most 8 MiB, and one record."""
        empty: dict[WarmKey, WarmRecord] = {}
        opened, left = self._ready()
        found = empty
        if opened is not None and opened.asks_for(keys):
            found = self._within(left, partial(opened.find, keys), empty)
        elif opened is not None:
            opened.count_stale(keys)
        self.counts.add(hits=len(found), misses=len(keys) - len(found))
        return found

    def versions_near(self, version_id: UUID, limit: int) -> Sequence[UUID]:
        """The version and those that were stored after it, at most ``limit``; empty if the store does not have it.

        The latter counts as a miss: there is then nothing to get.
        """
        found: list[UUID] = []
        opened, left = self._ready()
        if opened is not None:
            if opened.index.get(version_id.bytes) is None and opened.is_due():
                self._within(left, opened.refresh, None)
            found = [UUID(bytes=version) for version in opened.index.near(version_id.bytes, limit)]
        if not found:
            self.counts.add(misses=1)
        return found

    def close(self) -> None:
        """Write what waits, and close the connections; waits for 250 ms at most. Idempotent."""
        opened = self._opening.opened
        self._opening.close()
        if self._repetition is not None:
            self._repetition.end()
            self._repetition = None
        if opened is not None:
            try_for(SLOWEST_SECONDS, partial(self._try, "write", self._finish, opened), "dagcache-warm-close")
        self._waiting.clear()

    def _prepare(self) -> None:
        """Make the parts that a forked child needs for itself."""
        self._reads = CircuitBreaker(self._clock, failures=self.failures)
        self._writes = CircuitBreaker(self._clock)
        self._turns = Semaphore(MOST_CONNECTIONS - 1)  # the thread that writes has one
        self._waiting = deque()
        self._repetition = None

    # ---- opening ----

    def _ready(self) -> tuple[OpenedRows | None, float]:
        """The opened rows, unless the store is passed over; and the seconds that the caller may still wait."""
        began = self._clock()
        opened = self._opening.ready()
        left = self._patience - (self._clock() - began)
        return (None, 0.0) if left <= 0 or self._reads.is_open() else (opened, left)

    def _open_rows(self) -> OpenedRows:
        signing = SigningKey(self._secret(), self._digest)
        if self._database is None:
            self._database = self._connect()
        return OpenedRows(
            self._database,
            digest=self._digest,
            parts=self._parts,
            signing=signing,
            max_bytes=self._max_bytes,
            counts=self.counts,
            now=self._now,
            clock=self._clock,
        )

    def _begin_writing(self) -> None:
        self._upkeep_due = self._clock()
        self._write_and_keep_up()
        if self._repetition is None and not self._opening.has_ended:
            self._try("write", self._repeat_writing)

    def _repeat_writing(self) -> None:
        repetition = repeat(DatabaseStore._write_and_keep_up, self, self._interval, WRITER)
        self._repetition = repetition
        if self._opening.has_ended:  # closed meanwhile
            repetition.end()

    # ---- reading ----

    def _within(self, seconds: float, read: Callable[[], R], otherwise: R) -> R:
        """The result of a read in a thread of its own; the alternative if there is none after so many seconds."""
        results: list[R] = []
        began: list[float] = []

        def run() -> None:
            if self._turns.acquire(timeout=seconds):
                try:
                    began.append(time.monotonic())
                    self._try("read", self._watched, read, results)
                finally:
                    self._turns.release()

        if try_elsewhere(seconds, run, "dagcache-warm-read"):
            return results[0] if results else otherwise
        # Else other reads, or the opening, have taken the time: the breaker watches this read as well.
        if began and time.monotonic() - began[0] >= _SLOW_SHARE * self._patience:
            self._reads.trip()
            self._report_slow()
        return otherwise

    def _watched(self, read: Callable[[], R], results: list[R]) -> None:
        began = self._clock()
        try:
            with self._reads.watch():
                results.append(read())
        finally:
            self.counts.add(read_seconds=self._clock() - began)

    # ---- writing ----

    def _put(self, key: WarmKey, record: WarmRecord) -> None:
        """Leave a record to the thread that writes."""
        self._enqueue(key, record)

    def _write_and_keep_up(self) -> None:
        """Do what is due. In the thread that writes."""
        opened = self._opening.opened
        if opened is None:
            return
        if self._clock() >= self._upkeep_due:
            self._upkeep_due = self._clock() + UPKEEP_SECONDS
            self._try("write", opened.keep_up)
        self._try("write", self._write_waiting, opened)

    def _write_waiting(self, opened: OpenedRows) -> None:
        """Write what waits now. Later records wait for the next turn: while a process loads, they come one by one."""
        left = len(self._waiting)
        if not left:
            return
        began = self._clock()
        try:
            if not self._writes.is_open():
                opened.refresh()
            while batch := self._next_batch(left):
                left -= len(batch)
                if not self._writes.is_open():
                    opened.write(batch)
                    continue
                for _ in batch:
                    self.counts.add_error("dropped")
        finally:
            self.counts.add(write_seconds=self._clock() - began)

    def _next_batch(self, most: int) -> list[tuple[WarmKey, WarmRecord]]:
        batch: list[tuple[WarmKey, WarmRecord]] = []
        nbytes = 0
        with suppress(IndexError):  # another thread closes the store, and takes the rest
            while self._waiting and len(batch) < min(most, _TOGETHER) and nbytes < _BYTES_TOGETHER:
                batch.append(self._waiting.popleft())
                nbytes += len(batch[-1][1].data)
        return batch

    def _finish(self, opened: OpenedRows) -> None:
        if not self._reads.is_open():
            self._try("write", self._write_waiting, opened)
        self._close_database()

    def _close_database(self) -> None:
        if self._database is not None:
            self._database.close()

    # ---- faults ----

    def _place(self) -> str:
        return "its database" if self._database is None else self._database.name

    def _failed(self, kind: str, error: Exception) -> str:
        """Pass the store over. It is opened again afterwards: the tables may be new, or those of another server."""
        (self._writes if kind == "write" else self._reads).trip()
        opened, database = self._opening.opened, self._database
        if opened is not None and kind == "read":
            self._opening.lose(opened)
        return type(error).__name__ if database is None else database.reason(error)

    def _after_fork_in_child(self) -> None:
        self._prepare()
        self.counts.after_fork_in_child()
        self._opening.after_fork_in_child()
        opened = self._opening.opened
        if opened is not None:
            self._opening.lose(opened)
        if self._database is not None:
            # Kept, and not used: the finaliser of a connection may say goodbye on the socket of the parent.
            self._inherited.append(self._database)
            self._database = None
