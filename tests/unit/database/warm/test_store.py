"""The store in a database: what one process stores, the next one has."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dagcache.database.warm import opened as opened_module
from dagcache.database.warm.database import database_at
from dagcache.database.warm.opened import MOST_RECORD_BYTES
from dagcache.database.warm.store import WRITER, DatabaseStore
from dagcache.database.warm.tables import GENERATIONS, RECORDS
from dagcache.warm_start.common_store import REFRESH_SECONDS
from dagcache.warm_start.store import WarmKey, WarmRecord, WarmStore
from tests.support import warm_database
from tests.support.children import fork, outcome
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE
from tests.support.warm import LATER, SECRET, NanosecondClock, errors_of, found_in, key_of, record_of, settled
from tests.support.warm_database import execute, new_store, opened, put, rows_in

Make = Callable[..., DatabaseStore]


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Makes open stores, which are closed afterwards."""
    made: list[DatabaseStore] = []

    def make_store(**changed: Any) -> DatabaseStore:
        made.append(warm_database.make_store(url, **changed))
        return made[-1]

    yield make_store
    for store in made:
        store.close()


@pytest.fixture
def fill(url: str, make: Make) -> Make:
    """Makes open stores that store the records 0, 1, ..."""

    def filled(count: int, key: Callable[[int], WarmKey] = key_of, **changed: Any) -> DatabaseStore:
        store = make(**changed)
        for number in range(count):
            put(store, key(number), number)
        store._write_and_keep_up()
        assert store.stats().stored == count
        return store

    return filled


def test_a_restarted_process_has_the_records_of_its_predecessor(url: str, make: Make, fill: Make) -> None:
    fill(20).close()
    store: WarmStore = make()
    assert isinstance(store, DatabaseStore)
    assert found_in(store, 21) == list(range(20))
    stats = store.stats()
    assert (stats.hits, stats.misses, stats.records) == (20, 1, 20)
    assert stats.bytes_read == sum(len(row.record) for row in rows_in(url)) == sum(row.nbytes for row in rows_in(url))


def test_records_can_be_read_by_the_process_that_stored_them(url: str, fill: Make) -> None:
    store = fill(3)
    assert found_in(store, 3) == [0, 1, 2]
    assert store.stats().bytes_written == sum(row.nbytes for row in rows_in(url))


def test_a_record_is_written_in_the_background(url: str, make: Make) -> None:
    """A lookup never waits for a write."""
    store = make()
    put(store, key_of(1), 1)
    assert rows_in(url) == []
    store._write_and_keep_up()
    assert len(rows_in(url)) == 1


