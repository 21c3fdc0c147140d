"""Databases that fail or hang: lookups are served as without the store."""

from __future__ import annotations

import logging
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from dagcache.database.warm import opened as opened_module
from dagcache.database.warm import rows as rows_module
from dagcache.database.warm.database import WarmDatabase, database_at
from dagcache.database.warm.tables import METADATA
from dagcache.warm_start.circuit_breaker import PAUSE_SECONDS, SLOWEST_SECONDS
from dagcache.warm_start.common_store import REFRESH_SECONDS
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE
from tests.support.warm import errors_of, found_in, key_of, settled
from tests.support.warm_database import execute, filled, make_store, new_store, opened, put, rows_in


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log."""
    return [record.getMessage() for record in caplog.records]


def read_only(url: str) -> WarmDatabase:
    """A database that refuses each change."""
    path = url.removeprefix("sqlite:///")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)

    return WarmDatabase(sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool))


# ---- gone ----


def test_a_database_that_fails_is_passed_over_and_opened_again(url: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    store = filled(url, 2, clock=clock)
    execute(url, "ALTER TABLE dagcache_warm_start RENAME TO elsewhere")
    for _ in range(3):
        assert found_in(store, 2) == []
    assert errors_of(store.stats()) == {"read": 1}
    assert store.stats().is_passed_over
    expected = f"warm start passes over {url} for 30 s: read failed (no such table: dagcache_warm_start)"
    assert messages(caplog) == [expected]
    execute(url, "ALTER TABLE elsewhere RENAME TO dagcache_warm_start")
    assert found_in(store, 2) == []
    clock.advance(PAUSE_SECONDS)
    opened(store)
    assert found_in(store, 2) == [0, 1]
    store.close()


def test_tables_that_are_dropped_are_made_again(url: str) -> None:
    clock = ManualClock()
    store = filled(url, 2, clock=clock)
    for table in METADATA.tables:
        execute(url, f"DROP TABLE {table}")
    assert found_in(store, 2) == []
    clock.advance(PAUSE_SECONDS)
    opened(store)
    put(store, key_of(1), 1)
    store._write_and_keep_up()
    assert found_in(store, 2) == [1]
    store.close()


def test_rows_whose_numbers_have_begun_again_are_found(url: str) -> None:
    """Another process has made the tables again, and this one has not met an error."""
    clock = ManualClock()
    store = filled(url, 3, clock=clock)
    opened_rows = store._opening.opened
    assert opened_rows is not None
    opened_rows._last = 10_000  # as after many rows
    for _ in range(2):
        clock.advance(REFRESH_SECONDS)
        store.get_many([key_of(99)])
        settled()
    assert opened_rows._last == 3
    store.close()


def test_a_failed_write_drops_its_records_and_those_of_half_a_minute(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    store = filled(url, 2, clock=clock)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # another writer, which does not end
        for number in (2, 3):
            put(store, key_of(number), number)
        store._write_and_keep_up()
        assert errors_of(store.stats()) == {"write": 1}
        put(store, key_of(4), 4)
        assert errors_of(store.stats()) == {"write": 1, "dropped": 1}
        other.execute("ROLLBACK")
    assert messages(caplog) == [f"warm start passes over {url} for 30 s: write failed (database is locked)"]
    assert found_in(store, 2) == [0, 1]  # reading goes on
    clock.advance(PAUSE_SECONDS)
    put(store, key_of(5), 5)
    store.close()
    assert len(rows_in(url)) == 3


def test_what_waits_while_writing_is_passed_over_is_dropped(url: str) -> None:
    store = make_store(url)
    put(store, key_of(1), 1)
    store._writes.trip()
    store._write_and_keep_up()
    assert errors_of(store.stats()) == {"dropped": 1}
    assert rows_in(url) == []
    store.close()


def test_a_read_only_database_is_read(url: str, caplog: pytest.LogCaptureFixture) -> None:
    filled(url, 3).close()
    store = new_store(lambda: read_only(url))
    opened(store)
    put(store, key_of(9), 9)
    assert found_in(store, 10) == [0, 1, 2]
    store.close()
    assert errors_of(store.stats()) == {"write": 1, "dropped": 1}
    [line] = messages(caplog)
    assert re.fullmatch(r"warm start passes over .* for 30 s: write failed \(.*readonly database\)", line)


def test_a_full_database_ends_writing_and_not_reading(url: str) -> None:
    filled(url, 3).close()
    pages = []

    def connect() -> WarmDatabase:
        database = database_at(url)

        @sa.event.listens_for(database._engine, "connect")
        def limit(connection: Any, _: Any) -> None:
            [count] = connection.execute("PRAGMA page_count").fetchone()
            pages.append(count)
            connection.execute(f"PRAGMA max_page_count = {pages[0] + 2}")

        return database

    store = new_store(connect, max_bytes=2**30)
    opened(store)
    put(store, key_of(8), 8, nbytes=10**6)
    store._write_and_keep_up()
    assert errors_of(store.stats()) == {"write": 1}
    assert found_in(store, 9) == [0, 1, 2]
    store.close()


def test_a_fault_of_its_own_is_logged_and_survived(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(url, 1)
    monkeypatch.setattr(opened_module, "decode", lambda *_: 1 / 0)
    assert found_in(store, 1) == []
    assert errors_of(store.stats()) == {"internal": 1}
    assert messages(caplog) == ["warm start failed, and the lookup is served without it (ZeroDivisionError)"]
    store.close()


# ---- creating the tables ----


def test_without_the_right_to_create_tables_the_store_is_off(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """With one line that names the database, the cause and the remedy."""
    store = new_store(lambda: read_only(url))
    for _ in range(2):
        opened(store)
        put(store, key_of(1), 1)
    assert (errors_of(store.stats()), store.stats().is_passed_over) == ({"open": 1}, True)
    [line] = caplog.records
    assert line.levelno == logging.ERROR
    message = line.getMessage()
    assert "has no table dagcache_warm_start, and this user cannot create it (" in message
    assert "readonly database" in message
    assert "grant the right to create tables, or set [dagcache] warm_start_url to another database" in message
    store.close()


@pytest.mark.parametrize("tables", [1, 2])
def test_a_starter_that_loses_the_race_for_a_table_uses_that_of_the_other(
    url: str, tables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one may not have created all of them yet."""
    database, other = database_at(url), database_at(url)
    has, looked = database._has, []

    def has_not(table: sa.Table) -> bool:
        looked.append(table)
        if len(looked) > 1:
            return has(table)
        for each in METADATA.sorted_tables[:tables]:
            other._create(each)
        return False

    monkeypatch.setattr(database, "_has", has_not)
    database.prepare()
    assert database.has_tables()
    database.close()
    other.close()


