"""Rows that are of no use leave the database, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from dagcache.database.warm import cleaning
from dagcache.database.warm.database import WarmDatabase, database_at
from dagcache.database.warm.inventory import inventory
from dagcache.database.warm.rows import TOGETHER
from dagcache.database.warm.store import UPKEEP_SECONDS
from dagcache.database.warm.tables import GENERATIONS
from dagcache.warm_start.generation import UNUSED_SECONDS
from tests.support.clock import ManualClock
from tests.support.warm import NanosecondClock, found_in, key_of, record_of
from tests.support.warm_database import execute, filled, make_store, new_store, opened, put, rows_in

_NANOSECONDS = 10**9
DAG_VERSIONS = "CREATE TABLE dag_version (id CHAR(32) PRIMARY KEY)"


@contextmanager
def database_of(url: str) -> Iterator[WarmDatabase]:
    """An own database object, closed afterwards."""
    database = database_at(url)
    yield database
    database.close()


def names(url: str) -> set[str]:
    """The digests of the generations that are described."""
    return {row.digest for row in execute(url, sa.select(GENERATIONS))}


def test_a_generation_that_no_process_has_used_for_seven_days_is_removed(url: str) -> None:
    now = NanosecondClock()
    filled(url, 3, digest="old", now=now).close()
    now.now += (UNUSED_SECONDS - 3600) * _NANOSECONDS
    filled(url, 2, digest="new", now=now).close()
    assert names(url) == {"old", "new"}
    now.now += 3601 * _NANOSECONDS
    make_store(url, digest="new", now=now).close()
    assert names(url) == {"new"}
    assert len(rows_in(url)) == 2


def test_a_generation_in_use_stays_though_nothing_is_written(url: str) -> None:
    """A process that has all its versions in memory notes once an hour that it lives."""
    now, clock = NanosecondClock(), ManualClock()
    idle = filled(url, 3, digest="idle", now=now, clock=clock)
    for _ in range(3):
        now.now += 4 * 86_400 * _NANOSECONDS
        clock.advance(UPKEEP_SECONDS)
        idle._write_and_keep_up()
        make_store(url, digest="other", now=now).close()
    assert names(url) == {"idle", "other"}
    assert found_in(idle, 3) == [0, 1, 2]
    idle.close()


def test_rows_without_a_description_are_removed_by_their_age(url: str) -> None:
    now = NanosecondClock()
    filled(url, 3, digest="old", now=now).close()
    execute(url, "DELETE FROM dagcache_warm_start_generation")
    now.now += (UNUSED_SECONDS + 1) * _NANOSECONDS
    make_store(url, digest="new", now=now).close()
    assert rows_in(url) == []


def test_versions_that_airflow_has_no_more_are_removed(url: str) -> None:
    """In all generations. A dictionary is not a version, and stays."""
    execute(url, DAG_VERSIONS)
    execute(url, "INSERT INTO dag_version VALUES (:id)", [{"id": UUID(int=number).hex} for number in range(0, 450, 2)])
    dictionary = key_of(1000, last_updated="")
    for digest in ("one", "two"):
        store = make_store(url, digest=digest, max_bytes=2**30)
        for first in range(0, 450, 150):
            for number in range(first, first + 150):
                put(store, key_of(number), number)
            store._write_and_keep_up()
        store.put(dictionary, record_of(1))
        store.close()
    with database_of(url) as database:
        assert cleaning.remove_gone(database) == 2 * 225
        assert cleaning.remove_gone(database) == 0
    left = {row.version.int for row in rows_in(url)}
    assert left == {*range(0, 450, 2), 1000}


def test_the_upkeep_removes_gone_versions_in_airflows_database_only(url: str) -> None:
    execute(url, DAG_VERSIONS)
    filled(url, 3).close()
    make_store(url).close()
    assert len(rows_in(url)) == 3

    def airflows() -> WarmDatabase:
        return WarmDatabase(sa.create_engine(url), is_airflows=True)

    store = new_store(airflows)
    opened(store)
    store.close()
    assert rows_in(url) == []


def test_the_oldest_rows_leave_a_database_that_is_too_large(url: str) -> None:
    """Down to three quarters of the limit. A dictionary leaves last."""
    store = make_store(url)
    store.put(key_of(1000, last_updated=""), record_of(0))
    store._write_and_keep_up()
    for number in range(400):
        put(store, key_of(number), number % 10)
        if number % 100 == 99:
            store._write_and_keep_up()
    store.close()
    nbytes = [row.nbytes for row in rows_in(url)]
    with database_of(url) as database:
        assert cleaning.make_room(database, sum(nbytes)) == sum(nbytes)
        limit = sum(nbytes) * 9 // 10
        left = cleaning.make_room(database, limit)
        assert left == sum(row.nbytes for row in rows_in(url))
        assert 0.7 * limit < left <= 0.75 * limit
        kept = [row.version.int for row in rows_in(url)]
        assert kept == [1000, *range(400 - len(kept) + 1, 400)]
        assert cleaning.make_room(database, 1) == 0
    assert rows_in(url) == []


def test_a_store_keeps_its_limit_while_it_writes(url: str) -> None:
    store = make_store(url, max_bytes=2000)
    for number in range(25):
        put(store, key_of(number), number)
        store._write_and_keep_up()
        assert sum(row.nbytes for row in rows_in(url)) <= 2000
    assert found_in(store, 25)[-1] == 24
    store.close()


def test_no_statement_deletes_many_rows(url: str) -> None:
    """Other processes wait for the rows of a transaction."""
    store = make_store(url, max_bytes=2**30)
    for first in range(0, 900, 150):
        for number in range(first, first + 150):
            put(store, key_of(number), number)
        store._write_and_keep_up()
    store.close()
    engine, deleted = sa.create_engine(url), []

    @sa.event.listens_for(engine, "after_cursor_execute")
    def note(_: Any, cursor: Any, statement: str, *__: Any) -> None:
        if statement.startswith("DELETE FROM dagcache_warm_start "):
            deleted.append(cursor.rowcount)

    database = WarmDatabase(engine)
    cleaning.make_room(database, 60_000)
    [name] = {row.generation for row in rows_in(url)}
    cleaning.remove(database, name)
    database.close()
    assert sum(deleted) == 900
    assert max(deleted) <= TOGETHER


@pytest.mark.parametrize("parts", ["", "[]", "null", '{"a": 1}'])
def test_the_inventory_counts_rows_and_reads_any_description(url: str, parts: str) -> None:
    filled(url, 3, digest="one").close()
    filled(url, 2, digest="two").close()
    execute(url, sa.update(GENERATIONS).where(GENERATIONS.c.digest == "one").values(parts=parts))
    execute(url, sa.delete(GENERATIONS).where(GENERATIONS.c.digest == "two"))
    with database_of(url) as database:
        found = {each.digest: each for each in inventory(database, rows_in(url)[0].stored_at)}
    assert {name: (each.records, each.is_in_use) for name, each in found.items()} == {"one": (3, True), "": (2, True)}
    assert found["one"].parts == ({"a": "1"} if "a" in parts else {})
    assert found["one"].nbytes == sum(row.nbytes for row in rows_in(url)[:3])
