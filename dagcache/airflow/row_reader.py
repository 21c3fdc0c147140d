"""Private DAGs from row objects: thawed if the cache has the content of exactly that row, else Airflow's own load.

Rules:

- The caller alone has the object, as with Airflow's own load.
- Only entries that the bag has loaded are served, and nothing that a row object leads to is kept. So a reader never
  pays for a freeze, and a row object that was changed without SQLAlchemy's knowledge cannot reach another reader.
- The row says which content it has. The database is not asked.
- A row object is passed over if its content is in doubt: changed, incomplete, or parsed before. Parsed content may have
  been changed, or be older than the columns.
- Operator links follow the row's ``load_op_links``. With another setting than the bag's, a DAG is served only if it
  has no links at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from dagcache.airflow import operator_links
from dagcache.airflow.confirmations import Confirmations
from dagcache.airflow.reading import as_just_loaded
from dagcache.airflow.row_property import PARSED
from dagcache.airflow.rows import Content
from dagcache.core.cache import DagCache
from dagcache.log_limits import report

Stock = Callable[[Any], Any]

_PATIENCE = 0.1
"""Seconds that a reader waits for another thread's thaw of the same version before it loads by itself."""


class RowFacts(NamedTuple):
    """The identity of a row object's content."""

    key: UUID
    content: Content
    links: bool
    """Whether the caller asks for operator links."""


class RowReader:
    """Serves DAGs of row objects from a bag's cache. Thread-safe; each row object belongs to its caller."""

    def __init__(self, cache: DagCache[UUID, Any], confirmed: Confirmations, *, load_op_links: bool) -> None:
        self._cache = cache
        self._confirmed = confirmed
        self._load_op_links = load_op_links

    def dag_of(self, row: Any, stock: Stock) -> Any:
        """The DAG of a row, as ``stock(row)`` builds it, for this caller only. Errors of ``stock`` pass."""
        try:
            facts = facts_of(row)
            dag = self._thawed(facts) if facts is not None and self._is_served(facts, row) else None
        except Exception as error:
            report("row", "dagcache does not serve a row: Airflow's own load serves it", error=error)
            dag = None
        return stock(row) if dag is None else dag

    def _is_served(self, facts: RowFacts, row: Any) -> bool:
        known = self._confirmed.get(facts.key)
        if known is None or known.content != facts.content or not self._cache.frozen_bytes(facts.key):
            return False
        return facts.links == self._load_op_links or _has_no_links(row)

    def _thawed(self, facts: RowFacts) -> Any:
        """A private copy; None if the entry has left meanwhile, or has another content."""
        found = self._cache.fetch(facts.key, _nothing, private=True, timeout=_PATIENCE)
        if found.value is None or found.content != facts.content:
            return None
        return as_just_loaded(found.value)


def _nothing(_: UUID) -> None:
    """The loader of a read that is not to load."""


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


def _has_no_links(row: Any) -> bool:
    """Whether no task of a row has a link. Compressed rows are not looked into: that takes longer than it saves."""
    data = vars(row).get("_data")
    return data is not None and operator_links.are_absent(data)
