"""The statements of a warm store. Each is small, and uses an index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dagcache.database.connection import DAG_VERSION
from dagcache.database.warm.tables import GENERATIONS, RECORDS

TOGETHER: Final = 200
"""Rows that one statement reads or deletes by their numbers."""

_CONTENT_BYTES: Final = 16
_LONGEST_PARTS: Final = 64 * 1024
"""Characters. A fingerprint has some ten thousand; the column may have any content."""

_C: Final = RECORDS.c
_G: Final = GENERATIONS.c


class Head(NamedTuple):
    """A row without its record."""

    sequence: int
    version: UUID
    content: bytes
    nbytes: int


class Total(NamedTuple):
    """The rows of a generation."""

    records: int
    nbytes: int
    stored_at: int
    """The last time, seconds since 1970 in UTC."""


class Described(NamedTuple):
    """The description of a generation."""

    name: str
    digest: str
    parts: str
    used_at: int


# Built once: building takes longer than executing.
_HEADS: Final = (
    sa.select(_C.sequence, _C.version, _C.content, _C.nbytes)
    .where(
        _C.generation == sa.bindparam("generation"),
        _C.sequence > sa.bindparam("after"),
        sa.func.length(_C.content) == _CONTENT_BYTES,
    )
    .order_by(_C.sequence)
    .limit(sa.bindparam("most"))
)
_FOUND: Final = sa.select(_C.version, _C.content, _C.record).where(
    _C.generation == sa.bindparam("generation"),
    _C.version.in_(sa.bindparam("versions", expanding=True)),
    sa.func.length(_C.record) <= sa.bindparam("most"),
    sa.func.length(_C.content) == _CONTENT_BYTES,
)
_REPLACED: Final = sa.delete(RECORDS).where(
    _C.generation == sa.bindparam("of_generation"), _C.version.in_(sa.bindparam("versions", expanding=True))
)
_INSERTED: Final = sa.insert(RECORDS)
_VERSIONS: Final = (
    sa.select(_C.sequence, _C.version, _C.lasting)
    .where(_C.sequence > sa.bindparam("after"))
    .order_by(_C.sequence)
    .limit(TOGETHER)
)
# Not `nbytes`: it is not authenticated, and the limit must hold.
_LENGTH: Final = sa.func.length(_C.record)
_OLDEST: Final = sa.select(_C.sequence, _LENGTH).order_by(_C.lasting, _C.sequence).limit(TOGETHER)
_OF_GENERATION: Final = sa.select(_C.sequence).where(_C.generation == sa.bindparam("generation")).limit(TOGETHER)
_DELETED: Final = sa.delete(RECORDS).where(_C.sequence.in_(sa.bindparam("sequences", expanding=True)))
_ALIVE: Final = sa.select(DAG_VERSION.c.id).where(DAG_VERSION.c.id.in_(sa.bindparam("versions", expanding=True)))
_TOTALS: Final = sa.select(_C.generation, sa.func.count(), sa.func.sum(_LENGTH), sa.func.max(_C.stored_at)).group_by(
    _C.generation
)
_USED: Final = sa.update(GENERATIONS).where(_G.name == sa.bindparam("of_name"))


def heads(connection: Connection, generation: str, after: int, most: int) -> list[Head]:
    """The rows of a generation behind a number, in the order of storing."""
    found = connection.execute(_HEADS, {"generation": generation, "after": after, "most": most})
    return [Head(row[0], row[1], bytes(row[2]), row[3]) for row in found]


def records(
    connection: Connection, generation: str, versions: Collection[UUID], most: int
) -> dict[UUID, tuple[bytes, bytes]]:
    """The content and the record of each of these versions that has a row. Longer records are left out (bytes)."""
    found = connection.execute(_FOUND, {"generation": generation, "versions": list(versions), "most": most})
    return {row[0]: (bytes(row[1]), bytes(row[2])) for row in found}


def replace(connection: Connection, generation: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of a generation, in place of those with the same versions.

    Raises:
        sqlalchemy.exc.IntegrityError: another process has inserted one of them at the same time.

    """
    connection.execute(_REPLACED, {"of_generation": generation, "versions": [row["version"] for row in rows]})
    connection.execute(_INSERTED, [dict(row) for row in rows])


def delete(connection: Connection, sequences: Collection[int]) -> int:
    """Delete rows by their numbers. Returns how many there were."""
    return int(connection.execute(_DELETED, {"sequences": list(sequences)}).rowcount)


def versions(connection: Connection, after: int) -> list[tuple[int, UUID, bool]]:
    """The number, the version and the mark ``lasting`` of the next rows of all generations."""
    return [(row[0], row[1], bool(row[2])) for row in connection.execute(_VERSIONS, {"after": after})]


def alive(connection: Connection, among: Collection[UUID]) -> set[UUID]:
    """Those versions that Airflow has."""
    return set(connection.execute(_ALIVE, {"versions": list(among)}).scalars())


def oldest(connection: Connection) -> list[tuple[int, int]]:
    """The number and the length of the rows that are to go first, of all generations."""
    return [(row[0], row[1]) for row in connection.execute(_OLDEST)]


def of_generation(connection: Connection, generation: str) -> list[int]:
    """The numbers of some rows of a generation."""
    return list(connection.execute(_OF_GENERATION, {"generation": generation}).scalars())


def totals(connection: Connection) -> dict[str, Total]:
    """The rows of each generation that has any."""
    return {row[0]: Total(int(row[1]), int(row[2]), int(row[3])) for row in connection.execute(_TOTALS)}


def described(connection: Connection) -> dict[str, Described]:
    """All generations with a description."""
    found = connection.execute(
        sa.select(_G.name, _G.digest, _G.parts, _G.used_at).where(sa.func.length(_G.parts) <= _LONGEST_PARTS)
    )
    return {row[0]: Described(row[0], row[1], row[2], int(row[3])) for row in found}


def note_use(connection: Connection, described: Described) -> None:
    """Set the time of the last use of a generation, and describe it if it is new.

    Raises:
        sqlalchemy.exc.IntegrityError: another process has described it at the same time.

    """
    values = described._asdict()
    if not connection.execute(_USED, {"of_name": values["name"], "used_at": values["used_at"]}).rowcount:
        connection.execute(sa.insert(GENERATIONS), values)


def delete_description(connection: Connection, name: str) -> None:
    """Delete the description of a generation."""
    connection.execute(sa.delete(GENERATIONS).where(_G.name == name))
