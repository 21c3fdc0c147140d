"""Compaction by the process that starts, and generations that leave."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dagcache.warm_start import compaction, opened_generation
from dagcache.warm_start.common_store import REFRESH_SECONDS
from dagcache.warm_start.disk import DiskStore
from dagcache.warm_start.generation import DESCRIPTION, UNUSED_SECONDS
from dagcache.warm_start.inventory import ForeignError, clear, inventory
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.opened_generation import OpenedGeneration
from dagcache.warm_start.pack import UNFINISHED, Pack
from tests.support.clock import ManualClock
from tests.support.patience import PATIENCE
from tests.support.warm import (
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

WEEK = UNUSED_SECONDS * 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The folder of a store."""
    return tmp_path / "warm"


def many_packs(path: Path, packs: int = 6, each: int = 3, first: int = 0) -> int:
    """Processes that have ended, with a pack each; the number behind the last record."""
    now = NanosecondClock()
    stores = [make_store(path, now=now) for _ in range(packs)]
    for number, store in enumerate(stores):
        for record in range(first + number * each, first + (number + 1) * each):
            store.put(key_of(record), record_of(record))
    for store in stores:
        store.close()
    return first + packs * each


def test_the_packs_of_ended_processes_become_one(path: Path) -> None:
    count = many_packs(path)
    before = sum(pack.stat().st_size for pack in packs_of(path))
    store = make_store(path)
    assert [pack.stat().st_size for pack in packs_of(path)] == [before]
    assert found_in(store, count) == list(range(count))
    assert store.versions_near(key_of(7).version_id, 2) == [key_of(7).version_id, key_of(8).version_id]
    store.close()
    assert found_in(make_store(path), count) == list(range(count))


def test_few_packs_without_waste_stay(path: Path) -> None:
    many_packs(path, packs=3)
    before = packs_of(path)
    make_store(path)
    assert packs_of(path) == before


def test_only_the_newest_content_of_a_version_stays(path: Path) -> None:
    now = NanosecondClock()
    store = make_store(path, now=now)
    for content in range(10):
        store.put(key_of(1, f"hash {content}"), record_of(1))
    store.close()
    size = packs_of(path)[0].stat().st_size
    store = make_store(path, now=now)
    assert packs_of(path)[0].stat().st_size == size // 10
    assert len(store.get_many([key_of(1, "hash 9")])) == 1


def test_damaged_records_do_not_stay(path: Path) -> None:
    many_packs(path, packs=6, each=2)
    damaged = bytearray(packs_of(path)[0].read_bytes())
    damaged[-1] ^= 1
    packs_of(path)[0].write_bytes(damaged)
    store = make_store(path)
    assert len(packs_of(path)) == 1
    assert len(found_in(store, 12)) == 11
    assert store.stats().forged == 0


def test_beyond_the_limit_the_records_that_were_stored_last_stay_and_new_ones_have_room(path: Path) -> None:
    filled(path, 1000).close()
    limit = packs_of(path)[0].stat().st_size // 2
    store = make_store(path, max_bytes=limit)
    found = found_in(store, 1000)
    assert found == list(range(1000 - len(found), 1000))
    assert 0.7 * limit < packs_of(path)[0].stat().st_size <= 0.75 * limit
    for number in range(1000, 1100):
        store.put(key_of(number), record_of(number))
    assert errors_of(store.stats()) == {}


def test_a_store_far_beyond_the_limit_of_one_record_is_emptied(path: Path) -> None:
    filled(path, 20).close()
    store = make_store(path, max_bytes=10)
    assert packs_of(path) == []
    assert found_in(store, 20) == []


def test_the_pack_of_a_live_writer_stays(path: Path) -> None:
    alive = filled(path, 1)
    [live_pack] = packs_of(path)
    count = many_packs(path, first=1)
    store = make_store(path)
    assert len(packs_of(path)) == 2
    assert live_pack in packs_of(path)
    alive.put(key_of(count), record_of(count))
    alive.put(key_of(count + 1), record_of(count + 1))
    store.close()
    assert found_in(make_store(path), count + 2) == list(range(count + 2))


def test_readers_follow_their_records_to_the_new_pack(path: Path) -> None:
    count = many_packs(path, packs=3)
    reader = make_store(path)
    many_packs(path, packs=3, first=count)
    make_store(path)
    assert all(pack.is_removed() for pack in _packs(reader))
    assert found_in(reader, count) == list(range(count))
    assert not any(pack.is_removed() for pack in _packs(reader))


