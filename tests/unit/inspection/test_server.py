"""Who fills the cache: what is told, to whom, and what becomes of the socket."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.inspection import server as server_module
from dagcache.inspection.server import MOST, AttributionServer, ask, census, sockets
from tests.support.caches import KIB, Weighted, make_cache

PATIENCE = 20.0  # seconds that something in another thread may take


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place with a short name: a socket's has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="att", dir="/tmp"))
    yield path / "own"
    shutil.rmtree(path)


@pytest.fixture
def cache() -> DagCache[Any, Any]:
    """Two versions of one DAG, one of another, one of which nothing is known."""
    versions = {1: ("etl", 1), 2: ("etl", 2), 3: ("report", 7), 4: None}
    cache, clock = make_cache(name="scheduler", version_of=versions.get)
    for key, kib in ((1, 30), (2, 40), (3, 60), (4, 5)):
        cache[key] = Weighted(key, kib * KIB)
        clock.advance(10)
    cache.get(1)
    return cache


@pytest.fixture
def server(cache: DagCache[Any, Any], folder: Path) -> Iterator[AttributionServer]:
    """One that listens."""
    server = AttributionServer(cache, folder=folder, timeout=PATIENCE)
    assert server.start()
    yield server
    server.close()


def path_of(server: AttributionServer) -> Path:
    """Where it listens."""
    assert server.path is not None
    return server.path


def wait_until_gone(name: str = "dagcache-attribution") -> None:
    """The threads of that name end."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_the_biggest_entries_come_first_with_their_dag_and_version(cache: DagCache[Any, Any]) -> None:
    """As many as are asked for; bytes are those of the copies, live and frozen."""
    told = census(cache, 3)
    infos = {info.key: info for info in cache.entries()}
    assert [(entry["dag_id"], entry["version"], entry["key"]) for entry in told["entries"]] == [
        ("report", 7, "3"),
        ("etl", 2, "2"),
        ("etl", 1, "1"),
    ]
    assert told["entries"][0]["bytes"] == infos[3].live_bytes + infos[3].frozen_bytes > 60 * KIB
    assert (told["component"], told["pid"], told["versions"]) == ("scheduler", os.getpid(), 4)
    assert told["bytes"] == sum(info.live_bytes + info.frozen_bytes for info in infos.values())


def test_versions_of_one_dag_are_added_up(cache: DagCache[Any, Any]) -> None:
    """Many small versions of one DAG fill a cache, too; idle is the least, for one that is in use keeps it there."""
    etl, report, unknown = census(cache)["dags"]
    assert (etl["dag_id"], etl["versions"], etl["live"], etl["idle_seconds"]) == ("etl", 2, 2, 0.0)
    assert (report["dag_id"], report["versions"], report["idle_seconds"]) == ("report", 1, 20.0)
    assert (unknown["dag_id"], unknown["versions"]) == (None, 1)


def test_a_version_that_is_frozen_only_is_named_as_well() -> None:
    """Names are kept with the entry, not read from the live graph."""
    cache, _ = make_cache(max_bytes=150 * KIB, version_of=lambda key: (f"dag_{key}", key))
    for key in range(4):
        cache.get_or_load(key, lambda key: Weighted(key, 100 * KIB))
    told = {entry["tier"]: entry["dag_id"] for entry in census(cache)["entries"]}
    assert told.keys() == {"live", "frozen"}
    assert all(told.values())


def test_the_owner_gets_an_answer(server: AttributionServer) -> None:
    """Through the socket, one request after the other."""
    assert [dag["dag_id"] for dag in ask(path_of(server), 2)["dags"]] == ["etl", "report"]
    assert len(ask(path_of(server), 1)["entries"]) == 1


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (-5, 1), (10**9, MOST)])
def test_the_number_of_entries_is_bounded(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch, asked: int, given: int
) -> None:
    """Whatever is asked for."""
    tops: list[int] = []

    def noted(_cache: object, top: int) -> dict[str, Any]:
        tops.append(top)
        return {**FLAWED, "dags": []}

    monkeypatch.setattr(server_module, "census", noted)
    ask(path_of(server), asked)
    assert tops == [given]


