"""The usage socket: the users that get an answer, and the life of the socket."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dagcache import DagCache, Loaded
from dagcache.inspection import server as server_module
from dagcache.inspection.client import ask
from dagcache.inspection.client import change as change_settings
from dagcache.inspection.protocol import MOST
from dagcache.inspection.server import AttributionServer
from tests.support.caches import Weighted, make_cache
from tests.support.patience import PATIENCE
from tests.unit.inspection.conftest import path_of
from tests.unit.inspection.test_client import SOUND


def wait_until_gone(name: str = "dagcache-attribution") -> None:
    """The threads of that name end."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_the_owner_gets_an_answer(server: AttributionServer) -> None:
    """Through the socket, one request after the other."""
    assert [dag["dag_id"] for dag in ask(path_of(server), 2)["dags"]] == ["etl", "report"]
    assert len(ask(path_of(server), 1)["entries"]) == 1


@pytest.mark.parametrize(("asked", "given"), [(0, 1), (-5, 1), (10**9, MOST)])
def test_the_number_of_entries_is_bounded(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch, asked: int, given: int
) -> None:
    tops: list[int] = []

    def noted(_cache: object, top: int, _by: str) -> dict[str, Any]:
        tops.append(top)
        return SOUND

    monkeypatch.setattr(server_module, "usage", noted)
    ask(path_of(server), asked)
    assert tops == [given]


def test_the_order_of_the_request_is_that_of_the_answer(server: AttributionServer, cache: DagCache[Any, Any]) -> None:
    """Costs of a DAG that is not resident count, too."""
    cache.get_or_load(5, lambda key: Loaded(Weighted(key), version=("gone", 1)))
    del cache[5]
    answer = ask(path_of(server), 1, by="loads")
    assert answer["by"] == "loads"
    assert [(dag["dag_id"], dag["loads"], dag["bytes"]) for dag in answer["dags"]] == [("gone", 1, 0)]


def test_a_request_for_another_order_gets_no_answer(server: AttributionServer) -> None:
    """The name comes from another process."""
    with pytest.raises((OSError, ValueError)):
        ask(path_of(server), 1, by="dag_id")


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


