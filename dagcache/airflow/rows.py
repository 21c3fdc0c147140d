"""What the cache asks Airflow's database itself: which content a version has now, never the content.

Reads only, on the caller's session or connection; errors of the database pass through.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, aliased


class Content(NamedTuple):
    """Which content a version has: Airflow may rewrite its row in place, with another hash or with the same one."""

    dag_hash: str
    last_updated: datetime | None


class Newest(NamedTuple):
    """The newest version of a DAG."""

    version_id: UUID
    number: int
    content: Content


_COLUMNS = (SerializedDagModel.dag_hash, SerializedDagModel.last_updated)


def content_of(row: Any) -> Content:
    """The content of a row, as the row object has it."""
    return Content(row.dag_hash, row.last_updated)


def current_contents(version_ids: Collection[UUID], session: Any) -> dict[UUID, Content]:
    """The contents that versions have now; without those that have none any more. By a unique index."""
    columns = select(SerializedDagModel.dag_version_id, *_COLUMNS)
    found = session.execute(columns.where(SerializedDagModel.dag_version_id.in_(version_ids)))
    return {version_id: Content(*content) for version_id, *content in found}


def newest(dag_id: str, session: Any) -> Newest | None:
    """The newest version of a DAG, by Airflow's own idea of newest; None if there is none."""
    row = session.execute(_newest(session.get_bind().dialect.name), {"dag_id": dag_id}).first()
    return None if row is None else Newest(row[0], row[1], Content(*row[2:]))


@lru_cache
def _newest(_dialect: str) -> Any:
    """The statement, by Airflow's idea of newest for a dialect. Building it takes longer than executing it."""
    version = aliased(DagVersion)
    number = select(version.version_number).where(version.id == SerializedDagModel.dag_version_id)
    return SerializedDagModel.latest_item_select_object(bindparam("dag_id")).with_only_columns(
        SerializedDagModel.dag_version_id, number.correlate(SerializedDagModel).scalar_subquery(), *_COLUMNS
    )


def has_unwritten(session: Any) -> bool:
    """Whether a session has a serialised DAG that it has changed, or made, and not written yet."""
    return any(isinstance(row, SerializedDagModel) for rows in (session.dirty, session.new) for row in rows)


@contextmanager
def reading(session: Any) -> Iterator[Session]:
    """A session without row objects, in the transaction of the caller's session.

    Airflow's sessions keep row objects beyond a commit, and a row object keeps its parsed content: what it then says is
    not what the database holds. This session reads, and leaves neither row objects nor anything else behind.
    """
    with Session(session.connection(), autoflush=False, join_transaction_mode="rollback_only") as reader:
        yield reader


def number_of(version_id: UUID, reader: Session) -> int:
    """The number of a version that this session has read; asks nothing of the database.

    Raises:
        LookupError: it has not.

    """
    version = reader.identity_map.get(reader.identity_key(DagVersion, version_id))
    if version is None:
        raise LookupError("the version was not read")
    return int(version.version_number)
