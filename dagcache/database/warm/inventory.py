"""The content of a warm store in a database, for people: what is there, and its removal. No key is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from dagcache.database.warm import cleaning, rows
from dagcache.database.warm.database import WRITE_SECONDS, WarmDatabase
from dagcache.warm_start.generation import Generation

IN_USE_SECONDS: Final = 2 * 3600
"""A process notes once an hour that it uses its generation."""


class NoTablesError(Exception):
    """The database has no tables of a warm store. The message names it, without a password."""


def inventory(database: WarmDatabase, now: int) -> list[Generation]:
    """The generations, the one that was written last first; ``now``: seconds since 1970 in UTC.

    Raises:
        NoTablesError: there are no tables.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be read.

    """
    if not database.has_tables():
        raise NoTablesError(f"{database.name} has no tables of a warm store: no process has stored a version in it")
    with database.transaction(WRITE_SECONDS) as connection:
        totals, described = rows.totals(connection), rows.described(connection)
    found = [_generation(name, totals.get(name), described.get(name), now) for name in {*totals, *described}]
    return sorted(found, key=lambda each: (each.written_at, each.name), reverse=True)


def clear(database: WarmDatabase, now: int) -> list[Generation]:
    """Remove all generations, also those in use: their processes begin with an empty one. Returns what was removed.

    Raises:
        NoTablesError: there are no tables.
        sqlalchemy.exc.SQLAlchemyError: rows cannot be deleted.

    """
    found = inventory(database, now)
    for each in found:
        cleaning.remove(database, each.name)
    return found


def _generation(name: str, total: rows.Total | None, described: rows.Described | None, now: int) -> Generation:
    total = total or rows.Total(0, 0, 0)
    used_at = max(total.stored_at, described.used_at if described else 0)
    return Generation(
        name=name,
        digest=described.digest if described else "",
        parts=_parts(described.parts) if described else {},
        records=total.records,
        nbytes=total.nbytes,
        packs=0,
        written_at=float(total.stored_at or used_at),
        is_in_use=now - used_at < IN_USE_SECONDS,
    )


def _parts(text: str) -> Mapping[str, str]:
    """The parts of a fingerprint; empty if they cannot be read. The column may have any content."""
    with suppress(ValueError, AttributeError, RecursionError):
        return {str(name): str(value) for name, value in json.loads(text).items()}
    return {}
