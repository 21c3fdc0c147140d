"""Disks that fail, files that vanish, processes that are killed: lookups are served as without the store."""

from __future__ import annotations

import errno
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dagcache.warm_start import disk
from dagcache.warm_start.circuit_breaker import PAUSE_SECONDS, SLOWEST_SECONDS
from dagcache.warm_start.common_store import REFRESH_SECONDS
from dagcache.warm_start.generation import DESCRIPTION
from dagcache.warm_start.index import Location
from dagcache.warm_start.inventory import inventory
from dagcache.warm_start.opened_generation import OpenedGeneration
from dagcache.warm_start.pack import SUFFIX, UNFINISHED
from dagcache.warm_start.store import WarmKey, WarmRecord
from tests.support.children import fork, outcome
from tests.support.clock import ManualClock
from tests.support.warm import errors_of, filled, found_in, key_of, make_store, packs_of, record_of, settled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The folder of a store."""
    return tmp_path / "warm"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a tmpfs with some options, where this machine lets tests do so."""
    made: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / "mounted"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("this user cannot mount a file system")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", "-l", folder], check=True)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log."""
    return [record.getMessage() for record in caplog.records]


def test_a_full_disk_ends_writing_and_not_reading(
    mounted: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    folder = mounted("size=64k") / "warm"
    store = make_store(folder, clock=clock)
    for number in range(200):
        store.put(key_of(number), record_of(number, 2000))
    stored = store.stats().stored
    assert 10 < stored < 60
    assert errors_of(store.stats()) == {"write": 1, "dropped": 199 - stored}
    [line] = messages(caplog)
    assert re.fullmatch(rf"warm start passes over {folder} for 30 s: write failed \(.*\)", line)
    found = store.get_many([key_of(number) for number in range(200)])
    assert len(found) == stored
    # After half a minute it tries again; the cut-off record of the last try is not in the way.
    size = sum(pack.stat().st_size for pack in packs_of(folder))
    subprocess.run(["mount", "-o", "remount,size=1m", folder.parent], check=True)
    clock.advance(PAUSE_SECONDS)
    store.put(key_of(500), record_of(500))
    assert store.stats().stored == stored + 1
    assert store.stats().bytes_written == sum(pack.stat().st_size for pack in packs_of(folder)) > size
    assert len(store.get_many([key_of(500)])) == 1


def test_a_part_of_a_record_is_cut_off_again(path: Path) -> None:
    """A limit of the file's size makes the kernel write a part. In a child: the limit cannot be taken back."""
    filled(path, 3).close()

    def child() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        clock = ManualClock()
        store = make_store(path, clock=clock)
        store.put(key_of(3), record_of(3))
        own = packs_of(path)[-1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (own.stat().st_size + 50, resource.RLIM_INFINITY))
        size = own.stat().st_size
        store.put(key_of(4), record_of(4))
        assert own.stat().st_size == size
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        clock.advance(PAUSE_SECONDS)
        store.put(key_of(5), record_of(5))
        assert errors_of(store.stats()) == {"write": 1}
        assert found_in(store, 6) == [0, 1, 2, 3, 5]

    assert outcome(fork(child)) == "0"
    assert found_in(make_store(path), 6) == [0, 1, 2, 3, 5]


def test_a_read_only_folder_is_read(mounted: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = mounted("size=1m") / "warm"
    filled(folder, 3).close()
    subprocess.run(["mount", "-o", "remount,ro", folder.parent], check=True)
    store = make_store(folder)
    store.put(key_of(9), record_of(9))
    assert found_in(store, 10) == [0, 1, 2]
    assert errors_of(store.stats()) == {"write": 1}
    assert messages(caplog) == [f"warm start passes over {folder} for 30 s: write failed (Read-only file system)"]


def test_a_folder_without_a_parent_is_tried_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    store = make_store(path / "warm", clock=clock)
    store.put(key_of(1), record_of(1))
    assert errors_of(store.stats()) == {"open": 1}
    assert store.stats().is_passed_over
    assert "No such file or directory" in messages(caplog)[0]
    path.mkdir()
    clock.advance(PAUSE_SECONDS)
    store.put(key_of(2), record_of(2))
    settled()
    assert found_in(store, 3) == [1, 2]


def test_a_pack_that_is_removed_under_the_process_is_missed(path: Path) -> None:
    """Also the one that it writes: it begins another one."""
    clock = ManualClock()
    filled(path, 2).close()
    store = make_store(path, clock=clock)
    store.put(key_of(2), record_of(2))
    for pack in packs_of(path):
        pack.unlink()
    assert found_in(store, 3) == []
    store.put(key_of(1), record_of(1))
    assert found_in(store, 3) == [1]
    assert len(packs_of(path)) == 1
    assert errors_of(store.stats()) == {}


def test_a_folder_that_is_removed_under_the_process_is_made_again(path: Path) -> None:
    clock = ManualClock()
    store = filled(path, 2, clock=clock)
    shutil.rmtree(path)
    assert found_in(store, 2) == []
    clock.advance(REFRESH_SECONDS)
    store.put(key_of(3), record_of(3))
    settled()
    assert found_in(store, 5) == [3]
    assert errors_of(store.stats()) == {}


def test_a_folder_that_is_removed_and_written_to_at_once_is_made_again_later(path: Path) -> None:
    clock = ManualClock()
    store = make_store(path, clock=clock)
    shutil.rmtree(path)
    store.put(key_of(3), record_of(3))
    assert errors_of(store.stats()) == {"write": 1}
    clock.advance(PAUSE_SECONDS)
    store.put(key_of(4), record_of(4))
    settled()
    assert found_in(store, 5) == [4]


def test_a_pack_that_is_cut_off_under_the_process_is_a_miss(path: Path) -> None:
    """No signal kills the process, as it would with a memory map."""
    filled(path, 3).close()
    store = make_store(path)
    os.truncate(packs_of(path)[0], 10)
    assert found_in(store, 3) == []
    assert store.stats().forged == 3
    store.put(key_of(1), record_of(1))
    assert found_in(store, 3) == [1]


KILLED = """
import os, sys
from pathlib import Path
from tests.support.warm import make_store, key_of, record_of
store = make_store(Path(sys.argv[1]))
for number in range(100):
    store.put(key_of(number), record_of(number, 1000))
own = store._opened._own
whole = own.read(0, 1200)
os.write(own._opened.number, whole[:700])
print("written", flush=True)
sys.stdin.read()
"""


def test_a_writer_that_is_killed_in_the_middle_of_a_record_loses_no_other(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        alive = make_store(path)
        assert len(alive.get_many([key_of(number) for number in range(100)])) == 100
        process.send_signal(signal.SIGKILL)
    store = make_store(path)
    store.put(key_of(100), record_of(100))
    assert len(store.get_many([key_of(number) for number in range(100)])) == 100


def test_a_slow_call_passes_the_store_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    store = filled(path, 3, clock=clock)
    opened = store._opened
    assert opened is not None
    read = opened.read

    def read_slowly(location: Location) -> bytes:
        clock.advance(SLOWEST_SECONDS + 0.1)
        return read(location)

    opened.read = read_slowly  # type: ignore[method-assign]
    assert len(store.get_many([key_of(0)])) == 1
    opened.read = read  # type: ignore[method-assign]
    assert found_in(store, 3) == []
    assert messages(caplog) == [f"warm start passes over {path} for 30 s: a call took longer than 0.25 s"]
    clock.advance(PAUSE_SECONDS)
    assert found_in(store, 3) == [0, 1, 2]
    assert errors_of(store.stats()) == {"slow": 1}


def test_a_disk_that_cannot_be_read_passes_the_store_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    store = filled(path, 3, clock=clock)
    opened = store._opened
    assert opened is not None
    read, calls = opened.read, []

    def fail(location: object) -> bytes:
        calls.append(location)
        raise OSError(errno.EIO, "Input/output error")

    opened.read = fail  # type: ignore[method-assign]
    for _ in range(3):
        assert found_in(store, 3) == []
    assert len(calls) == 1
    assert messages(caplog) == [f"warm start passes over {path} for 30 s: read failed (Input/output error)"]
    opened.read = read  # type: ignore[method-assign]
    clock.advance(PAUSE_SECONDS)
    assert found_in(store, 3) == [0, 1, 2]


def test_a_fault_of_its_own_is_logged_and_survived(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(path, 1)
    monkeypatch.setattr(disk, "decode", lambda *_: 1 / 0)
    assert found_in(store, 1) == []
    assert errors_of(store.stats()) == {"internal": 1}
    assert messages(caplog) == ["warm start failed, and the lookup is served without it (ZeroDivisionError)"]


def test_a_record_beyond_the_limit_is_not_stored(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dagcache"):
        store = make_store(path, max_bytes=500)
        for number in range(5):
            store.put(key_of(number), record_of(number))
    assert found_in(store, 5) == [0, 1]
    assert errors_of(store.stats()) == {"full": 3}
    assert "would exceed 500 bytes" in messages(caplog)[0]


def test_the_packs_of_others_count_against_the_limit(path: Path) -> None:
    clock = ManualClock()
    store = make_store(path, max_bytes=700, clock=clock)
    filled(path, 2)
    clock.advance(REFRESH_SECONDS)
    store.put(key_of(8), record_of(8))
    store.put(key_of(9), record_of(9))
    assert errors_of(store.stats()) == {"full": 1}


def test_a_description_may_have_any_content(path: Path) -> None:
    filled(path, 2).close()
    [description] = path.glob(f"*/{DESCRIPTION}")
    for content in ("", "[]", '{"digest": 1}', '{"digest": "", "parts": []}', "[" * 100_000, "\ud800"):
        description.write_text(content, errors="surrogatepass")
        assert found_in(make_store(path), 2) == [0, 1]
        [generation] = inventory(path)
        assert generation.records == 2
        assert generation.parts == {}


def test_what_a_killed_process_left_unfinished_is_removed(path: Path) -> None:
    filled(path, 1).close()
    left = packs_of(path)[0].with_name(f"{UNFINISHED}1234-5678")
    left.touch(0o600)
    assert found_in(make_store(path), 1) == [0]
    assert not left.exists()


def test_no_descriptor_stays_open(path: Path) -> None:
    filled(path, 2).close()
    before = len(os.listdir("/proc/self/fd"))
    store = make_store(path)
    store.put(key_of(5), record_of(5))
    assert len(os.listdir("/proc/self/fd")) > before
    store.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_record_with_an_impossible_fact_is_not_stored(path: Path) -> None:
    store = make_store(path)
    store.put(key_of(1), replace(record_of(1), live_bytes=-1))
    assert errors_of(store.stats()) == {"full": 1}
    assert packs_of(path) == []


def test_a_pack_that_vanishes_between_listing_and_opening_is_left_out(path: Path) -> None:
    """However often."""
    clock = ManualClock()
    store = make_store(path, clock=clock)
    filled(path, 2)
    opened = store._opened
    assert opened is not None
    names = opened._folder.names
    opened._folder.names = lambda: [f"gone{SUFFIX}", *names()]  # type: ignore[method-assign]
    clock.advance(REFRESH_SECONDS)
    assert found_in(store, 2) == [0, 1]
    assert errors_of(store.stats()) == {}


def test_a_store_that_is_closed_while_it_opens_stays_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(path)
    real = OpenedGeneration

    def close_meanwhile(*args: Any, **settings: Any) -> Any:
        store.close()
        return real(*args, **settings)

    monkeypatch.setattr(disk, "OpenedGeneration", close_meanwhile)
    shutil.rmtree(path)
    store.put(key_of(1), record_of(1))
    store._opening._state = type(store._opening._state).NEW
    assert found_in(store, 1) == []
    settled()
    store._compact()
    assert store._opened is None
    assert found_in(store, 1) == []


def test_a_folder_that_another_process_makes_at_the_same_time_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def make_twice(*args: Any, **where: Any) -> None:
        make(*args, **where)
        make(*args, **where)

    monkeypatch.setattr(os, "mkdir", make_twice)
    assert found_in(filled(path, 1), 1) == [0]


def test_a_thread_writes_what_others_have_left_for_a_moment_only(path: Path) -> None:
    """On a disk that takes a fifth of a second for each write, which is not yet slow. The next calls write the rest."""
    clock = ManualClock()
    store = make_store(path, clock=clock)
    opened = store._opened
    assert opened is not None
    write = opened.write

    def write_slowly(key: WarmKey, record: WarmRecord) -> int:
        clock.advance(0.2)
        return write(key, record)

    opened.write = write_slowly  # type: ignore[method-assign]

    def leave() -> None:
        for number in range(20):
            store.put(key_of(number), record_of(number))

    store._writing.run(leave)
    assert store.stats().stored == 0
    before = clock.now
    store.put(key_of(20), record_of(20))
    assert clock.now - before <= 2 * SLOWEST_SECONDS
    for number in range(21, 41):
        store.put(key_of(number), record_of(number))
    assert 20 < store.stats().stored <= 41
    assert errors_of(store.stats()) == {}