def test_a_table_that_is_being_created_is_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MySQL reports it as an error."""
    database = database_at(url)
    inspect, being_created = sa.inspect, iter([True, True, False])

    def inspect_meanwhile(connection: Any) -> Any:
        if next(being_created, False):
            raise OperationalError("SHOW", None, Exception(1684, "is being modified"))
        return inspect(connection)

    monkeypatch.setattr(sa, "inspect", inspect_meanwhile)
    database.prepare()
    assert database.has_tables()
    monkeypatch.setattr(sa, "inspect", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        database.has_tables()
    database.close()


def test_a_busy_database_refuses_nothing(url: str) -> None:
    """A table that cannot be created for a lock is tried again after 30 s."""
    clock = ManualClock()
    store = new_store(lambda: database_at(url), clock=clock)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opened(store)
        assert errors_of(store.stats()) == {"open": 1}
        other.execute("ROLLBACK")
    clock.advance(PAUSE_SECONDS)
    opened(store)
    assert not store.stats().is_passed_over
    store.close()


# ---- several processes ----


def test_a_version_that_another_process_stores_at_the_same_time_is_left_to_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other versions of the transaction are stored one by one."""
    store, other = make_store(url), make_store(url)
    replace = rows_module.replace

    def replace_after(connection: Any, generation: str, new: Any) -> None:
        if any(row["version"] == key_of(1).version_id for row in new):
            raise IntegrityError("INSERT", None, Exception("duplicate"))
        replace(connection, generation, new)

    put(other, key_of(1), 1)
    other._write_and_keep_up()
    monkeypatch.setattr(rows_module, "replace", replace_after)
    monkeypatch.setattr(opened_module.OpenedRows, "refresh", lambda _: None)  # the other one was not seen yet
    for number in range(3):
        put(store, key_of(number), number)
    store._write_and_keep_up()
    assert len(rows_in(url)) == 3
    assert errors_of(store.stats()) == {}
    assert store.stats().stored == 2
    store.close()
    other.close()


# ---- hanging ----