def test_only_the_owner_can_reach_the_socket(server: AttributionServer, folder: Path) -> None:
    """By the modes of the socket and of its directory."""
    assert stat.S_IMODE(path_of(server).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert path_of(server).name == f"scheduler-{os.getpid()}.sock"


def test_a_directory_of_ours_that_others_could_enter_is_closed_to_them(cache: DagCache[Any, Any], folder: Path) -> None:
    """As one that was made by hand."""
    folder.mkdir(mode=0o755)
    server = AttributionServer(cache, folder=folder)
    assert server.start()
    server.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_directory_of_somebody_elses_is_refused(
    cache: DagCache[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """He could exchange the socket in it. One warning, and no error."""
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    server = AttributionServer(cache, folder=folder)
    assert not server.start()
    assert "is no directory of this user's own" in caplog.text
    assert server.path is None


def test_a_link_in_place_of_the_directory_is_refused(cache: DagCache[Any, Any], folder: Path) -> None:
    """It may lead anywhere."""
    folder.symlink_to(folder.parent)
    assert not AttributionServer(cache, folder=folder).start()


def test_another_user_gets_no_answer(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Should he have got that far, the kernel still tells who he is."""
    monkeypatch.setattr(server_module, "_CREDENTIALS", _Credentials(os.geteuid() + 1))
    with pytest.raises((ValueError, OSError)):
        ask(path_of(server))
    assert "another user asked" in caplog.text


class _Credentials:
    """What the kernel says of a stranger."""

    size = struct.Struct("iII").size

    def __init__(self, user: int) -> None:
        self._user = user

    def unpack(self, _packed: bytes) -> tuple[int, int, int]:
        """Process, user, group."""
        return 1, self._user, 1


def test_where_the_kernel_does_not_tell_the_modes_decide(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Linux."""
    monkeypatch.delattr(socket, "SO_PEERCRED")
    assert ask(path_of(server))["versions"] == 4


@pytest.mark.parametrize("request_", [b"", b"\n", b"GET / HTTP/1.1\n", b'{"top": "all"}\n', b"[1]\n", b"1" * 5000])
def test_what_is_no_request_gets_no_answer(server: AttributionServer, request_: bytes) -> None:
    """And does not disturb the next one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(os.fspath(path_of(server)))
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # it did not read all of it
            assert connection.recv(100) == b""
    assert ask(path_of(server))["versions"] == 4


def test_who_dawdles_is_left(cache: DagCache[Any, Any], folder: Path) -> None:
    """He holds the next one up no longer than the time that a connection has."""
    server = AttributionServer(cache, folder=folder, timeout=0.0)
    assert server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(os.fspath(path_of(server)))
        assert connection.recv(100) == b""
    server.close()


def test_a_fault_while_telling_is_logged_and_the_next_is_answered(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It never ends the thread."""
    with monkeypatch.context() as patched:
        patched.setattr(server_module, "census", lambda *_: 1 / 0)
        with pytest.raises(ValueError, match="Expecting value"):
            ask(path_of(server))
    assert ask(path_of(server))["versions"] == 4
    assert "could not be told" in caplog.text


def test_a_server_does_not_keep_its_cache(folder: Path) -> None:
    """A cache that nobody uses any more goes; whoever asks is told nothing."""
    cache, _ = make_cache()
    server = AttributionServer(cache, folder=folder)
    assert server.start()
    path = path_of(server)
    del cache
    gc.collect()
    with pytest.raises((ValueError, OSError)):
        ask(path)
    server.close()


def test_starting_twice_is_starting_once(server: AttributionServer) -> None:
    """It listens at one place."""
    path = path_of(server)
    assert server.start()
    assert server.path == path


def test_closing_removes_the_socket_and_ends_the_thread(server: AttributionServer) -> None:
    """Twice does no harm."""
    path = path_of(server)
    server.close()
    server.close()
    assert (path.exists(), server.path) == (False, None)
    wait_until_gone()


def test_a_server_that_was_never_started_can_be_closed(cache: DagCache[Any, Any]) -> None:
    """As everything here."""
    AttributionServer(cache).close()


def test_the_socket_goes_with_the_object(cache: DagCache[Any, Any], folder: Path) -> None:
    """Whoever forgets to close it."""
    server = AttributionServer(cache, folder=folder)
    assert server.start()
    path = path_of(server)
    del server
    gc.collect()
    assert not path.exists()
    wait_until_gone()


def test_a_successor_keeps_its_socket(cache: DagCache[Any, Any], folder: Path) -> None:
    """A second one of the same process and name takes the name over; the first one's end leaves it there."""
    first, second = AttributionServer(cache, folder=folder), AttributionServer(cache, folder=folder)
    assert first.start()
    assert second.start()
    first.close()
    assert ask(path_of(second))["versions"] == 4
    second.close()


def test_sockets_of_the_dead_go_and_those_of_the_living_stay(
    server: AttributionServer, cache: DagCache[Any, Any], folder: Path
) -> None:
    """Whether somebody listens tells them apart, not the process id: containers share those."""
    dead = folder / "scheduler-1.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abandoned:
        abandoned.bind(os.fspath(dead))
    (folder / "odd.sock").symlink_to("odd.sock")
    living = folder / "living-1.sock"
    path_of(server).rename(living)
    other = AttributionServer(cache, folder=folder)
    assert other.start()
    other.close()
    assert not dead.exists()
    assert (living.exists(), (folder / "odd.sock").is_symlink()) == (True, True)


def test_a_place_that_cannot_be_is_one_warning(
    cache: DagCache[Any, Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A socket's name has 107 bytes."""
    folder.mkdir(mode=0o700)
    assert not AttributionServer(cache, folder=folder / ("long" * 40)).start()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_without_another_thread_there_is_no_socket(
    cache: DagCache[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And a warning."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    server = AttributionServer(cache, folder=folder)
    assert not server.start()
    assert (list(folder.iterdir()), server.path) == ([], None)
    assert "can't start new thread" in caplog.text


_FORKING = """
import os, sys
from pathlib import Path
from dagcache import DagCache
from dagcache.inspection.server import AttributionServer, ask
cache = DagCache(name="scheduler")
server = AttributionServer(cache, folder=Path(sys.argv[1]))
assert server.start()
path, inherited = server.path, server._listener
child = os.fork()
if not child:
    inherited.end()
    server.close()
    os._exit(0 if server.path is None and inherited._socket.fileno() == -1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ask(path)
"""


def test_a_forked_child_does_not_listen_and_leaves_the_socket(folder: Path) -> None:
    """It ends without removing its parent's. In a process of its own: newer Pythons warn of forks with threads."""
    done = subprocess.run([sys.executable, "-c", _FORKING, folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_child_does_not_end_its_parents_socket(server: AttributionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should it come to its end with what it inherited."""
    inherited = server._listener
    assert inherited is not None
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: inherited._pid + 1)
        inherited.end()
    assert ask(path_of(server))["versions"] == 4


def test_in_a_forked_child_the_socket_is_closed_and_can_be_had_anew(cache: DagCache[Any, Any], folder: Path) -> None:
    """The hook itself, in this process."""
    server = AttributionServer(cache, folder=folder)
    assert server.start()
    inherited = server._listener
    assert inherited is not None
    inherited.closed.set()
    inherited._socket.shutdown(socket.SHUT_RDWR)  # in a child there is no thread
    server._after_fork_in_child()
    assert (inherited._socket.fileno(), server.path) == (-1, None)
    assert server.start()
    server.close()


def test_a_fork_does_not_disturb_a_server_that_does_not_listen(cache: DagCache[Any, Any]) -> None:
    """There is nothing to close."""
    server = AttributionServer(cache)
    server._after_fork_in_child()
    assert server.path is None


def test_sockets_are_sought_where_servers_put_them(
    cache: DagCache[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both places: the process that is asked may have had another environment. Root sees everybody's."""
    temporary, runtime = folder.parent / "tmp", folder.parent / "run"
    temporary.mkdir()
    runtime.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: os.fspath(temporary))
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(runtime / "missing"))
    first = AttributionServer(cache)
    assert first.start()
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(runtime))
    second = AttributionServer(cache)
    assert second.start()
    foreign = temporary / "dagcache-999999"
    foreign.mkdir(mode=0o700)
    (foreign / "api_server-1.sock").touch()
    expected = {path_of(first), path_of(second)}
    assert {path.parent.name for path in expected} == {f"dagcache-{os.geteuid()}", "dagcache"}
    if os.geteuid() == 0:
        assert expected | {foreign / "api_server-1.sock"} <= set(sockets())
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert not expected & set(sockets())
    else:
        assert set(sockets()) == expected
    first.close()
    second.close()


def test_an_open_directory_is_not_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody could have put something there."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: os.fspath(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    own = folder / f"dagcache-{os.geteuid()}"
    own.mkdir(parents=True)
    (own / "x-1.sock").touch()
    own.chmod(0o755)
    assert own / "x-1.sock" not in sockets()
    own.chmod(0o700)
    assert own / "x-1.sock" in sockets()


FLAWED = {"component": "x", "pid": 1, "versions": 1, "bytes": 1, "entries": [], "dags": [{"dag_id": 7}]}


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b'{"dags": 1}', b"", b"{", b"[" * 100_000, json.dumps(FLAWED).encode()]
)
def test_an_answer_that_is_none_is_an_error(folder: Path, answer: bytes) -> None:
    """Not what is shown."""
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(folder / "x.sock"))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ValueError, match=r"something else|Expecting|Expecting property"):
            ask(folder / "x.sock")
        thread.join(PATIENCE)


def test_asking_where_nobody_answers_is_an_error_in_time(folder: Path) -> None:
    """It is never waited for ever."""
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(folder / "x.sock"))
        listener.listen(1)
        with pytest.raises(TimeoutError):
            ask(folder / "x.sock", timeout=0.05)
    with pytest.raises(OSError, match="refused"):
        ask(folder / "x.sock")


def test_an_answer_is_json_of_plain_values(cache: DagCache[Any, Any]) -> None:
    """Whatever the keys are."""
    assert json.loads(json.dumps(census(cache))) == census(cache)
