"""Without the key, a writer to the folder gets nothing served; with an unsafe folder the store is off."""

from __future__ import annotations

import itertools
import logging
import os
import resource
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcache.warm_start import generation, version_index
from dagcache.warm_start.circuit_breaker import SLOWEST_SECONDS
from dagcache.warm_start.common_store import REFRESH_SECONDS
from dagcache.warm_start.folder import Folder
from dagcache.warm_start.inventory import clear
from dagcache.warm_start.opened_generation import MOST_PACKS
from dagcache.warm_start.store import WarmKey
from tests.support.clock import ManualClock
from tests.support.warm import (
    NanosecondClock,
    errors_of,
    filled,
    found_in,
    key_of,
    make_store,
    packs_of,
    record_of,
)

COUNT = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The folder of a store."""
    return tmp_path / "warm"


@pytest.fixture
def pack(path: Path) -> Path:
    """The pack of a process that has ended, with five records of one length."""
    filled(path, COUNT).close()
    return packs_of(path)[0]


def apart(number: int) -> WarmKey:
    """The key of a version whose id differs from the others in two bits or more, as the ids of Airflow do."""
    return key_of(3 * number)


@pytest.fixture
def pack_of_distant_ids(path: Path) -> Path:
    """A pack with `COUNT` records. With one flipped bit, none has the id of another one, which it would hide."""
    filled(path, COUNT, apart).close()
    return packs_of(path)[0]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_costs_at_most_one_record(
    path: Path, pack_of_distant_ids: Path, position: int, bit: int
) -> None:
    """No wrong record is served, wherever it is."""
    pack = pack_of_distant_ids
    whole = pack.read_bytes()
    damaged = bytearray(whole)
    damaged[position % len(whole)] ^= 1 << bit
    pack.write_bytes(damaged)
    store = make_store(path)
    assert len(found_in(store, COUNT, apart)) == COUNT - 1
    store.close()
    pack.write_bytes(whole)


def test_the_records_before_and_behind_any_cut_are_served(path: Path, pack: Path) -> None:
    """At every byte of the last record; and what another process then appends is found."""
    whole = pack.read_bytes()
    record = len(whole) // COUNT
    for length in range(len(whole) - record, len(whole)):
        pack.write_bytes(whole[:length])
        store = make_store(path)
        assert found_in(store, COUNT) == list(range(COUNT - 1)), length
        store.close()
        cut = whole[:length] + whole[:record]
        pack.write_bytes(cut)
        store = make_store(path)
        completed = cut.startswith(whole)  # the last byte of a tag may be the first one of a record
        assert found_in(store, COUNT) == list(range(COUNT - 1 + completed)), length
        store.close()


def test_garbage_between_records_is_skipped(path: Path, pack: Path) -> None:
    whole = pack.read_bytes()
    record = len(whole) // COUNT
    magic = whole[:8]
    pack.write_bytes(b"x" * 100_000 + whole[:record] + magic + b"\xff" * 70_000 + magic * 50 + whole[record:])
    assert found_in(make_store(path), COUNT) == list(range(COUNT))


def test_a_file_of_nothing_but_beginnings_is_given_up(path: Path, pack: Path) -> None:
    pack.write_bytes(pack.read_bytes()[:8] * 5000)
    assert found_in(make_store(path), COUNT) == []


def test_records_under_the_keys_of_others_are_not_served(path: Path, pack: Path) -> None:
    whole = pack.read_bytes()
    record = len(whole) // COUNT
    heads = [whole[number * record : number * record + 52] for number in range(COUNT)]
    bodies = [whole[number * record + 52 : (number + 1) * record] for number in range(COUNT)]
    pack.write_bytes(b"".join(head + body for head, body in zip(heads, [*bodies[1:], bodies[0]], strict=True)))
    store = make_store(path)
    assert found_in(store, COUNT) == []
    assert store.stats().forged == COUNT


def test_records_in_another_order_are_served(path: Path, pack: Path) -> None:
    """Their place means nothing."""
    whole = pack.read_bytes()
    record = len(whole) // COUNT
    pack.write_bytes(b"".join(whole[at : at + record] for at in range(len(whole) - record, -1, -record)))
    assert found_in(make_store(path), COUNT) == list(range(COUNT))


@pytest.mark.parametrize("changed", [{"digest": "4567"}, {"secret": b"another"}], ids=["fingerprint", "key"])
def test_a_pack_of_another_fingerprint_or_key_is_forged(
    path: Path, pack: Path, changed: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Though it lies in the folder of this one."""
    make_store(path, **changed).close()
    [other] = [each for each in path.iterdir() if each != pack.parent]
    shutil.copy(pack, other)
    store = make_store(path, **changed)
    assert found_in(store, COUNT) == []
    assert store.stats().forged == COUNT
    assert [record.getMessage() for record in caplog.records] == [
        f"a record of warm start in {path} is damaged or forged, and is not used"
    ]


