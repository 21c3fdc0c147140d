"""What the cache asks Airflow's database itself: which content a version has now, never the content.

Reads only, on the caller's session; errors of the database pass through.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy import select


class Content(NamedTuple):
    """Which content a version has."""

    version_id: UUID
    dag_hash: str


def current_hashes(version_ids: Collection[UUID], session: Any) -> dict[UUID, str]:
    """The hashes that versions' contents have now; without those that have none any more. By a unique index."""
    columns = select(SerializedDagModel.dag_version_id, SerializedDagModel.dag_hash)
    return dict(session.execute(columns.where(SerializedDagModel.dag_version_id.in_(version_ids))).all())


def latest_content(dag_id: str, session: Any) -> Content | None:
    """The newest version of a DAG, by Airflow's own idea of newest; None if there is none."""
    newest = SerializedDagModel.latest_item_select_object(dag_id)
    columns = newest.with_only_columns(SerializedDagModel.dag_version_id, SerializedDagModel.dag_hash)
    row = session.execute(columns).first()
    return None if row is None else Content(*row)


def refresh(version_id: UUID, session: Any) -> object:
    """Have the session forget what it knew of a version's content: it was rewritten since.

    Airflow's sessions keep rows beyond a commit, and the rows keep the parsed content. The caller holds the result
    until he has read the row: a session refers to its rows weakly.
    """
    statement = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version_id)
    row = session.scalars(statement.execution_options(populate_existing=True)).first()
    if row is not None:
        vars(row).pop("_SerializedDagModel__data_cache", None)
    return row
