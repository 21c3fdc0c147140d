"""A warm store in a database: a row for each version, read by groups, written in the background.

The store is opened at the first call, in a thread of its own. Until it is open, lookups are misses and new records
wait. Each read runs in a thread of its own, and a caller waits for it for 250 ms at most. If it takes longer or fails,
the store is passed over for 30 s, and also as long as that read lasts. So a database that hangs delays each thread by
250 ms at most, once in 30 s.

A thread writes what waits once a second, together. It also removes rows that are of no use, once an hour.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Semaphore
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from dagcache.concurrency.repetition import Repetition, repeat
from dagcache.concurrency.time_limit import start, try_elsewhere, try_for
from dagcache.database.warm.database import MOST_CONNECTIONS, WarmDatabase
from dagcache.database.warm.opened import OpenedRows
from dagcache.forks import after_fork_in_child
from dagcache.log_limits import report
from dagcache.stats import WarmStats
from dagcache.warm_start.circuit_breaker import PAUSE_SECONDS, SLOWEST_SECONDS, CircuitBreaker
from dagcache.warm_start.counts import WarmCounts
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.opening import OffError, Opening
from dagcache.warm_start.record_format import content_of
from dagcache.warm_start.store import WarmKey, WarmRecord

R = TypeVar("R")

WRITER: Final = "dagcache-warm-write"
"""The name of the thread that writes."""
UPKEEP_SECONDS: Final = 3600.0
WRITE_INTERVAL_SECONDS: Final = 1.0

_SLOW_SHARE: Final = 0.8
"""The share of a caller's patience that a read alone has to take before the database counts as slow."""
_FAILURES: Final = (SQLAlchemyError, OSError)
_MOST_WAITING: Final = 256
_MOST_WAITING_BYTES: Final = 8 * 2**20
_TOGETHER: Final = 50  # records in one transaction
_BYTES_TOGETHER: Final = 2**20


class DatabaseStore:
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
        self.counts = WarmCounts()
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

    def put(self, key: WarmKey, record: WarmRecord) -> None:
        """Leave a record to the thread that writes."""
        self._try("write", self._put, key, record)

    def forget(self, keys: Sequence[WarmKey]) -> None:
        """Do not return the records of these keys again, unless they are stored again."""
        opened = self._opening.opened
        if opened is not None:
            for key in keys:
                opened.index.discard(key.version_id.bytes, content_of(key), forget=True)

    def refused(self, key: WarmKey) -> None:
        """Count a record that names a class which may not be unpickled, and do not return it again."""
        self.counts.add(refused=1)
        self.forget((key,))

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

    def stats(self) -> WarmStats:
        """The counters, the number of records, and the state."""
        opened = self._opening.opened
        return self.counts.snapshot(
            records=0 if opened is None else len(opened.index),
            is_passed_over=self._opening.is_off or self._reads.is_open() or self._writes.is_open(),
        )

    def _prepare(self) -> None:
        """Make the parts that a forked child needs for itself."""
        self._reads = CircuitBreaker(self._clock, failures=_FAILURES)
        self._writes = CircuitBreaker(self._clock)
        self._turns = Semaphore(MOST_CONNECTIONS - 1)  # the thread that writes has one
        self._waiting: deque[tuple[WarmKey, WarmRecord]] = deque()
        self._repetition = None

    def _try(self, kind: str, action: Callable[..., object], *args: object) -> None:
        """Run an action; its error is counted and logged."""
        try:
            action(*args)
        except Exception as error:
            self._fault(kind, error)

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

    def _open_failed(self, error: Exception) -> None:
        self._reads.trip()
        self._fault("open", error)

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
        if self._opening.has_ended:
            return
        nbytes = sum(len(each.data) for _, each in list(self._waiting))
        if self._writes.is_open() or len(self._waiting) >= _MOST_WAITING or nbytes > _MOST_WAITING_BYTES:
            self.counts.add_error("dropped")
            return
        self._waiting.append((key, record))
        self._opening.ready()

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
        while batch := self._next_batch():
            if self._writes.is_open():
                for _ in batch:
                    self.counts.add_error("dropped")
                continue
            began = self._clock()
            try:
                opened.write(batch)
            finally:
                self.counts.add(write_seconds=self._clock() - began)

    def _next_batch(self) -> list[tuple[WarmKey, WarmRecord]]:
        batch: list[tuple[WarmKey, WarmRecord]] = []
        nbytes = 0
        with suppress(IndexError):  # another thread closes the store, and takes the rest
            while self._waiting and len(batch) < _TOGETHER and nbytes < _BYTES_TOGETHER:
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

    def _fault(self, kind: str, error: Exception) -> None:
        if isinstance(error, OffError):
            self._turn_off(error)
        elif isinstance(error, _FAILURES):
            self._report_failure(kind, error)
        else:
            self.counts.add_error("internal")
            report("warm start", "warm start failed, and the lookup is served without it", error=error)

    def _turn_off(self, error: OffError) -> None:
        self._opening.turn_off()
        self._waiting.clear()
        self.counts.add_error(error.kind)
        report("warm start, off", "warm start is off: %s", error, level=error.level)

    def _report_failure(self, kind: str, error: Exception) -> None:
        """Pass the store over. It is opened again afterwards: the tables may be new, or those of another server."""
        (self._writes if kind == "write" else self._reads).trip()
        self.counts.add_error(kind)
        opened, database = self._opening.opened, self._database
        if opened is not None and kind == "read":
            self._opening.lose(opened)
        name = "its database" if database is None else database.name
        reason = type(error).__name__ if database is None else database.reason(error)
        message = "warm start passes over %s for %g s: %s failed (%s)"
        report(f"warm start, {kind}", message, name, PAUSE_SECONDS, kind, reason, level=logging.WARNING)

    def _report_slow(self) -> None:
        self.counts.add_error("slow")
        name = "its database" if self._database is None else self._database.name
        message = "warm start passes over %s for %g s: a call took longer than %g s"
        report("warm start, slow", message, name, PAUSE_SECONDS, SLOWEST_SECONDS, level=logging.WARNING)

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
