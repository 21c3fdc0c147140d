"""The store on disk: what one process stores, the next one has."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dagcache.warm_start import version_index
from dagcache.warm_start.circuit_breaker import SLOWEST_SECONDS
from dagcache.warm_start.common_store import REFRESH_SECONDS
from dagcache.warm_start.disk import DiskStore
from dagcache.warm_start.generation import DESCRIPTION
from dagcache.warm_start.index import Location
from dagcache.warm_start.store import WarmKey, WarmRecord, WarmStore
from tests.support.children import fork, outcome
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE
from tests.support.warm import (
    LATER,
    SECRET,
    NanosecondClock,
    errors_of,
    filled,
    found_in,
    key_of,
    make_store,
    packs_of,
    record_of,
    settled,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The folder of a store, which does not exist yet."""
    return tmp_path / "warm"


def test_a_restarted_process_has_the_records_of_its_predecessor(path: Path) -> None:
    filled(path, 20).close()
    store: WarmStore = make_store(path)
    assert isinstance(store, DiskStore)
    assert found_in(store, 21) == list(range(20))
    stats = store.stats()
    assert (stats.hits, stats.misses, stats.records) == (20, 1, 20)
    assert stats.bytes_read == packs_of(path)[0].stat().st_size


def test_records_can_be_read_by_the_process_that_stored_them(path: Path) -> None:
    store = filled(path, 3)
    assert found_in(store, 3) == [0, 1, 2]
    assert store.stats().bytes_written == packs_of(path)[0].stat().st_size


def test_a_call_does_not_wait_for_a_key_that_does_not_come(path: Path) -> None:
    """The command that prints the key may hang. The store serves as soon as it is open."""
    filled(path, 2).close()
    comes = threading.Event()

    def secret() -> bytes:
        comes.wait()
        return SECRET

    store = DiskStore(path, digest="0123abcd", parts={}, secret=secret, max_bytes=2**20)
    try:
        assert found_in(store, 2) == []
        store.put(key_of(2), record_of(2))
        assert errors_of(store.stats()) == {}
    finally:
        comes.set()
    settled()
    assert found_in(store, 3) == [0, 1, 2]


def test_nothing_is_written_before_the_first_record(path: Path) -> None:
    make_store(path)
    assert packs_of(path) == []


def test_a_content_that_is_stored_is_not_stored_again(path: Path) -> None:
    store = filled(path, 2)
    store.put(key_of(1), record_of(1))
    assert store.stats().stored == 2


@pytest.mark.parametrize("other", [key_of(1, "other"), key_of(1, last_updated=LATER)], ids=["hash", "time"])
def test_another_content_of_a_version_is_stale(path: Path, other: WarmKey) -> None:
    store = filled(path, 2)
    assert store.get_many([other]) == {}
    assert (store.stats().stale, store.stats().misses) == (1, 1)


def test_the_content_that_was_stored_last_counts_also_after_a_restart(path: Path) -> None:
    """It need not have the later time of change: a database may have been restored."""
    now = NanosecondClock()
    store = make_store(path, now=now)
    for last_updated in ("2026-01-02T00:00:00.000000+00:00", "2026-01-01T00:00:00.000000+00:00"):
        store.put(key_of(1, last_updated=last_updated), record_of(1))
    store.close()
    again = make_store(path, now=now)
    assert again.get_many([key_of(1, last_updated="2026-01-02T00:00:00.000000+00:00")]) == {}
    assert len(again.get_many([key_of(1, last_updated="2026-01-01T00:00:00.000000+00:00")])) == 1


def test_versions_are_listed_in_the_order_of_storing(path: Path) -> None:
    filled(path, 10).close()
    store = make_store(path)
    assert store.versions_near(UUID(int=6), 3) == [UUID(int=number) for number in (6, 7, 8)]
    assert store.versions_near(UUID(int=8), 100) == [UUID(int=number) for number in (8, 9)]
    assert store.versions_near(UUID(int=8), 0) == []
    assert store.versions_near(UUID(int=99), 3) == []


def test_a_forgotten_record_is_not_returned_until_it_is_stored_again(path: Path) -> None:
    store = filled(path, 4)
    store.forget([key_of(1), key_of(99), key_of(2, "other")])
    assert found_in(store, 4) == [0, 2, 3]
    assert store.versions_near(UUID(int=0), 2) == [UUID(int=0), UUID(int=2)]
    store.put(key_of(1), record_of(1))
    assert found_in(store, 4) == [0, 1, 2, 3]
    assert store.versions_near(UUID(int=3), 2) == [UUID(int=3), UUID(int=1)]


def test_a_forgotten_record_does_not_come_back_with_a_refresh(path: Path) -> None:
    clock = ManualClock()
    store = make_store(path, clock=clock)
    filled(path, 2)
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 2) == [0, 1]
    store.forget([key_of(1)])
    store.refused(key_of(0))
    filled(path, 2, digest="x").close()  # no change of this generation
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 2) == []
    assert store.stats().refused == 1


def test_records_of_other_processes_are_found_within_seconds(path: Path) -> None:
    clock = ManualClock()
    store = make_store(path, clock=clock)
    other = filled(path, 3)
    assert found_in(store, 3) == []
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 3) == [0, 1, 2]
    other.put(key_of(3), record_of(3))
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 4) == [0, 1, 2, 3]


def test_a_version_of_another_process_is_near_within_seconds(path: Path) -> None:
    """A lookup may end with this question: an unknown version is a miss."""
    clock = ManualClock()
    store = make_store(path, clock=clock)
    before = store.stats().misses
    filled(path, 3)
    assert store.versions_near(UUID(int=1), 9) == []
    assert store.stats().misses == before + 1
    clock.advance(REFRESH_SECONDS)
    assert store.versions_near(UUID(int=1), 9) == [UUID(int=1), UUID(int=2)]
    assert store.stats().misses == before + 1


@pytest.mark.parametrize("changed", [{"digest": "4567"}, {"secret": b"another secret"}], ids=["fingerprint", "key"])
def test_another_fingerprint_or_key_begins_with_an_empty_store(path: Path, changed: dict[str, object]) -> None:
    filled(path, 3).close()
    store = make_store(path, **changed)
    assert found_in(store, 3) == []
    assert store.stats().forged == 0


def test_a_generation_is_described_for_people_without_its_key(path: Path) -> None:
    filled(path, 1)
    [description] = path.glob(f"*/{DESCRIPTION}")
    assert '"python": "3.11"' in description.read_text()
    assert SECRET.decode() not in description.read_text()
    opened = make_store(path)._opened
    assert opened is not None
    assert opened.signing._key.hex() not in description.read_text()


def test_a_clock_that_was_ahead_once_does_not_hide_later_records(path: Path) -> None:
    now = NanosecondClock()
    store = make_store(path, now=now)
    ahead = make_store(path, now=NanosecondClock(now.now + 10**18))
    ahead.put(key_of(1), record_of(1))  # the other process does not know it
    store.put(key_of(1, "other"), record_of(1))
    store.close()
    assert len(make_store(path, now=now).get_many([key_of(1, "other")])) == 1


def test_a_batch_ends_after_half_the_longest_wait(path: Path) -> None:
    clock = ManualClock()
    store = filled(path, 9, clock=clock)
    opened = store._opened
    assert opened is not None
    read = opened.read

    def read_slowly(location: Location) -> bytes:
        clock.advance(SLOWEST_SECONDS / 5)
        return read(location)

    opened.read = read_slowly  # type: ignore[method-assign]
    assert len(found_in(store, 9)) == 3
    assert not store.stats().is_passed_over


def test_a_closed_store_does_nothing(path: Path) -> None:
    store = filled(path, 2)
    store.close()
    store.close()
    store.put(key_of(5), record_of(5))
    store.forget([key_of(0)])
    assert store.get_many([key_of(0)]) == {}
    assert store.versions_near(UUID(int=0), 3) == []
    assert store.stats().stored == 2
    assert found_in(make_store(path), 9) == [0, 1]


def test_threads_store_and_find_at_the_same_time(path: Path) -> None:
    store = make_store(path)

    def work(first: int) -> None:
        for number in range(first, 200, 4):
            store.put(key_of(number), record_of(number))
            store.get_many([key_of(number), key_of(number + 4)])

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found_in(store, 200) == list(range(200))
    stats = store.stats()
    assert (stats.stored, errors_of(stats)) == (200, {})
    assert stats.hits + stats.misses == 200 + 2 * 200
    assert found_in(make_store(path), 200) == list(range(200))


def test_a_put_does_not_wait_for_one_that_hangs(path: Path) -> None:
    """The other thread writes the record afterwards."""
    store = make_store(path)

    def hang() -> None:
        store.put(key_of(2), record_of(2))
        assert store.stats().stored == 0

    store._waiting.append((key_of(1), record_of(1)))

    def write() -> None:
        _in_thread(hang)
        store._write_all(math.inf)

    store._writing.run(write)
    assert found_in(store, 3) == [1, 2]


def test_what_waits_is_bounded(path: Path) -> None:
    store = make_store(path)
    wide = replace(record_of(1), data=bytes(2**20))

    def hang() -> None:
        for number in range(20):
            store.put(key_of(number), wide)

    store._writing.run(_in_thread, hang)
    assert len(store._waiting) == 9
    assert errors_of(store.stats()) == {"dropped": 11}


def being_opened(store: DiskStore) -> None:
    """As a store is while another thread opens it."""
    opened = store._opened
    assert opened is not None
    store._opening.lose(opened)
    store._opening._state = type(store._opening._state).OPENING


def _in_thread(action: object) -> None:
    thread = threading.Thread(target=action)  # type: ignore[arg-type]
    thread.start()
    thread.join(PATIENCE)


# ---- forks ----


def test_a_forked_child_reads_on_and_writes_a_pack_of_its_own(path: Path) -> None:
    store = filled(path, 2)

    def child() -> None:
        assert found_in(store, 2) == [0, 1]
        for number in (2, 3):
            store.put(key_of(number), record_of(number))
        assert found_in(store, 4) == [0, 1, 2, 3]

    assert outcome(fork(child)) == "0"
    store.put(key_of(4), record_of(4))
    assert len(packs_of(path)) == 2
    assert found_in(make_store(path), 5) == [0, 1, 2, 3, 4]


def test_a_child_of_a_busy_parent_is_not_blocked(path: Path) -> None:
    """Another thread of the parent holds each lock, and the store is being opened."""
    store, opening = filled(path, 2), make_store(path)
    being_opened(opening)

    def child() -> None:
        store.put(key_of(2), record_of(2))
        assert found_in(store, 3) == [0, 1, 2]
        assert found_in(opening, 0) == []
        settled()
        assert found_in(opening, 2) == [0, 1]

    def fork_in_thread() -> None:
        _in_thread(lambda: results.append(outcome(fork(child))))

    results: list[str] = []
    forked: Callable[[], object] = fork_in_thread
    opened = store._opened
    assert opened is not None
    of_store = (store._writing, store._opening._starting, store.counts._counting)
    for lock in (*of_store, opened._refreshing, opened.index._lock):
        forked = functools.partial(lock.run, forked)
    forked()
    assert results == ["0"]


def test_the_steps_of_a_child_leave_the_pack_to_the_parent(path: Path) -> None:
    """Without a fork: here a debugger can follow them."""
    store = filled(path, 2)
    store._after_fork_in_child()
    store.put(key_of(2), record_of(2))
    assert len(packs_of(path)) == 2
    assert found_in(store, 3) == [0, 1, 2]
    store._after_fork_in_child()
    being_opened(store)
    store._after_fork_in_child()
    assert found_in(store, 0) == []
    settled()
    assert found_in(store, 3) == [0, 1, 2]


def test_forgotten_records_take_little_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_index, "_MOST_FORGOTTEN", 10)
    store = filled(path, 25)
    store.forget([key_of(number) for number in range(25)])
    assert found_in(store, 25) == []
    assert store._opened is not None
    assert len(store._opened.index._forgotten) == 5


class _Stores(RuleBasedStateMachine):
    """Some processes with one folder, against a model: a store never has a wrong record, nor one of a stale key."""

    @initialize()
    def begin(self) -> None:
        """Make the folder."""
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "warm"
        self.now = NanosecondClock()
        self.clock = ManualClock()
        self.newest: dict[int, WarmKey] = {}
        self.stores = [self.open()]

    def open(self) -> DiskStore:
        """Another process."""
        return make_store(self.path, now=self.now, clock=self.clock, max_bytes=2**14)

    @rule(number=st.integers(0, 5), content=st.integers(0, 2), which=st.integers(0, 9))
    def put(self, number: int, content: int, which: int) -> None:
        """Store a content, by one of the processes."""
        key = key_of(number, f"hash {content}")
        self.stores[which % len(self.stores)].put(key, record_of(number))
        self.newest[number] = key

    @rule(which=st.integers(0, 9))
    def restart(self, which: int) -> None:
        """Replace a process."""
        self.stores.pop(which % len(self.stores)).close()
        self.stores.append(self.open())

    @rule()
    def begin_another(self) -> None:
        """Up to four."""
        if len(self.stores) < 4:
            self.stores.append(self.open())

    @rule(which=st.integers(0, 9), number=st.integers(0, 5))
    def forget(self, which: int, number: int) -> None:
        """In one process."""
        self.stores[which % len(self.stores)].forget([key_of(number, "hash 1")])

    @rule()
    def wait(self) -> None:
        """Until the next refresh."""
        self.clock.advance(REFRESH_SECONDS)

    @invariant()
    def every_record_is_right(self) -> None:
        """For each process and key."""
        for store in self.stores:
            for content in range(3):
                found_in(store, 6, lambda number, content=content: key_of(number, f"hash {content}"))  # type: ignore[misc]
            assert errors_of(store.stats()).keys() <= {"full"}
            assert store.stats().forged == 0

    def teardown(self) -> None:
        """Close all."""
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            self.folder.cleanup()


TestStores = _Stores.TestCase
TestStores.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_a_record_has_the_facts_that_were_measured(path: Path) -> None:
    record = WarmRecord(b"\0bytes", 2**40, 3, 0.125, "f\u00fcr", -1)
    filled(path, 1).put(key_of(9), record)
    assert make_store(path).get_many([key_of(9)]) == {key_of(9): record}