@pytest.fixture
def comes() -> Iterator[threading.Event]:
    """The end of a call that hangs; also that of a failed test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_read_that_hangs_is_waited_for_once(
    url: str, comes: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its result is not used when it comes; half a minute after that, the database is asked again."""
    clock = ManualClock()
    store = filled(url, 2, clock=clock)
    records, asked = rows_module.records, []

    def hang(*args: Any) -> Any:
        asked.append(1)
        assert comes.wait(PATIENCE)
        return records(*args)

    monkeypatch.setattr(rows_module, "records", hang)
    store._patience = SLOWEST_SECONDS
    for _ in range(3):
        assert found_in(store, 2) == []
    assert (len(asked), errors_of(store.stats())) == (1, {"slow": 1})
    assert messages(caplog) == [f"warm start passes over {url} for 30 s: a call took longer than 0.25 s"]
    comes.set()
    settled()
    assert found_in(store, 2) == []
    store._patience = PATIENCE
    clock.advance(PAUSE_SECONDS)
    assert found_in(store, 2) == [0, 1]
    store.close()


def test_a_look_for_new_rows_that_hangs_is_waited_for_once(
    url: str, comes: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    store = filled(url, 2, clock=clock)
    asked = []

    def hang(*_: Any) -> Any:
        asked.append(1)
        assert comes.wait(PATIENCE)
        return []

    monkeypatch.setattr(rows_module, "heads", hang)
    store._patience = SLOWEST_SECONDS
    clock.advance(REFRESH_SECONDS)
    for _ in range(3):
        assert store.versions_near(key_of(9).version_id, 5) == []
    assert len(asked) == 1
    comes.set()
    settled()
    store.close()


class Silent:
    """A server that accepts connections and never answers."""

    def __init__(self, server: socket.socket) -> None:
        address = f"127.0.0.1:{server.getsockname()[1]}/none?sslmode=disable&gssencmode=disable"  # else it tries again
        self.url = f"postgresql+psycopg2://user:s3cr3t@{address}"
        self.accepted: list[socket.socket] = []
        self.came = threading.Event()
        self._server = server

    def accept(self) -> None:
        """Accept connections until the server is shut down."""
        with suppress(OSError):
            while True:
                self.accepted.append(self._server.accept()[0])
                self.came.set()


@pytest.fixture
def silent() -> Iterator[Silent]:
    """Such a server."""
    pytest.importorskip("psycopg2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Silent(server)
        thread = threading.Thread(target=found.accept)
        thread.start()
        yield found
        server.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)
        for connection in found.accepted:
            connection.close()


def test_a_server_that_never_answers_is_waited_for_once(silent: Silent, caplog: pytest.LogCaptureFixture) -> None:
    """While the connection is made: the lookups after the first one do not wait, and make no other connection."""
    store = new_store(lambda: database_at(silent.url), clock=ManualClock())
    for number in range(5):
        assert store.get_many([key_of(number)]) == {}
        assert store.versions_near(key_of(number).version_id, 9) == []
        put(store, key_of(number), number)
    assert silent.came.wait(PATIENCE)
    assert len(silent.accepted) == 1
    silent.accepted[0].close()
    settled()
    assert errors_of(store.stats()) == {"open": 1}
    for number in range(5):
        assert store.get_many([key_of(number)]) == {}
    assert len(silent.accepted) == 1
    [line] = messages(caplog)
    assert line.startswith("warm start passes over postgresql+psycopg2://user:***@127.0.0.1:")
    assert "s3cr3t" not in caplog.text
    store.close()


def test_a_store_is_closed_although_its_database_hangs(
    url: str, comes: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(url)
    monkeypatch.setattr(opened_module.OpenedRows, "write", lambda *_: comes.wait(PATIENCE))
    put(store, key_of(1), 1)
    store.close()
    assert store.get_many([key_of(1)]) == {}
    comes.set()
    settled()


def test_a_lookup_that_has_waited_for_the_opening_does_not_wait_for_a_read_as_well(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    filled(url, 1).close()
    store = new_store(lambda: database_at(url), clock=clock)
    ready = store._opening.ready

    def ready_late() -> Any:
        rows = ready()
        settled()
        clock.advance(PATIENCE)
        return rows

    monkeypatch.setattr(store._opening, "ready", ready_late)
    assert found_in(store, 1) == []
    monkeypatch.setattr(store._opening, "ready", ready)
    assert found_in(store, 1) == [0]
    assert errors_of(store.stats()) == {}
    store.close()


def test_a_file_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    from dagcache.errors import LoadError

    with pytest.raises(LoadError, match="there is no file"):
        database_at(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []
