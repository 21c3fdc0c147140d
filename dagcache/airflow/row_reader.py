"""Private DAGs from row objects: thawed if the cache has the content of exactly that row, else Airflow's own load.

Rules:

- The caller alone has the object, as with Airflow's own load. Only frozen forms are kept of loaded ones.
- The row says which content it has. The database is not asked, except for the number of a version to be kept.
- A row object is passed over if its content is in doubt: changed, incomplete, or parsed before. Parsed content may have
  been changed, or be older than the columns.
- The content of a row counts as found in the oldest view possible. So the bag asks the database before it serves an
  entry that came from a row.
- Operator links follow the row's ``load_op_links``. With another setting than the bag's, a DAG is served only if it
  has no links at all.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.orm import object_session

from dagcache.airflow import operator_links, rows, snapshots
from dagcache.airflow.component import Component
from dagcache.airflow.confirmations import Confirmation, Confirmations
from dagcache.airflow.payload import PayloadSizes
from dagcache.airflow.reading import as_just_loaded, read, unless_it_fails
from dagcache.airflow.row_property import PARSED
from dagcache.airflow.rows import Content
from dagcache.airflow.unkept import Unkept
from dagcache.core.cache import DagCache
from dagcache.core.loaded import Loaded
from dagcache.errors import RecursiveLoadError
from dagcache.log_limits import report

_log = logging.getLogger("dagcache")

T = TypeVar("T")
Stock = Callable[[Any], Any]

_PATIENCE = 10.0
"""Seconds that a reader waits for another thread's load of the same version before it loads by itself."""


class RowFacts(NamedTuple):
    """The identity of a row object's content."""

    key: UUID
    content: Content
    links: bool
    """Whether the caller asks for operator links."""


class RowReader:
    """Serves DAGs of row objects from a bag's cache. Thread-safe; each row object belongs to its caller."""

    def __init__(
        self,
        cache: DagCache[UUID, Any],
        confirmed: Confirmations,
        payloads: PayloadSizes,
        component: Component,
        *,
        load_op_links: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cache = cache
        self.confirmed = confirmed
        self.payloads = payloads
        self.component = component
        self.load_op_links = load_op_links
        self._clock = clock
        self.unkept = Unkept()

    def dag_of(self, row: Any, stock: Stock) -> Any:
        """The DAG of a row, as ``stock(row)`` builds it, for this caller only. Errors of ``stock`` pass."""
        try:
            facts = self._servable(row)
        except Exception as error:
            report("row", "dagcache does not serve a row: Airflow's own load serves it", error=error)
            facts = None
        if facts is None:
            return stock(row)
        load = _RowLoad(self, row, facts, stock)
        try:
            found = self.cache.fetch(facts.key, load, private=True, timeout=_PATIENCE)
        except RecursiveLoadError:  # two tasks of one thread
            return stock(row)
        except Exception as error:
            is_airflows, load.error = error is load.error, None
            if is_airflows:
                raise
            report("row", "dagcache failed on version %s: Airflow's own load serves it", facts.key, error=error)
            return stock(row)
        if load.ran:
            if not self.cache.has_frozen(facts.key):
                self.unkept.add((facts.key, facts.content), self._clock())
            return found.value
        return as_just_loaded(found.value) if found.content == facts.content else stock(row)

    # ---- whether the cache serves a row ----

    def _servable(self, row: Any) -> RowFacts | None:
        """The facts of a row that the cache may serve; None if Airflow's own load has to."""
        facts = facts_of(row)
        if facts is None or not self.cache.config.frozen:
            return None
        if self.unkept.holds((facts.key, facts.content), self._clock()):
            return None
        if facts.links != self.load_op_links and not operator_links.are_absent(_payload(row)):
            return None
        known = self.confirmed.get(facts.key)
        if known is None:
            return None if facts.key in self.cache else facts
        if known.content == facts.content:
            return facts if self.cache.has_frozen(facts.key) or facts.key not in self.cache else None
        return facts if self._give_way(facts, known) else None

    def _give_way(self, facts: RowFacts, known: Confirmation) -> bool:
        """Remove an entry with older content than a row's; False if the entry may have the newer one."""
        older: Any = known.content
        if not facts.content.last_updated > older.last_updated:
            return False
        self.cache.invalidate(facts.key, only_if=lambda: self.confirmed.retract(facts.key, known))
        return True


class _RowLoad:
    """The loader of one row's DAG; the cache calls it after a miss, in the thread of the reader."""

    __slots__ = ("_facts", "_is_sound", "_reader", "_row", "_stock", "error", "ran")

    def __init__(self, reader: RowReader, row: Any, facts: RowFacts, stock: Stock) -> None:
        self._reader = reader
        self._row = row
        self._facts = facts
        self._stock = stock
        self._is_sound = False
        self.ran = False
        self.error: Exception | None = None

    def __call__(self, key: UUID) -> Loaded[Any] | None:
        self.ran = True
        reader, row = self._reader, self._row
        try:
            dag = read(row, lambda: self._stock(row), self._try_step)
        except Exception as error:
            self.error = error
            raise
        reader.component.loaded()
        self._is_sound = bool(self._try_step(self._has_its_links, dag))
        return Loaded(
            dag,
            serialized_bytes=self._try_step(reader.payloads.bytes_of, row) or 0,
            content=self._facts.content,
            version=_version_of(row, key),
            keep_if=self._is_to_be_kept,
        )

    def _try_step(self, step: Callable[..., T], *args: Any) -> T | None:
        return unless_it_fails(self._reader.component.count_fault, step, *args)

    def _has_its_links(self, dag: Any) -> bool:
        return operator_links.are_as_asked(dag, self._row.data, self._reader.load_op_links)

    def _is_to_be_kept(self) -> bool:
        """Note the content, unless the bag knows another. Runs under the cache's lock."""
        facts, reader = self._facts, self._reader
        return self._is_sound and reader.confirmed.confirm(facts.key, facts.content, snapshots.UNKNOWN, reader.cache)


def facts_of(row: Any) -> RowFacts | None:
    """The facts of a row object as it was read; None if its content is in doubt. Reads attributes, and no database."""
    loaded = vars(row)
    state = loaded["_sa_instance_state"]
    if state.key is None or state.modified or state.expired_attributes or PARSED in loaded:
        return None
    key, content = loaded.get("dag_version_id"), Content(loaded.get("dag_hash", ""), loaded.get("last_updated"))
    has_payload = loaded.get("_data") is not None or loaded.get("_data_compressed") is not None
    if type(key) is not UUID or not content.dag_hash or content.last_updated is None or not has_payload:
        return None
    return RowFacts(key, content, bool(row.load_op_links))


def _payload(row: Any) -> Any:
    """The content of a row, without a trace in the row object."""
    loaded = vars(row)
    data = loaded.get("_data")
    return json.loads(zlib.decompress(loaded["_data_compressed"])) if data is None else data


def _version_of(row: Any, key: UUID) -> tuple[Hashable, float] | None:
    """The DAG's id and the number of the version, by the session that the row was read with; None: unknown.

    Airflow's own property asks no database, so an error of the database does not pass.
    """
    try:
        session = object_session(row)
        number = None if session is None else rows.number_in(key, session)
        return None if number is None else (vars(row)["dag_id"], number)
    except Exception:
        _log.debug("version %s: its number is unknown", key, exc_info=True)
        return None
