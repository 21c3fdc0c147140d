"""Warm stores in a database, with generated records. They write when a test has them write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any

import pytest
import sqlalchemy as sa

from dagcache.database.warm.database import WarmDatabase, database_at
from dagcache.database.warm.store import DatabaseStore
from dagcache.database.warm.tables import RECORDS
from dagcache.warm_start.circuit_breaker import PAUSE_SECONDS, SLOWEST_SECONDS
from dagcache.warm_start.store import WarmKey
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE
from tests.support.warm import SECRET, NanosecondClock, errors_of, found_in, key_of, record_of, settled

_made: list[DatabaseStore] = []
NEVER = 3600.0  # seconds between two writes of a thread of their own: longer than a test


def new_store(connect: Callable[[], WarmDatabase], **changed: Any) -> DatabaseStore:
    """A store that is not opened; its clock stands still."""
    settings: dict[str, Any] = {
        "digest": "0123abcd",
        "parts": {"format": "1", "python": "3.11"},
        "secret": SECRET,
        "max_bytes": 2**20,
        "clock": ManualClock(),
        "now": NanosecondClock(),
        "interval": NEVER,
        "patience": PATIENCE,
    }
    chosen = settings | changed
    secret = chosen.pop("secret")
    store = DatabaseStore(connect, secret=lambda: secret, **chosen)
    _made.append(store)
    return store


@pytest.fixture(autouse=True)
def stores_are_closed() -> Iterator[None]:
    """Close the stores of a test that has failed: a thread of each would outlive it. For modules that import this."""
    yield
    while _made:
        _made.pop().close()


def make_store(url: str, **changed: Any) -> DatabaseStore:
    """A store that is open, unless it cannot be opened."""
    store = new_store(lambda: database_at(url), **changed)
    opened(store)
    return store


def opened(store: DatabaseStore) -> None:
    """Open a store, and wait until that and the first upkeep have ended."""
    store.get_many([])
    settled()


def filled(url: str, count: int, key: Callable[[int], WarmKey] = key_of, **changed: Any) -> DatabaseStore:
    """A store with the records 0, 1, ... in the database."""
    store = make_store(url, **changed)
    for number in range(count):
        put(store, key(number), number)
    store._write_and_keep_up()
    assert store.stats().stored == count
    return store


def put(store: DatabaseStore, key: WarmKey, number: int, nbytes: int = 40) -> None:
    """Leave a generated record to the thread that writes."""
    store.put(key, record_of(number, nbytes))


def execute(url: str, statement: Any, *values: Any) -> list[Any]:
    """Any statement, as another program executes it: committed."""
    engine = sa.create_engine(url)
    with closing(_Disposing(engine)), engine.begin() as connection:
        if isinstance(statement, str):
            statement = sa.text(statement)
        result = connection.execute(statement, *values)
        return list(result) if result.returns_rows else []


def rows_in(url: str) -> list[Any]:
    """All records, in the order of storing."""
    return execute(url, sa.select(RECORDS).order_by(RECORDS.c.sequence))


class _Disposing:
    """Closes an engine."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


# ---- on a real server ----


def live(connect: Callable[[], WarmDatabase]) -> None:
    """The life of a store on any database; its tables do not exist. Raises if a step has another result."""
    with ExitStack() as held:
        _live([held.enter_context(closing(new_store(connect))) for _ in range(5)])


def _live(stores: list[DatabaseStore]) -> None:
    *stores, again = stores
    with ThreadPoolExecutor(4) as starters:  # at the same time: one of them creates the tables
        list(starters.map(lambda store: store.get_many([]), stores))
    settled()
    assert [errors_of(store.stats()) for store in stores] == [{}] * 4
    first, second, *_ = stores
    with ThreadPoolExecutor(2) as writers:  # the same versions at the same time
        list(writers.map(_store_forty, (first, second)))
    first.put(key_of(50), record_of(50, 200_000))
    put(second, key_of(3, "newer"), 3)
    for store in stores:
        store.close()
        assert errors_of(store.stats()) == {}
    opened(again)
    assert found_in(again, 50) == [*range(3), *range(4, 40)]
    assert again.get_many([key_of(50)]) == {key_of(50): record_of(50, 200_000)}
    assert len(again.get_many([key_of(3, "newer")])) == 1
    assert len(again.versions_near(key_of(0).version_id, 100)) <= 41
    assert (again.stats().forged, again.stats().records) == (0, 41)


def _store_forty(store: DatabaseStore) -> None:
    for number in range(40):
        put(store, key_of(number), number)
        if number % 5 == 4:
            store._write_and_keep_up()


def wait_in_vain(connect: Callable[[], WarmDatabase], lock: Callable[[], AbstractContextManager[object]]) -> None:
    """The lookups and writes of a store whose table another program locks, and those after the lock.

    The look for new rows precedes a write: it fails, and the record waits.
    """
    clock = ManualClock()
    with closing(new_store(connect, clock=clock)) as store:
        opened(store)
        for number in range(3):
            put(store, key_of(number), number)
        store._write_and_keep_up()
        with lock():
            store._patience = SLOWEST_SECONDS
            for _ in range(3):
                assert found_in(store, 3) == []
            store._patience = PATIENCE
            put(store, key_of(4), 4)
            store._write_and_keep_up()
            settled()  # the server ends the read, although the lock lasts
        assert errors_of(store.stats()) == {"slow": 1, "read": 1, "write": 1}
        clock.advance(PAUSE_SECONDS)
        opened(store)
        assert found_in(store, 5) == [0, 1, 2, 4]