def test_a_replayed_older_record_of_the_same_version_does_not_count(path: Path, pack: Path) -> None:
    """It is signed correctly. It was stored earlier, so the newer content stays; without that one it is a miss."""
    now = NanosecondClock()
    store = make_store(path, now=now)
    store.put(key_of(1, "newer"), record_of(1))
    store.close()
    newer = next(each for each in packs_of(path) if each != pack)
    record = pack.stat().st_size // COUNT
    old = pack.read_bytes()[record : 2 * record]
    newer.write_bytes(newer.read_bytes() + old)
    store = make_store(path, now=now)
    assert len(store.get_many([key_of(1, "newer")])) == 1
    store.close()
    for each in packs_of(path):
        each.unlink()
    newer.write_bytes(old)  # the newer one is gone: the database confirms its key, which the old record does not have
    newer.chmod(0o600)
    store = make_store(path, now=now)
    assert store.get_many([key_of(1, "newer")]) == {}
    assert store.stats().stale == 1


def _folder_of_another_user(path: Path, _: Path) -> str:
    os.chown(path, 65534, 65534)
    return "belongs to user 65534"


def _pack_of_another_user(_: Path, pack: Path) -> str:
    os.chown(pack, 65534, 65534)
    return "belongs to user 65534"


def _open_folder(path: Path, _: Path) -> str:
    path.chmod(0o750)
    return "has mode 0750, expected 0700"


def _open_generation(_: Path, pack: Path) -> str:
    pack.parent.chmod(0o701)
    return "has mode 0701, expected 0700"


def _open_pack(_: Path, pack: Path) -> str:
    pack.chmod(0o620)
    return "has mode 0620, expected 0600"


def _linked_folder(path: Path, _: Path) -> str:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    return "is a symbolic link"


def _linked_generation(_: Path, pack: Path) -> str:
    folder = pack.parent
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")
    return "is a symbolic link"


def _linked_pack(path: Path, pack: Path) -> str:
    pack.rename(path.with_name("elsewhere"))
    pack.symlink_to(path.with_name("elsewhere"))
    return "is a symbolic link"


def _pipe(_: Path, pack: Path) -> str:
    pack.unlink()
    os.mkfifo(pack, 0o600)
    return "is not a file"


UNSAFE = [
    _folder_of_another_user,
    _pack_of_another_user,
    _open_folder,
    _open_generation,
    _open_pack,
    _linked_folder,
    _linked_generation,
    _linked_pack,
    _pipe,
]


