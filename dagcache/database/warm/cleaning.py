"""The removal of rows that are of no use: of unused generations, of gone versions, and the oldest ones beyond a limit.

Each statement deletes at most 200 rows by their numbers, in a transaction of its own. So no other process waits long.
Several processes may do this at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from dagcache.database.warm import rows
from dagcache.database.warm.database import WRITE_SECONDS, WarmDatabase
from dagcache.warm_start.generation import UNUSED_SECONDS

_KEPT_SHARE: Final = 0.75
"""The share of the limit that stays when it was exceeded. Otherwise each new record would remove one."""


def description(name: str, digest: str, parts: Mapping[str, str], now: int) -> rows.Described:
    """The description of a generation that is used now, seconds since 1970 in UTC."""
    return rows.Described(name, digest, json.dumps(dict(parts), sort_keys=True), now)


def note_use(database: WarmDatabase, described: rows.Described) -> None:
    """Set the time of the last use of a generation, and describe it if it is new."""
    with suppress(IntegrityError), database.transaction(WRITE_SECONDS) as connection:
        rows.note_use(connection, described)


def remove_unused(database: WarmDatabase, current: str, now: int) -> list[str]:
    """Remove generations other than the current one that no process has used for 7 days. Returns their names."""
    with database.transaction(WRITE_SECONDS) as connection:
        used = {name: total.stored_at for name, total in rows.totals(connection).items()}
        for name, described in rows.described(connection).items():
            used[name] = max(used.get(name, 0), described.used_at)
    unused = [name for name, last in used.items() if name != current and now - last > UNUSED_SECONDS]
    for name in unused:
        remove(database, name)
    return unused


def remove(database: WarmDatabase, name: str) -> None:
    """Remove a generation with its rows."""
    while True:
        with database.transaction(WRITE_SECONDS) as connection:
            sequences = rows.of_generation(connection, name)
            if not sequences:
                rows.delete_description(connection, name)
                break
            rows.delete(connection, sequences)


def remove_gone(database: WarmDatabase) -> int:
    """Remove the rows of versions that Airflow has no more. Returns their number.

    The two tables are not joined: on MySQL their columns may have different collations, which cannot be compared.
    """
    removed, after = 0, 0
    while True:
        with database.transaction(WRITE_SECONDS) as connection:
            found = rows.versions(connection, after)
            gone = _gone(connection, {version for _, version, is_lasting in found if not is_lasting})
            sequences = [sequence for sequence, version, _ in found if version in gone]
            removed += rows.delete(connection, sequences) if sequences else 0
        if len(found) < rows.TOGETHER:
            return removed
        after = found[-1][0]


def _gone(connection: Connection, versions: Collection[UUID]) -> set[UUID]:
    return set(versions) - rows.alive(connection, versions) if versions else set()


def make_room(database: WarmDatabase, max_bytes: int) -> int:
    """Remove the rows that were stored first, if all together exceed a limit. Returns the bytes that are left.

    Lasting rows go last: others depend on them.
    """
    with database.transaction(WRITE_SECONDS) as connection:
        left = sum(total.nbytes for total in rows.totals(connection).values())
    excess = left - int(_KEPT_SHARE * max_bytes) if left > max_bytes else 0
    while excess > 0:
        with database.transaction(WRITE_SECONDS) as connection:
            chosen = dict(_first(rows.oldest(connection), excess))
            if not chosen:
                break
            rows.delete(connection, chosen)
        excess -= sum(chosen.values())
        left -= sum(chosen.values())
    return left


def _first(oldest: Sequence[tuple[int, int]], excess: int) -> Iterator[tuple[int, int]]:
    """The first rows that have so many bytes together, or all."""
    for sequence, nbytes in oldest:
        if excess <= 0:
            return
        excess -= nbytes
        yield sequence, nbytes
