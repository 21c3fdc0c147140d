"""An opened generation in a database: the index over its rows, reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from dagcache.concurrency.lock import Lock
from dagcache.database.warm import cleaning, rows
from dagcache.database.warm.database import READ_SECONDS, WRITE_SECONDS, WarmDatabase
from dagcache.warm_start import version_index
from dagcache.warm_start.common_store import REFRESH_SECONDS, report_forged, report_full
from dagcache.warm_start.counts import WarmCounts
from dagcache.warm_start.generation import name_of
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.record_format import content_of, decode, encode, is_lasting
from dagcache.warm_start.store import WarmKey, WarmRecord
from dagcache.warm_start.version_index import VersionIndex

MOST_RECORD_BYTES: Final = 4 * 2**20
"""A longer record is not stored: a statement with it may be beyond the limit of a MySQL or MariaDB server."""

_MOST_BYTES_READ: Final = 8 * 2**20  # by one statement, and one record more
_HEADS_TOGETHER: Final = 5_000
_OVERLAP: Final = 200
"""Numbers that are read again: a transaction that took its numbers earlier may have been committed later."""
_UNCOUNTED_SHARE: Final = 1 / 16
"""The share of the limit that a process stores before it counts the bytes of all processes again."""
_NANOSECONDS: Final = 10**9


class Known(NamedTuple):
    """A row of the index."""

    content: bytes
    nbytes: int
    place: int


class RowIndex(VersionIndex[Known]):
    """The newest content of each version that has a row. Thread-safe; lookups take no lock."""

    def add(self, found: Iterable[rows.Head]) -> None:
        """Add rows, in the order of storing. Contents that were forgotten are left out."""
        self._lock.run(self._add, found)

    def add_own(self, version: UUID, content: bytes, nbytes: int) -> None:
        """Add a row that this process has written: it is no longer forgotten."""
        self._lock.run(self._add_own, version, content, nbytes)

    def _add(self, found: Iterable[rows.Head]) -> None:
        for head in found:
            version = head.version.bytes
            is_full = len(self._found) >= version_index.MOST_VERSIONS and version not in self._found
            if not is_full and (version, head.content) not in self._forgotten:
                self._place(version, head.content, head.nbytes)

    def _add_own(self, version: UUID, content: bytes, nbytes: int) -> None:
        self._forgotten.discard((version.bytes, content))
        self._place(version.bytes, content, nbytes)

    def _place(self, version: bytes, content: bytes, nbytes: int) -> None:
        self._put(version, lambda place: Known(content, nbytes, place))


class OpenedRows:
    """Reads are thread-safe. `write` and `keep_up` are for one thread at a time. Raises what SQLAlchemy reports.

    Args:
        database: the database. Its tables are created, if they do not exist.
        digest: the fingerprint.
        parts: the parts of the fingerprint, for the description.
        signing: the key of the records.
        max_bytes: the limit of the records of all generations together.
        counts: the counters of the store.
        now: nanoseconds since 1970 in UTC.
        clock: monotonic seconds.

    """

    def __init__(
        self,
        database: WarmDatabase,
        *,
        digest: str,
        parts: Mapping[str, str],
        signing: SigningKey,
        max_bytes: int,
        counts: WarmCounts,
        now: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self.index = RowIndex()
        self.signing = signing
        self._database = database
        self._generation = name_of(digest, signing)
        self._digest = digest
        self._parts = {**parts, "key": signing.name}
        self._max_bytes = max_bytes
        self._counts = counts
        self._now = now
        self._clock = clock
        self._refreshing = Lock()
        self._last = 0
        self._refreshed = clock()
        self._total = self._added = 0
        database.prepare()
        self._read_new(WRITE_SECONDS)

    # ---- reading ----

    def asks_for(self, keys: Sequence[WarmKey]) -> bool:
        """Whether `find` asks the database: for a known record, or for new ones, if that is due."""
        known = [self._is_known(key) for key in keys]
        return any(known) or (self.is_due() and not all(known))

    def count_stale(self, keys: Sequence[WarmKey]) -> None:
        """Count the keys for which another content of the version is known."""
        stale = sum(self.index.get(key.version_id.bytes) is not None and not self._is_known(key) for key in keys)
        if stale:
            self._counts.add(stale=stale)

    def is_due(self) -> bool:
        """Whether the last look for new rows is some time ago."""
        return self._clock() - self._refreshed >= REFRESH_SECONDS

    def refresh(self) -> None:
        """Look for rows that other processes have written. Returns if another thread does it."""
        self._refreshed = self._clock()
        self._refreshing.try_run(self._read_new, READ_SECONDS)

    def find(self, keys: Sequence[WarmKey]) -> dict[WarmKey, WarmRecord]:
        """The authentic records of these keys, by one statement: 8 MiB, and one record more, at most."""
        if self.is_due() and not all(map(self._is_known, keys)):
            self.refresh()
        self.count_stale(keys)
        wanted = self._wanted(keys)
        if not wanted:
            return {}
        with self._database.transaction(READ_SECONDS) as connection:
            found = rows.records(connection, self._generation, wanted, MOST_RECORD_BYTES)
        records = {}
        for version, key in wanted.items():
            record = self._authentic(key, *found[version]) if version in found else None
            if record is None:  # deleted, replaced or forged
                self.index.discard(version.bytes, content_of(key))
            else:
                records[key] = record
        return records

    def _is_known(self, key: WarmKey) -> bool:
        return self._known(key) is not None

    def _known(self, key: WarmKey) -> Known | None:
        """The row of a version, if it has this content."""
        known = self.index.get(key.version_id.bytes)
        return known if known is not None and known.content == content_of(key) else None

    def _wanted(self, keys: Sequence[WarmKey]) -> dict[UUID, WarmKey]:
        wanted: dict[UUID, WarmKey] = {}
        nbytes = 0
        for key in keys:
            known = self._known(key)
            if known is not None and nbytes < _MOST_BYTES_READ:
                wanted[key.version_id] = key
                nbytes += known.nbytes
        return wanted

    def _authentic(self, key: WarmKey, content: bytes, data: bytes) -> WarmRecord | None:
        self._counts.add(bytes_read=len(data))
        decoded = decode(data, self.signing)
        if decoded is not None and decoded[0] == key:
            return decoded[1]
        if decoded is not None and content != content_of(key):  # another process has replaced it
            self._counts.add(stale=1)
            return None
        report_forged(self._counts, self._database.name)
        return None

    def _read_new(self, seconds: float) -> None:
        while True:
            with self._database.transaction(seconds) as connection:
                found = rows.heads(connection, self._generation, self._last - _OVERLAP, _HEADS_TOGETHER)
            if not found:  # the numbers may have begun again, in a table that was dropped
                self._last = 0
            self.index.add(found)
            is_complete = len(found) < _HEADS_TOGETHER or len(self.index) >= version_index.MOST_VERSIONS
            self._last = max(self._last, *(head.sequence for head in found)) if found else self._last
            if is_complete:
                break

    # ---- writing ----

    def write(self, batch: Sequence[tuple[WarmKey, WarmRecord]]) -> None:
        """Write records by one transaction, but for those whose content is known to be stored already."""
        new = self._rows(batch)
        if new:
            try:
                self._replace(new)
            except IntegrityError:  # another process writes one of the versions at the same time
                for row in new:
                    with suppress(IntegrityError):
                        self._replace([row])
        if self._total > self._max_bytes or self._added > _UNCOUNTED_SHARE * self._max_bytes:
            self._make_room()

    def keep_up(self) -> None:
        """Note the use of the generation, and delete rows that are of no use. Many small transactions."""
        now = self._now() // _NANOSECONDS
        described = cleaning.description(self._generation, self._digest, self._parts, now)
        cleaning.note_use(self._database, described)
        cleaning.remove_unused(self._database, self._generation, now)
        if self._database.is_airflows:
            cleaning.remove_gone(self._database)
        self._make_room()

    def _make_room(self) -> None:
        self._total = cleaning.make_room(self._database, self._max_bytes)
        self._added = 0

    def _rows(self, batch: Sequence[tuple[WarmKey, WarmRecord]]) -> list[dict[str, Any]]:
        """The rows of records that are not stored yet, in the order of their versions: so no two processes deadlock."""
        made: dict[UUID, dict[str, Any]] = {}
        for key, record in batch:
            if not self._is_known(key):
                row = self._row(key, record)
                if row is not None:
                    made[key.version_id] = row
        return [made[version] for version in sorted(made)]

    def _row(self, key: WarmKey, record: WarmRecord) -> dict[str, Any] | None:
        stored_at = self._now()
        try:
            data = encode(key, record, stored_at, self.signing)
            if len(data) > min(MOST_RECORD_BYTES, self._max_bytes):
                raise ValueError(f"a record of {len(data)} bytes is above {min(MOST_RECORD_BYTES, self._max_bytes)}")
        except ValueError as error:
            report_full(self._counts, error)
            return None
        return {
            "generation": self._generation,
            "version": key.version_id,
            "content": content_of(key),
            "lasting": is_lasting(data),
            "stored_at": stored_at // _NANOSECONDS,
            "nbytes": len(data),
            "record": data,
        }

    def _replace(self, new: Sequence[dict[str, Any]]) -> None:
        with self._database.transaction(WRITE_SECONDS) as connection:
            rows.replace(connection, self._generation, new)
        for row in new:
            self.index.add_own(row["version"], row["content"], row["nbytes"])
        nbytes = sum(row["nbytes"] for row in new)
        self._total += nbytes
        self._added += nbytes
        self._counts.add(stored=len(new), bytes_written=nbytes)