def test_a_thread_writes_once_in_an_interval(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()
    write = opened_module.OpenedRows.write

    def note(*args: Any) -> None:
        write(*args)
        written.set()

    monkeypatch.setattr(opened_module.OpenedRows, "write", note)
    store = new_store(lambda: database_at(url), interval=0.01)
    opened(store)
    put(store, key_of(1), 1)
    assert written.wait(PATIENCE)
    assert [thread.name for thread in threading.enumerate() if thread.name == WRITER] == [WRITER]
    store.close()
    assert len(rows_in(url)) == 1


def test_a_record_that_waits_is_written_when_the_store_is_closed(url: str, make: Make) -> None:
    store = make()
    put(store, key_of(1), 1)
    store.close()
    assert len(rows_in(url)) == 1


def test_a_turn_writes_the_records_that_waited_at_its_start(
    url: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process loads, others come one by one: they wait for the next turn. Each turn looks for new rows once."""
    store = make()
    written: list[int] = []
    looks: list[None] = []
    write, refresh = opened_module.OpenedRows.write, opened_module.OpenedRows.refresh

    def write_while_one_more_comes(rows: Any, batch: Any) -> None:
        write(rows, batch)
        written.append(len(batch))
        put(store, key_of(200 + len(written)), 1)

    monkeypatch.setattr(opened_module.OpenedRows, "write", write_while_one_more_comes)
    monkeypatch.setattr(opened_module.OpenedRows, "refresh", lambda rows: looks.append(refresh(rows)))
    for number in range(120):
        put(store, key_of(number), number)
    store._write_and_keep_up()
    assert (written, len(looks)) == ([50, 50, 20], 1)
    store._write_and_keep_up()
    assert (written, len(looks)) == ([50, 50, 20, 3], 2)
    monkeypatch.undo()
    store.close()
    assert len(rows_in(url)) == 124


def test_nothing_is_connected_and_no_thread_runs_before_the_first_call(url: str) -> None:
    """A scheduler forks before it looks up a DAG."""
    connections: list[int] = []

    def connect() -> Any:
        connections.append(1)
        return database_at(url)

    before = threading.enumerate()
    store = new_store(connect)
    assert (connections, threading.enumerate()) == ([], before)
    opened(store)
    assert connections == [1]
    store.close()


def test_a_content_that_is_stored_is_not_stored_again(url: str, fill: Make) -> None:
    store = fill(2)
    put(store, key_of(1), 1)
    store._write_and_keep_up()
    assert store.stats().stored == 2


@pytest.mark.parametrize("other", [key_of(1, "other"), key_of(1, last_updated=LATER)], ids=["hash", "time"])
def test_another_content_of_a_version_is_stale(fill: Make, other: WarmKey) -> None:
    store = fill(2)
    assert store.get_many([other]) == {}
    assert (store.stats().stale, store.stats().misses) == (1, 1)


def test_the_content_that_was_stored_last_replaces_the_other(url: str, make: Make) -> None:
    """It need not have the later time of change: a database may have been restored."""
    store = make()
    for last_updated in ("2026-01-02T00:00:00.000000+00:00", "2026-01-01T00:00:00.000000+00:00"):
        put(store, key_of(1, last_updated=last_updated), 1)
        store._write_and_keep_up()
    assert len(rows_in(url)) == 1
    again = make()
    assert again.get_many([key_of(1, last_updated="2026-01-02T00:00:00.000000+00:00")]) == {}
    assert len(again.get_many([key_of(1, last_updated="2026-01-01T00:00:00.000000+00:00")])) == 1


def test_versions_are_listed_in_the_order_of_storing(make: Make, fill: Make) -> None:
    fill(10).close()
    store = make()
    assert store.versions_near(UUID(int=6), 3) == [UUID(int=number) for number in (6, 7, 8)]
    assert store.versions_near(UUID(int=8), 100) == [UUID(int=number) for number in (8, 9)]
    assert store.versions_near(UUID(int=8), 0) == []
    assert store.versions_near(UUID(int=99), 3) == []


def test_a_forgotten_record_is_not_returned_until_it_is_stored_again(url: str, fill: Make) -> None:
    store = fill(4)
    store.forget([key_of(1), key_of(99), key_of(2, "other")])
    assert found_in(store, 4) == [0, 2, 3]
    assert store.versions_near(UUID(int=0), 2) == [UUID(int=0), UUID(int=2)]
    put(store, key_of(1), 1)
    store._write_and_keep_up()
    assert found_in(store, 4) == [0, 1, 2, 3]
    assert len(rows_in(url)) == 4


def test_a_forgotten_record_does_not_come_back_with_a_refresh(make: Make, fill: Make) -> None:
    clock = ManualClock()
    store = make(clock=clock)
    fill(2)
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 2) == [0, 1]
    store.forget([key_of(1)])
    store.refused(key_of(0))
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 2) == []
    assert store.stats().refused == 1


def test_records_of_other_processes_are_found_within_seconds(make: Make, fill: Make) -> None:
    clock = ManualClock()
    store = make(clock=clock)
    other = fill(3)
    assert found_in(store, 3) == []
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 3) == [0, 1, 2]
    put(other, key_of(3), 3)
    put(other, key_of(0, "other"), 0)
    other._write_and_keep_up()
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 4) == [1, 2, 3]
    assert len(store.get_many([key_of(0, "other")])) == 1


def test_a_row_that_was_committed_later_than_its_number_says_is_found(url: str, make: Make, fill: Make) -> None:
    """A transaction takes its numbers before it is committed, and others may overtake it."""
    clock = ManualClock()
    store = make(clock=clock)
    other = fill(3)
    execute(url, sa.update(RECORDS).values(sequence=RECORDS.c.sequence + 100))
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 4) == [0, 1, 2]
    put(other, key_of(3), 3)
    other._write_and_keep_up()
    execute(url, sa.update(RECORDS).where(RECORDS.c.version == UUID(int=3)).values(sequence=50))
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 4) == [0, 1, 2, 3]


def test_the_rows_of_a_generation_are_listed_in_parts(make: Make, fill: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement returns a hundred thousand rows."""
    fill(20).close()
    monkeypatch.setattr(opened_module, "_HEADS_TOGETHER", 7)
    monkeypatch.setattr(opened_module, "_OVERLAP", 3)
    store = make()
    assert found_in(store, 20) == list(range(20))
    assert store.versions_near(UUID(int=0), 100) == [UUID(int=number) for number in range(20)]


def test_a_version_of_another_process_is_near_within_seconds(make: Make, fill: Make) -> None:
    """A lookup may end with this question: an unknown version is a miss."""
    clock = ManualClock()
    store = make(clock=clock)
    fill(3)
    assert store.versions_near(UUID(int=1), 9) == []
    assert store.stats().misses == 1
    clock.advance(REFRESH_SECONDS)
    assert store.versions_near(UUID(int=1), 9) == [UUID(int=1), UUID(int=2)]
    assert store.stats().misses == 1


def test_a_row_that_another_process_has_replaced_or_deleted_is_a_miss(url: str, make: Make, fill: Make) -> None:
    """Before the next look for new rows, too."""
    fill(3)
    store = make()
    other = make()
    put(other, key_of(0, "other"), 0)
    other._write_and_keep_up()
    execute(url, "DELETE FROM dagcache_warm_start WHERE version = :version", {"version": UUID(int=1).hex})
    assert found_in(store, 3) == [2]
    assert (store.stats().stale, store.stats().forged, store.stats().misses) == (1, 0, 2)


@pytest.mark.parametrize("changed", [{"digest": "4567"}, {"secret": b"another secret"}], ids=["fingerprint", "key"])
def test_another_fingerprint_or_key_begins_with_an_empty_store(
    make: Make, fill: Make, changed: dict[str, object]
) -> None:
    fill(3).close()
    store = make(**changed)
    assert found_in(store, 3) == []
    assert store.stats().forged == 0


def test_a_generation_is_described_for_people_without_its_key(url: str, fill: Make) -> None:
    store = fill(1)
    [row] = execute(url, sa.select(GENERATIONS))
    assert row.digest == "0123abcd"
    assert '"python": "3.11"' in row.parts
    assert SECRET.decode() not in row.parts
    rows = store._opening.opened
    assert rows is not None
    assert rows.signing._key.hex() not in row.parts


def test_one_statement_reads_a_bounded_number_of_bytes(fill: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that follow are misses."""
    store = fill(9)
    nbytes = store.stats().bytes_written // 9
    monkeypatch.setattr(opened_module, "_MOST_BYTES_READ", 2 * nbytes + 1)
    assert found_in(store, 9) == [0, 1, 2]


def test_a_record_that_a_server_may_not_accept_is_not_stored(make: Make) -> None:
    store = make(max_bytes=2**30)
    put(store, key_of(1), 1, nbytes=MOST_RECORD_BYTES)
    store.put(key_of(2), replace(record_of(2), live_bytes=-1))
    put(store, key_of(3), 3)
    store._write_and_keep_up()
    assert errors_of(store.stats()) == {"full": 2}
    assert found_in(store, 4) == [3]


def test_a_closed_store_does_nothing(make: Make, fill: Make) -> None:
    store = fill(2)
    store.close()
    store.close()
    put(store, key_of(5), 5)
    store.forget([key_of(0)])
    assert store.get_many([key_of(0)]) == {}
    assert store.versions_near(UUID(int=0), 3) == []
    assert store.stats().stored == 2
    assert found_in(make(), 9) == [0, 1]


def test_a_store_that_is_closed_while_it_opens_stays_closed(url: str) -> None:
    stores: list[DatabaseStore] = []

    def connect() -> Any:
        stores[0].close()
        return database_at(url)

    stores.append(new_store(connect))
    opened(stores[0])
    assert stores[0]._opening.opened is None
    assert stores[0].get_many([key_of(0)]) == {}


def test_threads_store_and_find_at_the_same_time(url: str, make: Make) -> None:
    execute(url, "PRAGMA journal_mode=WAL")  # a reader does not wait for a writer
    store = make()

    def work(first: int) -> None:
        for number in range(first, 100, 4):
            put(store, key_of(number), number)
            store.get_many([key_of(number), key_of(number + 4)])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        store._write_and_keep_up()
        thread.join(PATIENCE)
    store._write_and_keep_up()
    assert found_in(store, 100) == list(range(100))
    stats = store.stats()
    assert (stats.stored, errors_of(stats)) == (100, {})
    assert stats.hits + stats.misses == 100 + 2 * 100


def test_a_lookup_that_waits_for_other_reads_is_a_miss_and_no_fault(fill: Make) -> None:
    """Many threads of an API server may look up DAGs at the same time, and a process has few connections."""
    store = fill(2)
    while store._turns.acquire(blocking=False):
        pass
    store._patience = 0.01
    assert found_in(store, 2) == []
    store._patience = PATIENCE
    assert (store.stats().is_passed_over, errors_of(store.stats())) == (False, {})
    store._turns.release()
    assert found_in(store, 2) == [0, 1]


def test_a_store_that_is_not_open_does_nothing_in_the_background_or_in_a_child(url: str) -> None:
    store = new_store(lambda: database_at(url))
    store._write_and_keep_up()
    store._after_fork_in_child()
    store.close()
    assert execute(url, "SELECT name FROM sqlite_master") == []


def test_what_waits_is_bounded(make: Make) -> None:
    store = make()
    for number in range(20):
        put(store, key_of(number), number, nbytes=2**20)
    assert len(store._waiting) == 9
    assert errors_of(store.stats()) == {"dropped": 11}


def test_a_record_has_the_facts_that_were_measured(make: Make) -> None:
    record = WarmRecord(b"\0bytes", 2**40, 3, 0.125, "f\u00fcr", -1)
    store = make()
    store.put(key_of(9), record)
    store.close()
    assert make().get_many([key_of(9)]) == {key_of(9): record}


# ---- forks ----


def test_a_forked_child_has_connections_of_its_own(fill: Make) -> None:
    """And the parent keeps those that it has."""
    store = fill(2)

    def child() -> None:
        opened(store)
        assert found_in(store, 2) == [0, 1]
        put(store, key_of(2), 2)
        store.close()

    assert outcome(fork(child)) == "0"
    put(store, key_of(3), 3)
    store._write_and_keep_up()
    assert found_in(store, 4) == [0, 1, 2, 3]
    assert errors_of(store.stats()) == {}


def test_the_steps_of_a_child_leave_the_connections_to_the_parent(fill: Make) -> None:
    """Without a fork: here a debugger can follow them."""
    store = fill(2)
    database = store._database
    put(store, key_of(5), 5)
    parents = store._repetition
    store._after_fork_in_child()
    assert parents is not None
    parents.end()
    assert (store._database, store._inherited, store._opening.opened) == (None, [database], None)
    opened(store)
    assert found_in(store, 6) == [0, 1]  # the parent writes what waits there
    assert database is not None
    database.close()


def test_a_child_of_a_busy_parent_is_not_blocked(fill: Make) -> None:
    """Another thread of the parent holds each lock."""
    store = fill(2)
    rows = store._opening.opened
    assert rows is not None

    def child() -> None:
        opened(store)
        assert found_in(store, 2) == [0, 1]

    results: list[str] = []

    def fork_in_thread() -> None:
        thread = threading.Thread(target=lambda: results.append(outcome(fork(child))))
        thread.start()
        thread.join(PATIENCE)

    forked: Callable[[], object] = fork_in_thread
    for lock in (store._opening._starting, store.counts._counting, rows._refreshing, rows.index._lock):
        forked = functools.partial(lock.run, forked)
    forked()
    assert results == ["0"]


# ---- any sequence ----


class _Stores(RuleBasedStateMachine):
    """Some processes with one database, against a model: a store never has a wrong record, nor one of a stale key."""

    @initialize()
    def begin(self) -> None:
        """Make the database."""
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "warm.db"
        path.touch()
        self.url = f"sqlite:///{path}"
        self.now = NanosecondClock()
        self.clock = ManualClock()
        self.stores = [self.open()]

    def open(self) -> DatabaseStore:
        """Another process."""
        return warm_database.make_store(self.url, now=self.now, clock=self.clock, max_bytes=2**11)

    @rule(number=st.integers(0, 5), content=st.integers(0, 2), which=st.integers(0, 9))
    def store(self, number: int, content: int, which: int) -> None:
        """Store a content, by one of the processes."""
        put(self.stores[which % len(self.stores)], key_of(number, f"hash {content}"), number)

    @rule(which=st.integers(0, 9))
    def write(self, which: int) -> None:
        """As a thread does once a second."""
        self.stores[which % len(self.stores)]._write_and_keep_up()

    @rule(which=st.integers(0, 9))
    def restart(self, which: int) -> None:
        """Replace a process."""
        self.stores.pop(which % len(self.stores)).close()
        self.stores.append(self.open())

    @rule()
    def begin_another(self) -> None:
        """Up to three."""
        if len(self.stores) < 3:
            self.stores.append(self.open())

    @rule(which=st.integers(0, 9), number=st.integers(0, 5))
    def forget(self, which: int, number: int) -> None:
        """In one process."""
        self.stores[which % len(self.stores)].forget([key_of(number, "hash 1")])

    @rule(seconds=st.sampled_from([REFRESH_SECONDS, 3600.0]))
    def wait(self, seconds: float) -> None:
        """Until the next refresh, or the next upkeep."""
        self.clock.advance(seconds)

    @invariant()
    def every_record_is_right(self) -> None:
        """For each process and key."""
        for store in self.stores:
            for dag_hash in ("hash 0", "hash 1", "hash 2"):
                found_in(store, 6, functools.partial(key_of, dag_hash=dag_hash))
            assert errors_of(store.stats()) == {}
            assert store.stats().forged == 0
        assert sum(row.nbytes for row in rows_in(self.url)) <= 2**11

    def teardown(self) -> None:
        """Close all."""
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            settled()
            self.folder.cleanup()


TestStores = _Stores.TestCase
TestStores.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
