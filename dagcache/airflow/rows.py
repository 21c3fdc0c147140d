"""Queries of the cache to Airflow's database: for the hash and the time of a version's content, never for the content.

They only read, on the caller's session or connection. Database errors pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import bindparam, event, select
from sqlalchemy.orm import Session, aliased


class Content(NamedTuple):
    """The identity of a version's content. Airflow may rewrite a row in place, with another hash or with the same."""

    dag_hash: str
    last_updated: datetime | None


class Newest(NamedTuple):
    """The newest version of a DAG."""

    version_id: UUID
    number: int
    content: Content


_COLUMNS = (SerializedDagModel.dag_hash, SerializedDagModel.last_updated)


def content_of(row: Any) -> Content:
    """The content identity in a row object."""
    return Content(row.dag_hash, row.last_updated)


def current_contents(version_ids: Collection[UUID], session: Any) -> dict[UUID, Content]:
    """The current content identities of versions; deleted versions are left out. Uses a unique index."""
    return {version_id: Content(*content) for version_id, *content in _of_versions(version_ids, session, *_COLUMNS)}


def identities(version_ids: Collection[UUID], session: Any) -> dict[UUID, tuple[str, Content]]:
    """The DAG and the current content identity of each version, as `current_contents`."""
    found = _of_versions(version_ids, session, SerializedDagModel.dag_id, *_COLUMNS)
    return {version_id: (dag_id, Content(*content)) for version_id, dag_id, *content in found}


def _of_versions(version_ids: Collection[UUID], session: Any, *columns: Any) -> Any:
    """The id of each version, and these columns of its row."""
    rows = select(SerializedDagModel.dag_version_id, *columns)
    return session.execute(rows.where(SerializedDagModel.dag_version_id.in_(version_ids)))


def newest(dag_id: str, session: Any) -> Newest | None:
    """The newest version of a DAG, in Airflow's own order; None if there is no version."""
    row = session.execute(_newest(session.get_bind().dialect.name), {"dag_id": dag_id}).first()
    return None if row is None else Newest(row[0], row[1], Content(*row[2:]))


@lru_cache
def _newest(_dialect: str) -> Any:
    """The statement, with Airflow's order for the dialect. Cached, because building takes longer than executing."""
    version = aliased(DagVersion)
    number = select(version.version_number).where(version.id == SerializedDagModel.dag_version_id)
    return SerializedDagModel.latest_item_select_object(bindparam("dag_id")).with_only_columns(
        SerializedDagModel.dag_version_id, number.correlate(SerializedDagModel).scalar_subquery(), *_COLUMNS
    )


def has_unwritten(session: Any) -> bool:
    """Whether a session has a new or changed serialised DAG that is not written yet."""
    return any(isinstance(row, SerializedDagModel) for rows in (session.dirty, session.new) for row in rows)


def on_write(session: Any, action: Callable[[], object]) -> None:
    """Call an action before each statement of a session's connection that may write, until its transaction ends."""

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip()[:6].upper() != "SELECT":
            action()

    event.listen(session.connection(), "before_cursor_execute", note)


@contextmanager
def reading(session: Any) -> Iterator[Session]:
    """A session without row objects, in the transaction of the caller's session.

    Airflow's sessions keep row objects beyond a commit. A row object keeps its parsed content, which may then differ
    from the database. This session only reads, and leaves no row objects behind.
    """
    with Session(session.connection(), autoflush=False, join_transaction_mode="rollback_only") as reader:
        yield reader


def number_of(version_id: UUID, reader: Session) -> int:
    """The number of a version that this session has read; no query.

    Raises:
        LookupError: the session has not read the version.

    """
    version = reader.identity_map.get(reader.identity_key(DagVersion, version_id))
    if version is None:
        raise LookupError("the version was not read")
    return int(version.version_number)


def dag_id_of(version_id: UUID, reader: Session) -> str | None:
    """The DAG of a version, if this session has read it; no query."""
    version = reader.identity_map.get(reader.identity_key(DagVersion, version_id))
    found: str | None = None if version is None else vars(version).get("dag_id")
    return found