def test_a_directory_of_another_user_is_refused(
    cache: DagCache[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner of a directory can replace the socket in it. One warning, and no error."""
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    server = AttributionServer(cache, folder=folder)
    assert not server.start()
    assert "is not a directory owned by this user" in caplog.text
    assert server.path is None


def test_a_link_in_place_of_the_directory_is_refused(cache: DagCache[Any, Any], folder: Path) -> None:
    """It may lead anywhere."""
    folder.symlink_to(folder.parent)
    assert not AttributionServer(cache, folder=folder).start()


def test_another_user_gets_no_answer(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Past the modes of the files, the kernel still gives the user at the other end."""
    monkeypatch.setattr(server_module, "peer_user", lambda _connection: os.geteuid() + 1)
    with pytest.raises((ValueError, OSError)):
        ask(path_of(server))
    assert "was refused to another user" in caplog.text


def test_where_the_kernel_gives_no_user_the_modes_decide(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Linux."""
    monkeypatch.delattr(socket, "SO_PEERCRED")
    assert ask(path_of(server))["versions"] == 4


@pytest.mark.parametrize(
    "request_", [b"", b"\n", b"GET / HTTP/1.1\n", b'{"top": "all"}\n', b"[1]\n", b"1" * 5000, b"[" * 1000]
)
def test_an_invalid_request_gets_no_answer(server: AttributionServer, request_: bytes) -> None:
    """And does not disturb the next one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(os.fspath(path_of(server)))
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # it did not read all of it
            assert connection.recv(100) == b""
    assert ask(path_of(server))["versions"] == 4


def test_a_slow_client_is_disconnected(cache: DagCache[Any, Any], folder: Path) -> None:
    """After the time that a connection has."""
    server = AttributionServer(cache, folder=folder, timeout=0.0)
    assert server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(os.fspath(path_of(server)))
        assert connection.recv(100) == b""
    server.close()


def test_a_fault_while_reporting_is_logged_and_the_next_is_answered(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It never ends the thread."""
    with monkeypatch.context() as patched:
        patched.setattr(server_module, "usage", lambda *_: 1 / 0)
        with pytest.raises(ValueError, match="without an answer"):
            ask(path_of(server))
    assert ask(path_of(server))["versions"] == 4
    assert "could not be reported" in caplog.text


def test_a_server_does_not_keep_its_cache(folder: Path) -> None:
    """An unused cache goes; a client then gets no answer."""
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
    """Without an error."""
    AttributionServer(cache).close()


def test_the_socket_goes_with_the_object(cache: DagCache[Any, Any], folder: Path) -> None:
    """Without `close`."""
    server = AttributionServer(cache, folder=folder)
    assert server.start()
    path = path_of(server)
    del server
    gc.collect()
    assert not path.exists()
    wait_until_gone()


def test_two_caches_of_one_name_have_a_socket_each(cache: DagCache[Any, Any], folder: Path) -> None:
    """In one process, or in two containers that share a directory and have process ids in common."""
    other, _ = make_cache(name="scheduler")
    first, second = AttributionServer(cache, folder=folder), AttributionServer(other, folder=folder)
    assert first.start()
    assert second.start()
    assert path_of(second).name == f"scheduler-{os.getpid()}-2.sock"
    assert [ask(path_of(each))["versions"] for each in (first, second)] == [4, 0]
    first.close()
    assert ask(path_of(second))["versions"] == 0
    third = AttributionServer(cache, folder=folder)
    assert third.start()
    assert path_of(third).name == f"scheduler-{os.getpid()}.sock"
    third.close()
    second.close()
    assert list(folder.iterdir()) == []


def test_sockets_of_the_dead_go_and_those_of_the_living_stay(
    server: AttributionServer, cache: DagCache[Any, Any], folder: Path
) -> None:
    """A listener decides, not the process id, because containers share ids."""
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
from dagcache.inspection.client import ask
from dagcache.inspection.client import change as change_settings
from dagcache.inspection.server import AttributionServer
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
    done = subprocess.run([sys.executable, "-c", _FORKING, folder], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_a_child_does_not_end_its_parents_socket(server: AttributionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = server._listener
    assert inherited is not None
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: inherited._pid + 1)
        inherited.end()
    assert ask(path_of(server))["versions"] == 4


def test_in_a_forked_child_the_socket_is_closed_and_the_server_can_start_again(
    cache: DagCache[Any, Any], folder: Path
) -> None:
    """The hook itself, in this process."""
    server = AttributionServer(cache, folder=folder)
    assert server.start()
    inherited = server._listener
    assert inherited is not None
    inherited.exchanges.close()  # a child has no thread
    wait_until_gone()
    server._after_fork_in_child()
    assert (inherited._socket.fileno(), server.path) == (-1, None)
    assert server.start()
    server.close()


def test_a_fork_does_not_disturb_a_server_that_does_not_listen(cache: DagCache[Any, Any]) -> None:
    """There is nothing to close."""
    server = AttributionServer(cache)
    server._after_fork_in_child()
    assert server.path is None


def connected(server: AttributionServer) -> socket.socket:
    """A client that has sent nothing."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    connection.connect(os.fspath(path_of(server)))
    return connection


@pytest.mark.parametrize("sent", [b"", b'{"top": 1'], ids=["silent", "half of a request"])
def test_silent_clients_delay_no_other(server: AttributionServer, sent: bytes) -> None:
    """Each of them has its own time; a server that served one after the other would wait for it."""
    with contextlib.ExitStack() as silent:
        for _ in range(8):
            silent.enter_context(connected(server)).sendall(sent)
        assert ask(path_of(server), timeout=PATIENCE / 2)["versions"] == 4  # of the time that each of the eight has


def test_a_client_that_does_not_read_delays_no_other(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is longer than the buffer of a socket."""
    with monkeypatch.context() as patched, connected(server) as deaf:
        patched.setattr(server_module, "usage", lambda *_: {"padding": "x" * 4_000_000})
        deaf.sendall(b'{"top": 1}\n')
        assert deaf.recv(1)  # the answer is on its way
        patched.undo()
        assert ask(path_of(server), timeout=PATIENCE / 2)["versions"] == 4
        received = 1
        while more := deaf.recv(1 << 20):
            received += len(more)
        assert received > 4_000_000


def test_beyond_the_most_connections_the_oldest_is_dropped(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagcache.inspection.exchanges._MOST_CONNECTIONS", 3)
    with contextlib.ExitStack() as silent:
        oldest, *_, newest = [silent.enter_context(connected(server)) for _ in range(4)]
        assert oldest.recv(1) == b""
        newest.sendall(b'{"top": 1}\n')
        assert newest.recv(1) == b"{"


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_nothing_that_a_listener_raises_ends_the_thread(
    raised: type[BaseException], cache: DagCache[Any, Any], server: AttributionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change evicts, and calls the listeners of the host."""

    def fail(*_: object) -> None:
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr(server_module, "change", fail)
        with pytest.raises(ValueError, match="without an answer"):
            change_settings(path_of(server), {"ttl": "5"})
    assert ask(path_of(server))["versions"] == 4


def test_caches_that_start_at_the_same_time_have_a_name_each(folder: Path) -> None:
    """A look for a free name, and then the taking of it, would give several the same."""
    servers = [AttributionServer(make_cache(name="scheduler")[0], folder=folder) for _ in range(8)]
    ready = threading.Barrier(len(servers))

    def start(server: AttributionServer) -> None:
        ready.wait(PATIENCE)
        server.start()

    threads = [threading.Thread(target=start, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len({server.path for server in servers} - {None}) == len(servers)
    assert {path.suffix for path in folder.iterdir()} == {".sock"}
    for server in servers:
        server.close()
    assert list(folder.iterdir()) == []


def test_without_a_free_name_there_is_no_socket(
    server: AttributionServer,
    cache: DagCache[Any, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The sockets of others stay."""
    monkeypatch.setattr(server_module, "_MOST_CACHES", 2)
    assert not AttributionServer(cache, folder=folder).start()
    assert "1 caches of this name have a socket" in caplog.text
    assert list(folder.iterdir()) == [path_of(server)]


def test_a_client_that_leaves_before_it_is_known_is_no_other_user(
    server: AttributionServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_connection: object) -> int:
        raise OSError("not connected")

    with monkeypatch.context() as patched:
        patched.setattr(server_module, "peer_user", fail)
        with connected(server) as connection:
            assert connection.recv(1) == b""
    assert caplog.text == ""
    assert ask(path_of(server))["versions"] == 4


@pytest.mark.parametrize("error", [BlockingIOError, ConnectionAbortedError, OSError])
def test_a_connection_that_cannot_be_accepted_does_not_end_the_thread(
    error: type[OSError], cache: DagCache[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client left again, or no descriptor is left."""
    monkeypatch.setattr("dagcache.inspection.exchanges._PAUSE_SECONDS", 0.0)
    accept, failures = socket.socket.accept, iter([error("on purpose")])

    def fail_once(self: socket.socket) -> Any:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail_once)
    server = AttributionServer(cache, folder=folder, timeout=PATIENCE)
    assert server.start()
    assert ask(path_of(server), timeout=PATIENCE / 2)["versions"] == 4
    assert next(failures, None) is None
    server.close()