def _packs(store: DiskStore) -> list[Pack]:
    assert store._opened is not None
    return list(store._opened._packs.values())


def test_a_compaction_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = many_packs(path)
    before = packs_of(path)

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pack, "append", fail)
    store = make_store(path)
    assert packs_of(path) == before
    assert not list(path.glob(f"*/{UNFINISHED}*"))
    assert errors_of(store.stats()) == {"write": 1}
    assert found_in(store, count) == list(range(count))


STARTER = """
import sys
from pathlib import Path
from tests.support.warm import make_store, found_in
sys.stdin.readline()
store = make_store(Path(sys.argv[1]))
print(len(found_in(store, int(sys.argv[2]))))
sys.stdin.readline()
print(len(found_in(store, int(sys.argv[2]))))
"""


def test_two_processes_that_start_at_the_same_time_both_have_everything(path: Path) -> None:
    count = many_packs(path, packs=8, each=10)
    command = [sys.executable, "-c", STARTER, str(path), str(count)]
    starters = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    try:
        for _ in range(2):
            for each in starters:
                print(file=each.stdin)
            for each in starters:
                assert each.stdout is not None
                assert each.stdout.readline() == f"{count}\n"
    finally:
        for each in starters:
            each.communicate()
    assert found_in(make_store(path), count) == list(range(count))


