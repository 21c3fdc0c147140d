"""What the cache asks Airflow's database itself: which content a version has now, never the content.

Reads only, on the caller's session; errors of the database pass through.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import event, select


class Content(NamedTuple):
    """Which content a version has: Airflow may rewrite its row in place, with another hash or with the same one."""

    dag_hash: str
    last_updated: datetime | None


class Newest(NamedTuple):
    """The newest version of a DAG."""

    version_id: UUID
    content: Content


_thread = threading.local()
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
    statement = SerializedDagModel.latest_item_select_object(dag_id)
    row = session.execute(statement.with_only_columns(SerializedDagModel.dag_version_id, *_COLUMNS)).first()
    return None if row is None else Newest(row[0], Content(*row[1:]))


def refresh(row: Any, session: Any) -> None:
    """Have a row object, and so its session, take over what the database holds now.

    Airflow's sessions keep row objects beyond a commit, and a row object keeps its parsed content.
    """
    statement = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == row.dag_version_id)
    session.scalars(statement.execution_options(populate_existing=True)).first()
    vars(row).pop("_SerializedDagModel__data_cache", None)


def watch() -> None:
    """Note, from now on, which rows are read from the database. Twice is harmless."""
    if not event.contains(SerializedDagModel, "load", _note_read):
        event.listen(SerializedDagModel, "load", _note_read)


def begin_to_read() -> None:
    """Rows that this thread has read so far do not count as just read."""
    _thread.read = None


def is_just_read(row: Any) -> bool:
    """Whether a row object was made from the database since `begin_to_read`, and not found in the session."""
    read = getattr(_thread, "read", None)
    return read is not None and read() is row


def _note_read(row: Any, _context: Any) -> None:
    _thread.read = weakref.ref(row)
