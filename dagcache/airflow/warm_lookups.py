"""Lookups in a warm store: a version that an earlier process loaded is thawed, and not loaded again.

Rules:

- A record is served only if the database has its content now, in the view of the caller's session. A statement asks for
  up to a hundred versions, because a sweep wants the neighbours next: for a quarter more than the last transaction
  looked up. Their answers serve the same transaction only, until it writes, and for a second at most.
- A record is thawed with an allow-list, and must be a DAG of the row's id.
- A store that fails, or a record that is in doubt, leads to Airflow's own load.
- A version is stored after Airflow's own load, if the cache has kept a portable frozen copy of it.
"""

from __future__ import annotations

import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from dagcache.airflow import rows, snapshots
from dagcache.airflow.quarantine import is_of_the_database
from dagcache.airflow.reading import as_just_loaded
from dagcache.airflow.rows import Content
from dagcache.concurrency.lock import Lock
from dagcache.core.cache import DagCache
from dagcache.core.loaded import Kept, Prepared
from dagcache.errors import NotAllowedError, ThawError
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.portable import NO_WORDS, digest_of_words
from dagcache.log_limits import report
from dagcache.warm_start.store import WarmKey, WarmRecord, WarmStore

if TYPE_CHECKING:
    from dagcache.airflow.warm import Fingerprint

_FEWEST, _TOGETHER = 10, 100  # versions per statement
_LEAST, _MOST = 2, 20  # records per read of the store
_FRESH = 1.0  # seconds for which the answer about a neighbour serves
_BUFFER_BYTES = 4 * 1024 * 1024
_BUFFER_RECORDS = 2 * _MOST
_MOST_DICTIONARIES = 64  # digests of missing dictionaries that are remembered


class Confirmed(NamedTuple):
    """The content of a version in a view of the database."""

    dag_id: str
    content: Content
    since: float
    """The start of the view, monotonic seconds."""


class WarmDag(NamedTuple):
    """A DAG from the store."""

    dag: Any
    confirmed: Confirmed
    prepared: Prepared
    serialized_bytes: int
    order: int
    """The number of the version."""


