"""Without the key, a writer to the database gets nothing served."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcache.database.warm.database import database_at
from dagcache.database.warm.inventory import inventory
from dagcache.database.warm.opened import MOST_RECORD_BYTES
from dagcache.database.warm.store import DatabaseStore
from dagcache.database.warm.tables import GENERATIONS, RECORDS
from dagcache.warm_start.generation import name_of
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.record_format import content_of, encode
from tests.support.warm import SECRET, errors_of, found_in, key_of, record_of
from tests.support.warm_database import execute, filled, make_store, put, rows_in

COUNT = 5
_C = RECORDS.c


def change(url: str, number: int, **values: Any) -> None:
    """Change columns of a version's row."""
    execute(url, sa.update(RECORDS).where(_C.version == UUID(int=number)).values(**values))


@pytest.fixture
def stored(url: str) -> str:
    """The database of a process that has ended, with five records of one length."""
    filled(url, COUNT).close()
    return url


def served(url: str, **changed: Any) -> tuple[list[int], DatabaseStore]:
    """The records that the next process serves, each the right one; and its store, closed."""
    store = make_store(url, **changed)
    found = found_in(store, COUNT)
    store.close()
    return found, store


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**9), bit=st.integers(0, 7), number=st.integers(0, COUNT - 1))
def test_a_flipped_bit_anywhere_in_a_record_costs_this_record(
    stored: str, position: int, bit: int, number: int
) -> None:
    [whole] = [row.record for row in rows_in(stored) if row.version == UUID(int=number)]
    damaged = bytearray(whole)
    damaged[position % len(whole)] ^= 1 << bit
    change(stored, number, record=bytes(damaged))
    found, store = served(stored)
    assert found == [other for other in range(COUNT) if other != number]
    assert store.stats().forged == 1
    change(stored, number, record=whole)


@pytest.mark.parametrize("data", [b"", b"x", b"\x89DCW1\r\n\x1a" * 20, bytes(10**6)])
def test_a_record_of_any_bytes_is_forged(stored: str, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    change(stored, 1, record=data)
    found, store = served(stored)
    assert found == [0, 2, 3, 4]
    assert store.stats().forged == 1
    [line] = caplog.records
    assert line.getMessage() == f"a record of warm start in {stored} is damaged or forged, and is not used"


def test_a_record_of_any_length_takes_a_bounded_memory(stored: str) -> None:
    """The database does not send it, though its row claims to be short."""
    change(stored, 1, record=bytes(MOST_RECORD_BYTES + 1), nbytes=-(2**30))
    found, store = served(stored, max_bytes=2 * MOST_RECORD_BYTES)
    assert found == [0, 2, 3, 4]
    assert (store.stats().forged, store.stats().bytes_read < 10_000) == (0, True)


def test_records_under_the_keys_of_others_are_not_served(stored: str) -> None:
    records = [row.record for row in rows_in(stored)]
    for number in range(COUNT):
        change(stored, number, record=records[number - 1])
    found, store = served(stored)
    assert found == []
    assert store.stats().forged == COUNT


def test_rows_in_another_order_are_served(stored: str) -> None:
    """Their number means nothing."""
    numbers = list(range(100, 100 + COUNT))
    random.Random(1).shuffle(numbers)
    for number in range(COUNT):
        change(stored, number, sequence=numbers[number])
    assert served(stored)[0] == list(range(COUNT))


@pytest.mark.parametrize("changed", [{"digest": "4567"}, {"secret": b"another"}], ids=["fingerprint", "key"])
def test_rows_of_another_fingerprint_or_key_are_forged(stored: str, changed: dict[str, Any]) -> None:
    """Though they are in this generation."""
    used = {"digest": "0123abcd", "secret": SECRET} | changed
    name = name_of(used["digest"], SigningKey(used["secret"], used["digest"]))
    execute(stored, sa.update(RECORDS).values(generation=name))
    found, store = served(stored, **changed)
    assert found == []
    assert store.stats().forged == COUNT


def test_a_replayed_older_record_of_the_same_version_is_not_served(stored: str) -> None:
    """It is signed correctly. With its own content in the row it is stale, with the current one it is forged."""
    [old] = [row for row in rows_in(stored) if row.version == UUID(int=1)]
    store = make_store(stored)
    put(store, key_of(1, "newer"), 1)
    store.close()
    for content, counted in ((old.content, (1, 0)), (content_of(key_of(1, "newer")), (0, 1))):
        change(stored, 1, record=old.record, content=content)
        store = make_store(stored)
        assert store.get_many([key_of(1, "newer")]) == {}
        assert (store.stats().stale, store.stats().forged) == counted
        store.close()


def test_a_record_without_a_time_of_change_is_no_version(url: str) -> None:
    """The key of a dictionary is not that of a version, even if the ids are equal."""
    signing = SigningKey(SECRET, "0123abcd")
    dictionary = key_of(1, last_updated="")
    filled(url, 2).close()
    change(url, 1, record=encode(dictionary, record_of(1), 1, signing))
    store = make_store(url)
    assert store.get_many([key_of(1)]) == {}
    assert store.stats().forged == 1
    store.close()


@pytest.mark.parametrize(
    "change_row",
    [
        lambda url: change(url, 1, content=b""),
        lambda url: change(url, 1, content=bytes(1000)),
        lambda url: execute(url, sa.update(RECORDS).where(_C.version == UUID(int=1)).values(version=UUID(int=77))),
    ],
    ids=["no content", "long content", "another version"],
)
def test_columns_beside_the_record_lead_to_a_miss_at_most(stored: str, change_row: Callable[[str], object]) -> None:
    change_row(stored)
    assert served(stored)[0] == [0, 2, 3, 4]


@pytest.mark.parametrize("column", ["nbytes", "stored_at", "lasting"])
def test_numbers_beside_the_record_mean_nothing_to_a_reader(stored: str, column: str) -> None:
    execute(stored, sa.update(RECORDS).values({column: 0}))
    assert served(stored)[0] == list(range(COUNT))


def test_the_description_of_a_generation_may_have_any_content(stored: str) -> None:
    for parts in ("", "[]", "[" * 100_000, '{"key": {}}'):
        execute(stored, "UPDATE dagcache_warm_start_generation SET parts = :parts", {"parts": parts})
        found, store = served(stored)
        assert found == list(range(COUNT))
        assert errors_of(store.stats()) == {}


def test_a_long_content_is_not_read(stored: str) -> None:
    """It would stay in the index: many such rows would fill the memory of each process."""
    change(stored, 2, content=bytes(1_000_000))
    found, store = served(stored)
    assert found == [0, 1, 3, 4]
    assert store.stats().records == 0  # closed


def test_a_wrong_length_does_not_move_the_limit(stored: str) -> None:
    """The records count, and not the column."""
    limit = sum(len(row.record) for row in rows_in(stored)) - 1
    change(stored, 0, nbytes=-(10**9))
    make_store(stored, max_bytes=limit).close()
    assert sum(len(row.record) for row in rows_in(stored)) <= limit


def test_a_long_description_is_not_read(stored: str) -> None:
    execute(stored, sa.update(GENERATIONS).values(parts="x" * 1_000_000))
    database = database_at(stored)
    [generation] = inventory(database, now=0)
    database.close()
    assert (generation.records, generation.parts) == (COUNT, {})