@pytest.mark.parametrize("change", UNSAFE)
def test_a_folder_or_file_that_others_may_have_written_turns_the_store_off(
    path: Path, pack: Path, change: Callable[[Path, Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    """With one ERROR line that names the path and the cause; nothing is read, and nothing is written."""
    if "another_user" in change.__name__ and os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    cause = change(path, pack)
    store = make_store(path)
    for _ in range(3):
        assert found_in(store, COUNT) == []
        store.put(key_of(9), record_of(9))
    assert errors_of(store.stats()) == {"folder": 1}
    assert store.stats().is_passed_over
    [line] = caplog.records
    assert line.levelno == logging.ERROR
    assert str(path) in line.getMessage()
    assert cause in line.getMessage()


def test_a_pack_that_others_can_write_turns_a_running_store_off(path: Path, pack: Path) -> None:
    clock = ManualClock()
    store = make_store(path, clock=clock)
    shutil.copy(pack, pack.with_name(f"x{pack.name}"))
    pack.with_name(f"x{pack.name}").chmod(0o666)
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, COUNT + 1) == list(range(COUNT))
    assert found_in(store, COUNT) == []


def test_the_modes_of_new_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        filled(tmp_path / "warm", 1)
    finally:
        os.umask(before)
    found = {each.stat().st_mode & 0o7777 for each in (tmp_path / "warm").rglob("*") if each.is_file()}
    assert found == {0o600}
    assert (tmp_path / "warm").stat().st_mode & 0o077 == 0


# ---- files of any size and number ----


class TickingClock:
    """Seconds that pass with each look: a loop that looks at the clock ends, and one that does not never does."""

    def __init__(self, tick: float = 0.001) -> None:
        self.now = 1000.0
        self.tick = tick

    def __call__(self) -> float:
        """The time."""
        self.now += self.tick
        return self.now


def test_a_lookup_reads_a_sparse_file_of_any_size_for_a_moment_only(path: Path, pack: Path) -> None:
    """And it reads the records of others first. A read per 64 KiB: the whole file takes 262,144 of them."""
    clock = TickingClock()
    store = make_store(path, clock=clock)
    sparse = pack.with_name("0-sparse.pack")
    sparse.touch(0o600)
    os.truncate(sparse, 16 * 2**30)
    behind = pack.with_name("1-behind.pack")
    shutil.copy(pack, behind)
    clock.now += REFRESH_SECONDS
    before = clock.now
    assert store.get_many([key_of(COUNT)]) == {}
    assert clock.now - before < SLOWEST_SECONDS
    opened = store._opened
    assert opened is not None
    assert 0 < opened._packs[sparse.name].scanned < 16 * 2**30
    assert opened._packs[behind.name].scanned == behind.stat().st_size


def test_a_scan_that_ended_early_is_continued(path: Path, pack: Path) -> None:
    """At any of its steps, and with damage between the records: in the end all of them are found."""
    whole = pack.read_bytes()
    record = len(whole) // COUNT
    pack.write_bytes(whole[:record] + b"x" * 200_000 + whole[record : 2 * record] + b"y" * 70_000 + whole[2 * record :])
    [found] = generation.packs_in(Folder.at(path, create=False).folder(pack.parent.name))
    offsets: list[int] = []
    looks = itertools.cycle([False, False, False, True])
    while found.scanned < found.size():
        offsets += [offset for offset, _ in found.scan(lambda: next(looks))]
    second = record + 200_000
    assert offsets == [0, second, *(second + record + 70_000 + number * record for number in range(3))]


def test_packs_in_any_number_take_few_file_descriptors(path: Path, pack: Path) -> None:
    """A process that has no descriptor left cannot even talk to its database."""
    for number in range(2 * MOST_PACKS):
        pack.with_name(f"z{number}.pack").touch(0o600)
    before = len(os.listdir("/proc/self/fd"))
    store = make_store(path)
    assert found_in(store, COUNT) == list(range(COUNT))
    assert len(os.listdir("/proc/self/fd")) <= before + MOST_PACKS + 4


def test_the_command_counts_and_clears_more_packs_than_a_process_can_open(path: Path, pack: Path) -> None:
    for number in range(80):
        pack.with_name(f"z{number}.pack").touch(0o600)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 40, limits[1]))
    try:
        [found] = clear(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (found.packs, found.records) == (81, COUNT)
    assert list(path.iterdir()) == []


def test_heads_of_records_in_any_number_take_a_bounded_memory(
    path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not signed. The process's own records are known all the same."""
    monkeypatch.setattr(version_index, "MOST_VERSIONS", COUNT - 2)
    store = make_store(path)
    assert store.stats().records == COUNT - 2
    store.put(key_of(COUNT), record_of(COUNT))
    assert found_in(store, COUNT + 1) == [0, 1, 2, COUNT]


@pytest.mark.parametrize(("packs", "is_cleared"), [(1, True), (3, True), (100, False)])
def test_a_folder_is_cleared_while_processes_create_packs(
    path: Path, pack: Path, packs: int, is_cleared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that comes between the removal of the files and that of the folder is removed, too; not without end."""
    remove_folder, coming = Folder.remove_folder, iter(range(packs))

    def remove_later(folder: Folder, name: str) -> None:
        for number in itertools.islice(coming, 1):
            pack.with_name(f"x{number}.pack").touch(0o600)
        remove_folder(folder, name)

    monkeypatch.setattr(Folder, "remove_folder", remove_later)
    with nullcontext() if is_cleared else pytest.raises(OSError, match="not empty"):
        clear(path)
    assert path.joinpath(pack.parent.name).exists() is not is_cleared