def test_a_process_whose_packs_another_one_compacts_finds_their_records_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has opened them, and leaves the compaction to the other one. It does not wait for a refresh."""
    count = many_packs(path)
    late = OpenedGeneration(
        path,
        digest="0123abcd",
        parts={},
        signing=SigningKey(SECRET, "0123abcd"),
        max_bytes=2**20,
        now=NanosecondClock(),
        clock=ManualClock(),
    )
    assert found_in(make_store(path), count) == list(range(count))
    monkeypatch.setattr(opened_generation, "compact", lambda *_: None)  # the other one has the locks
    late.compact()
    assert len(late.index) == count


def test_two_threads_compact_different_packs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step: the second one starts while the first one is about to give its pack a name."""
    count = many_packs(path)
    reached, go_on = threading.Event(), threading.Event()
    publish = Pack.publish

    def wait(pack: Pack, folder: object) -> None:
        if not reached.is_set():
            reached.set()
            assert go_on.wait(PATIENCE)
        publish(pack, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(Pack, "publish", wait)
    first: list[DiskStore] = []
    thread = threading.Thread(target=lambda: first.append(make_store(path)))
    thread.start()
    assert reached.wait(PATIENCE)
    second = DiskStore(
        path,
        digest="0123abcd",
        parts={},
        secret=lambda: SECRET,
        max_bytes=2**20,
        clock=ManualClock(),
        now=NanosecondClock(),
    )
    second._opening._state = type(second._opening._state).OPENING
    second._opening._open()  # in this thread, without a time limit
    assert found_in(second, count) == list(range(count))
    go_on.set()
    thread.join(PATIENCE)
    assert found_in(second, count) == list(range(count))
    assert found_in(first[0], count) == list(range(count))


# ---- generations ----


def test_a_generation_of_another_fingerprint_leaves_after_seven_days(path: Path) -> None:
    filled(path, 3, digest="old").close()
    written = max(each.stat().st_mtime for each in path.rglob("*"))
    make_store(path, now=NanosecondClock(int(written * 10**9) + WEEK - 10**9)).close()
    assert len(inventory(path)) == 2
    make_store(path, now=NanosecondClock(int(written * 10**9) + WEEK + 10**12)).close()
    assert [each.digest for each in inventory(path)] == ["0123abcd"]


def test_a_generation_with_a_live_writer_stays(path: Path) -> None:
    old = filled(path, 3, digest="old")
    written = max(each.stat().st_mtime for each in path.rglob("*"))
    make_store(path, now=NanosecondClock(int(written * 10**9) + 2 * WEEK)).close()
    assert len(inventory(path)) == 2
    assert found_in(old, 3) == [0, 1, 2]


def test_a_generation_that_a_process_only_reads_is_in_use_and_stays(path: Path) -> None:
    """As after a restart in which the store has every version: nothing is written."""
    filled(path, 3, digest="old").close()
    reader = make_store(path, digest="old")
    assert [each.is_in_use for each in inventory(path)] == [True]
    written = max(each.stat().st_mtime for each in path.rglob("*"))
    make_store(path, now=NanosecondClock(int(written * 10**9) + 2 * WEEK)).close()
    assert {each.digest for each in inventory(path)} == {"old", "0123abcd"}
    assert found_in(reader, 3) == [0, 1, 2]


def test_a_generation_that_was_left_is_not_in_use(path: Path) -> None:
    filled(path, 3).close()
    make_store(path).close()
    assert [each.is_in_use for each in inventory(path)] == [False]


def test_a_process_that_opens_a_generation_while_it_is_examined_is_seen_after_the_next_refresh(path: Path) -> None:
    """The examination excludes its lock for an instant."""
    filled(path, 3).close()
    [name] = [each.name for each in path.iterdir()]
    examined = os.open(path / name, os.O_RDONLY)
    fcntl.flock(examined, fcntl.LOCK_EX | fcntl.LOCK_NB)
    clock = ManualClock()
    reader = make_store(path, clock=clock)
    os.close(examined)
    assert [each.is_in_use for each in inventory(path)] == [False]
    clock.advance(REFRESH_SECONDS)
    assert found_in(reader, 4) == [0, 1, 2]
    assert [each.is_in_use for each in inventory(path)] == [True]


def test_an_old_generation_with_a_foreign_file_keeps_it(path: Path) -> None:
    filled(path, 3, digest="old").close()
    [generation] = path.iterdir()
    (generation / "mine.txt").touch()
    written = max(each.stat().st_mtime for each in path.rglob("*"))
    make_store(path, now=NanosecondClock(int(written * 10**9) + 2 * WEEK)).close()
    assert [each.name for each in generation.iterdir()] == ["mine.txt"]


def test_an_inventory_needs_no_key(path: Path) -> None:
    filled(path, 3, digest="old").close()
    store = filled(path, 4)
    found = {each.digest: each for each in inventory(path)}
    assert {digest: each.records for digest, each in found.items()} == {"old": 3, "0123abcd": 4}
    assert [found["old"].is_in_use, found["0123abcd"].is_in_use] == [False, True]
    assert found["0123abcd"].parts["python"] == "3.11"
    assert found["0123abcd"].nbytes == store.stats().bytes_written
    store.put(key_of(9), record_of(9))
    assert found_in(store, 10) == [0, 1, 2, 3, 9]


def test_clearing_removes_all_and_running_processes_begin_with_an_empty_store(path: Path) -> None:
    clock = ManualClock()
    filled(path, 3, digest="old").close()
    store = filled(path, 4, clock=clock)
    assert sum(each.records for each in clear(path)) == 7
    assert list(path.iterdir()) == []
    assert found_in(store, 4) == []
    clock.advance(REFRESH_SECONDS)
    store.put(key_of(8), record_of(8))
    settled()
    assert found_in(store, 9) == [8]


@pytest.mark.parametrize("foreign", ["airflow.cfg", f"{'0' * 32}/notes.txt"])
def test_clearing_refuses_a_folder_with_other_content(path: Path, foreign: str) -> None:
    filled(path, 3).close()
    (path / foreign).parent.mkdir(mode=0o700, exist_ok=True)
    (path / foreign).touch()
    with pytest.raises(ForeignError, match=Path(foreign).name):
        clear(path)
    assert found_in(make_store(path), 3) == [0, 1, 2]
    assert (path / foreign).exists()


def test_generations_are_named_by_fingerprint_and_key(path: Path) -> None:
    for digest in ("a", "b"):
        for secret in (b"one", b"two"):
            make_store(path, digest=digest, secret=secret).close()
    assert len(list(path.iterdir())) == 4
    assert all(os.listdir(each) == [DESCRIPTION] for each in path.iterdir())


def test_batches_of_a_compaction_are_written_by_one_call_each(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_BATCH_BYTES", 1000)
    count = many_packs(path, packs=6, each=20)
    assert found_in(make_store(path), count) == list(range(count))


def test_records_that_others_depend_on_stay_beyond_the_limit(path: Path) -> None:
    """Those without a time of change, such as dictionaries; they were stored first."""
    store = make_store(path)
    dictionary = key_of(10_000, last_updated="")
    store.put(dictionary, record_of(0))
    for number in range(100):
        store.put(key_of(number), record_of(number))
    store.close()
    store = make_store(path, max_bytes=packs_of(path)[0].stat().st_size // 4)
    assert len(store.get_many([dictionary])) == 1
    found = found_in(store, 100)
    assert found == list(range(100 - len(found), 100))
    assert 0 < len(found) < 25
    for number in range(200, 300):
        store.put(key_of(number), record_of(number))
    assert errors_of(store.stats()).keys() == {"full"}
    store.put(key_of(20_000, last_updated=""), record_of(1))
    assert len(store.get_many([key_of(20_000, last_updated="")])) == 1