class WarmLookups:
    """Lookups of one bag in a store. Thread-safe.

    ``describe`` is called at the first lookup, in its thread, because plugins load in the component's own threads.
    ``open_store`` is then called with the result, and returns at once: a store itself opens its files or connections,
    in a thread of its own. If one of the two calls fails, or ``open_store`` returns None, the store is off until the
    process ends.
    """

    def __init__(
        self,
        describe: Callable[[], Fingerprint],
        open_store: Callable[[Fingerprint], WarmStore | None],
        freezer: PickleFreezer,
        cache: DagCache[UUID, Any],
        window: float,
    ) -> None:
        self._describe = describe
        self._open_store = open_store
        self._freezer = freezer
        self._cache = cache
        self._fresh = min(_FRESH, window)
        self._store: WarmStore | None = None
        self._is_off = False
        self._opening = Lock()
        self._views: weakref.WeakKeyDictionary[Any, dict[UUID, Confirmed]] = weakref.WeakKeyDictionary()
        self._together = _TOGETHER
        self._used = 0  # lookups of a transaction; a race costs a larger or smaller statement
        self._buffer = _Buffer()
        self._missing_words: set[bytes] = set()
        self._published_words = {NO_WORDS}

    def look_up(self, key: UUID, session: Any, known: tuple[str, Content, float] | None = None) -> WarmDag | None:
        """The DAG of a version, for this caller only; None if Airflow is to load it. Database errors pass.

        ``known``: the DAG and the content that the session has found already, as in `Confirmed`.
        """
        store = self._opened()
        if store is None or rows.has_unwritten(session):
            return None
        try:
            confirmed, neighbours = (Confirmed(*known), ()) if known else self._confirm(store, key, session)
            return None if confirmed is None else self._find(store, key, confirmed, neighbours)
        except Exception as error:
            if is_of_the_database(error):
                raise
            self._fault("lookup", error)
            return None

    def publish(self, key: UUID, content: Content) -> None:
        """Store a version that Airflow's own load has read with this content. Never raises."""
        try:
            store = self._opened()
            kept = None if store is None else self._cache.frozen_copy(key)
            if store is not None and kept is not None and kept.content == content:
                self._publish(store, key, content, kept)
        except Exception as error:
            self._fault("publishing", error)

    def close(self) -> None:
        """Close the store. Idempotent."""
        self._is_off = True
        store, self._store = self._store, None
        if store is not None:
            store.close()

    # ---- opening ----

    def _opened(self) -> WarmStore | None:
        if self._store is None and not self._is_off:
            self._opening.try_run(self._open)  # the other threads do without a store meanwhile
        return self._store

    def _open(self) -> None:
        if self._store is None and not self._is_off:
            self._use(self._made())

    def _made(self) -> WarmStore | None:
        try:
            return self._open_store(self._describe())
        except Exception as error:
            self._fault("start", error)
            return None

    def _use(self, store: WarmStore | None) -> None:
        self._store = store
        if store is None:
            self._is_off = True
        elif self._is_off:  # closed meanwhile
            self.close()

    def _fault(self, step: str, error: Exception) -> None:
        report(f"warm {step}", "warm start, %s: Airflow's own load serves", step, error=error)

    # ---- confirming ----

    def _confirm(
        self, store: WarmStore, key: UUID, session: Any
    ) -> tuple[Confirmed | None, Sequence[tuple[UUID, Confirmed]]]:
        """The current content of a version in the store, and that of versions that were stored after it."""
        seen = self._seen(session)
        if key not in seen or not self._is_fresh(seen[key].since):
            view = snapshots.view(session)
            near = store.versions_near(key, self._number_to_ask(is_first=not seen) if self._is_fresh(view.since) else 1)
            if key not in near:
                return None, ()
            found = rows.identities(near, session)
            seen = self._answers(session)
            seen.clear()
            seen.update({other: Confirmed(*found[other], view.since) for other in near if other in found})
        self._used += 1
        return seen.get(key), tuple(seen.items())

    def _number_to_ask(self, *, is_first: bool) -> int:
        """A quarter more versions than the last transaction has used, or twice as many as this one has used so far.

        The rest is often in vain, because a transaction ends. In SQLite each version costs a walk over the pages of its
        content.
        """
        if self._used:
            wanted = min(_TOGETHER, max(_FEWEST, self._used * 5 // 4 if is_first else 2 * self._used))
            self._together = wanted if is_first else max(self._together, wanted)
        if is_first:
            self._used = 0
        return self._together

    def _seen(self, session: Any) -> Mapping[UUID, Confirmed]:
        """The answers in the session's present transaction, which has written nothing since."""
        transaction = session.get_transaction()
        return {} if transaction is None else self._views.get(transaction, {})

    def _answers(self, session: Any) -> dict[UUID, Confirmed]:
        """The answers of the session's transaction, to be filled. They are forgotten when it may write."""
        transaction = session.get_transaction()
        answers = self._views.get(transaction)
        if answers is None:
            answers = self._views[transaction] = {}
            rows.on_write(session, answers.clear)
        return answers

    def _is_fresh(self, since: float) -> bool:
        return time.monotonic() - since < self._fresh

    # ---- reading ----

    def _find(
        self, store: WarmStore, key: UUID, confirmed: Confirmed, neighbours: Sequence[tuple[UUID, Confirmed]]
    ) -> WarmDag | None:
        warm_key = key_of(key, confirmed.content)
        if warm_key is None:
            return None
        record = self._buffer.take(warm_key)
        if record is None:
            wanted = [warm_key, *self._next(key, neighbours)]
            records = dict(store.get_many(wanted))
            record = records.pop(warm_key, None)
            self._buffer.fill(records)
        return None if record is None else self._thaw(store, warm_key, record, confirmed)

    def _next(self, key: UUID, neighbours: Sequence[tuple[UUID, Confirmed]]) -> list[WarmKey]:
        """The keys to read ahead: of the versions after this one that are not resident and not read yet."""
        after = False
        found: list[WarmKey] = []
        for other, confirmed in neighbours:
            if after and other not in self._cache:
                near = key_of(other, confirmed.content)
                if near is not None and near not in self._buffer:
                    found.append(near)
                if len(found) >= self._buffer.ahead:
                    break
            after = after or other == key
        return found

    def _thaw(self, store: WarmStore, key: WarmKey, record: WarmRecord, confirmed: Confirmed) -> WarmDag | None:
        try:
            if not self._has_words(store, record.data):
                store.forget([key])  # so that a record with this process's dictionary takes its place
                return None
            dag, data = self._freezer.from_portable(record.data)
            if {confirmed.dag_id} != {record.family, dag.dag_id}:  # type: ignore[attr-defined]
                raise ThawError(f"the record of a version of {confirmed.dag_id} is that of another DAG")
        except MemoryError:
            return None
        except Exception as error:
            if isinstance(error, NotAllowedError):
                store.refused(key)
            else:
                store.forget([key])
            self._fault("thaw", error)
            return None
        prepared = Prepared(data, record.live_bytes, record.load_seconds)
        return WarmDag(as_just_loaded(dag), confirmed, prepared, record.serialized_bytes, record.order)

    def _has_words(self, store: WarmStore, portable: bytes) -> bool:
        """Whether the freezer has the dictionary of a record, which may be in the store."""
        digest, words = self._freezer.words_of(portable)
        if words is not None:
            return True
        if digest in self._missing_words:
            return False
        key = words_key(digest)
        record = store.get_many([key]).get(key)
        if record is not None and digest_of_words(record.data) == digest and self._freezer.adopt_words(record.data):
            return True
        if len(self._missing_words) < _MOST_DICTIONARIES:
            self._missing_words.add(digest)
        return False

    # ---- writing ----

    def _publish(self, store: WarmStore, key: UUID, content: Content, kept: Kept) -> None:
        warm_key = key_of(key, content)
        portable = self._freezer.to_portable(kept.prepared.frozen)
        if warm_key is None or portable is None or not isinstance(kept.family, str):
            return
        digest, words = self._freezer.words_of(portable)
        if digest not in self._published_words and words is not None:
            store.put(words_key(digest), WarmRecord(words, 0, 0, 0.0, "", 0))
            self._published_words.add(digest)
        store.put(
            warm_key,
            WarmRecord(
                portable,
                kept.prepared.live_bytes,
                kept.serialized_bytes,
                kept.prepared.load_seconds,
                kept.family,
                int(kept.order),
            ),
        )


class _Buffer:
    """Records that were read ahead. Thread-safe: a race costs one read.

    ``ahead`` is the number of records to read beside the one that is wanted. It grows while they are used, as in a
    sweep, and shrinks while they are not.
    """

    def __init__(self) -> None:
        self.ahead = _LEAST
        self._records: OrderedDict[WarmKey, WarmRecord] = OrderedDict()
        self._filled = 0
        self._used = 0

    def __contains__(self, key: WarmKey) -> bool:
        return key in self._records

    def take(self, key: WarmKey) -> WarmRecord | None:
        """Remove a record, and return it; None if it is not there."""
        record = self._records.pop(key, None)
        self._used += record is not None
        return record

    def fill(self, records: Mapping[WarmKey, WarmRecord]) -> None:
        """Keep records, and give up the oldest beyond the bounds."""
        if self._filled:
            self.ahead = min(_MOST, 2 * self.ahead) if 2 * self._used >= self._filled else max(_LEAST, self.ahead // 2)
        self._filled, self._used = len(records), 0
        self._records.update(records)
        with suppress(KeyError, RuntimeError):  # other threads take records meanwhile
            while len(self._records) > _BUFFER_RECORDS or self._nbytes() > _BUFFER_BYTES:
                self._records.popitem(last=False)

    def _nbytes(self) -> int:
        return sum(len(record.data) for record in list(self._records.values()))


def key_of(version_id: UUID, content: Content) -> WarmKey | None:
    """The key of a version's content; None if the time of its change is unknown, or has no zone."""
    changed = content.last_updated
    if not isinstance(changed, datetime) or changed.tzinfo is None:
        return None
    return WarmKey(version_id, content.dag_hash, changed.astimezone(timezone.utc).isoformat(timespec="microseconds"))


def words_key(digest: bytes) -> WarmKey:
    """The key of a dictionary. It has no time, so no version's key is equal to it."""
    return WarmKey(UUID(bytes=digest), digest.hex(), "")
