"""A warm store on a local disk: append-only packs, read with ``pread``. No memory map, no waiting for locks, no fsync.

Records survive the process, not a crash of the machine: a record that the kernel had not written yet is damaged or
missing afterwards, and is then a miss. The store is opened at the first call, in a thread of its own. Until it is open,
lookups are misses and new records wait.

No method interrupts a call to the kernel. On a local disk such a call is short; if one is slow all the same, the store
is passed over meanwhile and for 30 s after it, so that at most one call of each thread meets a disk that hangs.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID

from dagcache.concurrency.lock import Lock
from dagcache.concurrency.time_limit import start
from dagcache.forks import after_fork_in_child
from dagcache.warm_start.circuit_breaker import SLOWEST_SECONDS, CircuitBreaker
from dagcache.warm_start.common_store import REFRESH_SECONDS, CommonStore, report_forged, report_full
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.opened_generation import FullError, OpenedGeneration
from dagcache.warm_start.opening import Opening
from dagcache.warm_start.record_format import content_of, decode
from dagcache.warm_start.store import WarmKey, WarmRecord

_LONGEST_BATCH_SECONDS: Final = SLOWEST_SECONDS / 2


class DiskStore(CommonStore[OpenedGeneration]):
    """A `WarmStore` of one generation. Thread-safe, fork-safe; no method raises an Exception.

    Args:
        path: the folder. It is created with mode 0700 (its parent must exist), and must belong to this user.
        digest: the fingerprint. Records of another one are not found.
        parts: the parts of the fingerprint by name. They are written beside the records, for people.
        secret: gives the secret that the signing key is derived from. It is called when the store is opened, in a
            thread of its own, and may hang. An `OffError` turns the store off.
        max_bytes: the limit of all packs of the generation together, bytes.
        clock: monotonic seconds.
        now: nanoseconds since 1970 in UTC.

    """

    failures: ClassVar[tuple[type[Exception], ...]] = (OSError,)

    def __init__(
        self,
        path: Path,
        *,
        digest: str,
        parts: Mapping[str, str],
        secret: Callable[[], bytes],
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__()
        self.path = path
        self._digest = digest
        self._parts = dict(parts)
        self._secret = secret
        self._max_bytes = max_bytes
        self._clock = clock
        self._now = now
        self._refreshed = clock()
        self._prepare()
        self._opening = Opening(
            self._open_generation,
            then=lambda _: start(self._compact, "dagcache-warm-compact"),
            failed=self._open_failed,
            is_paused=lambda: self._reads.is_open(),
        )
        after_fork_in_child(self._after_fork_in_child)

    def get_many(self, keys: Sequence[WarmKey]) -> Mapping[WarmKey, WarmRecord]:
        """The records of these keys; missing, stale and refused ones are left out.

        A batch ends after 125 ms: the keys that follow are misses.
        """
        found: dict[WarmKey, WarmRecord] = {}
        self._try("read", self._find_all, keys, found)
        self.counts.add(hits=len(found), misses=len(keys) - len(found))
        return found

    def versions_near(self, version_id: UUID, limit: int) -> Sequence[UUID]:
        """The version and those that were stored after it, at most ``limit``; empty if the store does not have it.

        The latter counts as a miss: there is then nothing to get.
        """
        found: list[UUID] = []
        self._try("read", self._find_near, version_id, limit, found)
        if not found:
            self.counts.add(misses=1)
        return found

    def close(self) -> None:
        """Release the files. Idempotent."""
        self._opening.close()
        self._waiting.clear()

    @property
    def _opened(self) -> OpenedGeneration | None:
        return self._opening.opened

    def _prepare(self) -> None:
        """Make the parts that a forked child needs for itself."""
        self._reads = CircuitBreaker(self._clock, self._report_slow)
        self._writes = CircuitBreaker(self._clock, self._report_slow)
        self._writing = Lock()
        self._waiting = deque()

    # ---- opening ----

    def _open_generation(self) -> OpenedGeneration:
        opened = OpenedGeneration(
            self.path,
            digest=self._digest,
            parts=self._parts,
            signing=SigningKey(self._secret(), self._digest),
            max_bytes=self._max_bytes,
            now=self._now,
            clock=self._clock,
        )
        self._refreshed = self._clock()
        return opened

    def _compact(self) -> None:
        opened = self._opened
        if opened is not None:
            self._try("write", opened.compact)
            self._try("write", self._write_waiting, math.inf)

    # ---- reading ----

    def _find_all(self, keys: Sequence[WarmKey], found: dict[WarmKey, WarmRecord]) -> None:
        opened = self._opening.ready()
        if opened is None or self._reads.is_open():
            return
        began = self._clock()
        try:
            with self._reads.watch():
                self._find_each(opened, keys, found, until=began + _LONGEST_BATCH_SECONDS)
        finally:
            self.counts.add(read_seconds=self._clock() - began)

    def _find_each(
        self, opened: OpenedGeneration, keys: Sequence[WarmKey], found: dict[WarmKey, WarmRecord], until: float
    ) -> None:
        for key in keys:
            record = self._find(opened, key)
            if record is not None:
                found[key] = record
            if self._clock() > until:
                break

    def _find(self, opened: OpenedGeneration, key: WarmKey) -> WarmRecord | None:
        location = opened.find(key.version_id.bytes)
        if location is None and self._is_due():
            self._refresh(opened)
            location = opened.find(key.version_id.bytes)
        if location is None:
            return None
        if location.content != content_of(key):
            self.counts.add(stale=1)
            return None
        data = opened.read(location)
        self.counts.add(bytes_read=len(data))
        decoded = decode(data, opened.signing)
        if decoded is None or decoded[0] != key:
            opened.index.discard(key.version_id.bytes, location.content)
            report_forged(self.counts, self._place())
            return None
        return decoded[1]

    def _find_near(self, version_id: UUID, limit: int, found: list[UUID]) -> None:
        opened = self._opening.ready()
        if opened is not None and not self._reads.is_open():
            if opened.index.get(version_id.bytes) is None and self._is_due():
                self._refresh(opened)
            found.extend(UUID(bytes=version) for version in opened.index.near(version_id.bytes, limit))

    def _is_due(self) -> bool:
        return self._clock() - self._refreshed >= REFRESH_SECONDS

    def _refresh(self, opened: OpenedGeneration) -> None:
        self._refreshed = self._clock()
        if not self._leave_if_removed(opened):
            with self._reads.watch():
                opened.refresh()

    def _leave_if_removed(self, opened: OpenedGeneration) -> bool:
        """Have the next call open the store again if its folder was removed, as by ``dagcache warm clear``."""
        if not opened.is_removed():
            return False
        self._opening.lose(opened)
        return True

    # ---- writing ----

    def _put(self, key: WarmKey, record: WarmRecord) -> None:
        """Write a record in this thread, or leave it to a thread that is writing now."""
        if not self._enqueue(key, record):
            return
        self._write_waiting()
        if self._waiting and self._opening.is_new:  # the folder was removed
            self._opening.ready()
            self._write_waiting()

    def _write_waiting(self, seconds: float = _LONGEST_BATCH_SECONDS) -> None:
        """Write what waits, unless another thread does. Never waits for that thread.

        Ends after so many seconds, and one write more: the next call continues.
        """
        until = self._clock() + seconds
        while self._waiting and self._opened is not None and self._clock() <= until:
            if not self._writing.try_run(self._write_all, until):
                break

    def _write_all(self, until: float) -> None:
        while self._waiting and self._clock() <= until:
            opened = self._opened
            if opened is None:
                return
            if self._is_due():
                self._refresh(opened)
                continue
            key, record = self._waiting.popleft()
            if self._writes.is_open():
                self.counts.add_error("dropped")
            else:
                self._write(opened, key, record)

    def _write(self, opened: OpenedGeneration, key: WarmKey, record: WarmRecord) -> None:
        began = self._clock()
        try:
            with self._writes.watch():
                written = opened.write(key, record)
        except FullError as error:
            report_full(self.counts, error)
        else:
            self.counts.add(stored=int(written > 0), bytes_written=written)
        finally:
            self.counts.add(write_seconds=self._clock() - began)

    # ---- faults ----

    def _place(self) -> str:
        return str(self.path)

    def _failed(self, kind: str, error: OSError) -> str:
        opened = self._opened
        if opened is not None:
            self._leave_if_removed(opened)
        return error.strerror or str(error)

    def _after_fork_in_child(self) -> None:
        self._prepare()
        self.counts.after_fork_in_child()
        self._opening.after_fork_in_child()
        if self._opened is not None:
            self._opened.after_fork_in_child()
