"""A loader of serialised DAGs from Airflow's metadata database, by version id.

It serves schedulers other than Airflow, and tools: ``cache.get_or_load(version_id, SerializedDagLoader(url).load)``. It
only reads. Inside Airflow the cache calls Airflow's own loading instead.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.sql.elements import ColumnElement

from dagcache.database.connection import DAG_VERSION, SERIALIZED_DAG, MetadataDatabase, Statement, seconds
from dagcache.errors import LoadError

DEFAULT_MAX_PAYLOAD_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version in the database, without its content."""

    id: UUID
    dag_id: str
    version_number: int
    created_at: float
    """Seconds since 1970."""
    dag_hash: str | None
    """None: the version has no serialised DAG."""
    payload_bytes: int
    """The length of the JSON text in bytes, or of its compressed form if that is stored; 0 if not asked for."""
    compressed: bool


@final
class SerializedDagLoader:
    """A reader of serialised DAGs of Airflow 3.1 - 3.4 in SQLite, PostgreSQL or MySQL. Thread-safe; a context manager.

    Database errors pass as SQLAlchemy raises them, so that a caller's retries work.

    Args:
        url_or_engine: a URL or an engine, as for `MetadataDatabase`; or a `MetadataDatabase`.
        max_payload_bytes: the limit on the JSON of one DAG; compressed JSON is not inflated beyond it.
        timeout: seconds for one statement.

    Raises:
        LoadError: the URL is invalid or ambiguous, its driver is not installed, or the file does not exist.

    """

    def __init__(
        self,
        url_or_engine: str | URL | Engine | MetadataDatabase,
        *,
        max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES,
        timeout: float = 30.0,
    ) -> None:
        if isinstance(url_or_engine, MetadataDatabase):
            self.database = url_or_engine
        else:
            self.database = MetadataDatabase(url_or_engine, timeout=timeout)
        self._most = max_payload_bytes

    def __enter__(self) -> SerializedDagLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SerializedDagLoader {self.database.name}>"

    def close(self) -> None:
        """Close the connections, unless they belong to an engine of the caller."""
        self.database.close()

    def load(self, version_id: UUID | str) -> dict[str, Any] | None:
        """The serialised DAG of a version, parsed; None if, and only if, it is not in the database.

        Raises:
            LoadError: the content is damaged, not a JSON object, or larger than allowed.

        """
        key = as_uuid(version_id)
        # As bytes where that is free: invalid UTF-8 is then a damaged row, not an error of the database.
        text_type = sa.LargeBinary if self.database.dialect == "sqlite" else sa.Text
        columns = (sa.cast(SERIALIZED_DAG.c.data, text_type), SERIALIZED_DAG.c.data_compressed)
        found = self.database.rows(sa.select(*columns).where(SERIALIZED_DAG.c.dag_version_id == key))
        return parse(found[0][0], found[0][1], key, self._most) if found else None

    def latest(self, dag_id: str) -> UUID | None:
        """The id of a DAG's newest version with a serialised DAG; None if there is no such version."""
        newest = (
            sa.select(DAG_VERSION.c.id)
            .join(SERIALIZED_DAG, SERIALIZED_DAG.c.dag_version_id == DAG_VERSION.c.id)
            .where(DAG_VERSION.c.dag_id == dag_id)
            .order_by(DAG_VERSION.c.version_number.desc())
            .limit(1)
        )
        found = self.database.rows(newest)
        return found[0][0] if found else None

    def versions(self, *, batch: int = 1000, sizes: bool = True) -> Iterator[VersionRow]:
        """All versions in the order of their ids, read ``batch`` at a time; no transaction is open between two batches.

        Versions that are written meanwhile may be missing. With ``sizes=False`` the database does not read payloads.
        """
        last: UUID | None = None
        size = payload_bytes(self.database.dialect) if sizes else sa.literal(0)
        while True:
            statement = _versions(size).order_by(DAG_VERSION.c.id).limit(batch)
            if last is not None:
                statement = statement.where(DAG_VERSION.c.id > last)
            found = [_version_row(row) for row in self.database.rows(statement)]
            yield from found
            if len(found) < batch:
                return
            last = found[-1].id

    def sizes(self, version_ids: Collection[UUID]) -> dict[UUID, VersionRow]:
        """The rows of these versions, with payload sizes, by one statement. Pass a few hundred at a time."""
        statement = _versions(payload_bytes(self.database.dialect)).where(DAG_VERSION.c.id.in_(list(version_ids)))
        return {row[0]: _version_row(row) for row in self.database.rows(statement)}


def payload_bytes(dialect: str) -> ColumnElement[int]:
    """The stored length of a payload, as the database computes it: compressed bytes, else bytes of JSON text."""
    compressed, text = SERIALIZED_DAG.c.data_compressed, sa.cast(SERIALIZED_DAG.c.data, sa.Text)
    if dialect == "sqlite":  # length() counts characters, and octet_length() needs SQLite 3.43
        nbytes: Any = [sa.func.length(sa.cast(column, sa.LargeBinary)) for column in (compressed, text)]
    else:
        nbytes = [sa.func.octet_length(column) for column in (compressed, text)]
    return sa.func.coalesce(sa.case((compressed.is_not(None), nbytes[0]), else_=nbytes[1]), 0)


def as_uuid(version_id: UUID | str) -> UUID:
    """A version's id, from a UUID or its text.

    Raises:
        LoadError: the value is not a UUID.

    """
    if isinstance(version_id, UUID):
        return version_id
    try:
        return UUID(version_id)
    except (AttributeError, TypeError, ValueError):
        raise LoadError(f"{version_id!r} is not the id of a DAG version; accepted: a UUID, or one as text") from None


def parse(data: str | bytes | None, compressed: bytes | None, version_id: UUID, most_bytes: int) -> dict[str, Any]:
    """The JSON object in the two columns of a row.

    Raises:
        LoadError: the content is damaged, not a JSON object, or longer than ``most_bytes``.

    """
    text: str | bytes | None = data if compressed is None else _inflated(compressed, version_id, most_bytes)
    if text is not None and len(text) > most_bytes:
        raise LoadError(f"version {version_id}: its JSON is longer than the allowed {most_bytes} bytes")
    if text is None:
        raise LoadError(f"version {version_id}: expected JSON, found nothing in data or data_compressed")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise LoadError(f"version {version_id}: expected a JSON object, found something else")
    return value


def _inflated(compressed: bytes, version_id: UUID, most_bytes: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(compressed, most_bytes + 1)
    except zlib.error:
        text, intact = b"", False
    else:
        intact = stream.eof or len(text) > most_bytes
    if not intact:
        raise LoadError(f"version {version_id}: expected zlib data, found something else or only a part of it")
    return text


def _versions(size: ColumnElement[int]) -> Statement:
    compressed = SERIALIZED_DAG.c.data_compressed.is_not(None)
    version = DAG_VERSION.c
    columns = (version.id, version.dag_id, version.version_number, version.created_at, SERIALIZED_DAG.c.dag_hash)
    return sa.select(*columns, size, compressed).select_from(
        DAG_VERSION.outerjoin(SERIALIZED_DAG, SERIALIZED_DAG.c.dag_version_id == version.id)
    )


def _version_row(row: Any) -> VersionRow:
    version_id, dag_id, number, created_at, dag_hash, nbytes, compressed = row
    return VersionRow(version_id, dag_id, number, seconds(created_at) or 0.0, dag_hash, int(nbytes), bool(compressed))
