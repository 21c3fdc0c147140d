"""Throw-away copies of DAG versions, loaded as the bag loads them. For audits: the hook never imports this module."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from dagcache.airflow import graphs
from dagcache.airflow.sharing import share_immutables, share_strings


def load(version_id: UUID) -> Any:
    """A new copy of a version, from the database of this environment's Airflow.

    Raises:
        LookupError: the version has no serialised DAG.
        Exception: an error of the database, or of Airflow's deserialisation.

    """
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        statement = select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version_id)
        row = session.scalars(statement).one_or_none()
        if row is None:
            raise LookupError("the version has no serialised DAG")
        row.load_op_links = False  # as in a scheduler
        share_strings(row.data)
        dag = row.dag
        share_immutables(dag)
        return dag


def shared_objects() -> list[object]:
    """The objects that the cache charges to no DAG."""
    return graphs.freezer()[1]


def engine() -> Any:
    """The engine of this environment's Airflow."""
    from airflow import settings

    return settings.engine
