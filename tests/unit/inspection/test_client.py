"""The client of usage sockets: where it looks for them, and which answers it refuses."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.inspection import protocol
from dagcache.inspection.client import ask, component_of, process_of, sockets
from dagcache.inspection.server import AttributionServer
from tests.support.patience import PATIENCE
from tests.unit.inspection.conftest import path_of


def test_sockets_are_sought_where_servers_put_them(
    cache: DagCache[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both places, because the other process may have another environment. Root sees the sockets of all users."""
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
    """Any user could have put a socket there."""
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


SOUND: dict[str, Any] = {
    "component": "x",
    "pid": 1,
    "max_bytes": 0,
    "versions": 1,
    "bytes": 1,
    "by": "bytes",
    "entries": [],
    "dags": [],
}
DAG: dict[str, Any] = {"dag_id": "x", "versions": 1, "live": 1, "bytes": 1, "hits": 1, "idle_seconds": 1.0} | {
    "loads": 1,
    "load_seconds": 1.0,
    "thaws": 1,
    "thaw_seconds": 1.0,
    "newer_versions": 1,
}
ENTRY: dict[str, Any] = {"key": "x", "dag_id": None, "version": -1.5, "tier": "live", "bytes": 1, "live_bytes": 1} | {
    "frozen_bytes": 1,
    "serialized_bytes": 1,
    "idle_seconds": 1,
    "hits": 1,
    "load_seconds": 1,
}
IMPOSSIBLE = (10**400, -1, float("nan"), float("inf"), 2**64)
HOSTILE = [
    *({**SOUND, name: value} for name in ("versions", "bytes") for value in IMPOSSIBLE),
    *({**SOUND, "dags": [{**DAG, name: value}]} for name in list(DAG)[1:] for value in IMPOSSIBLE),
    *({**SOUND, "entries": [{**ENTRY, name: value}]} for name in ("bytes", "idle_seconds") for value in IMPOSSIBLE),
    *({**SOUND, "entries": [{**ENTRY, "version": value}]} for value in (10**400, float("nan"), float("-inf"), "1")),
    {**SOUND, "dags": [DAG] * 1001},
    {**SOUND, "entries": [ENTRY] * 1001},
    {**SOUND, "by": "dag_id"},
    {**SOUND, "dags": [[]]},
]
"""Reports of a process that root asks, with numbers that a reader cannot compute with."""


@pytest.mark.parametrize(
    "answer",
    [
        b"[]",
        b"{}",
        b'{"dags": 1}',
        b"",
        b"{",
        b"[" * 100_000,
        *(json.dumps(each).encode() for each in [FLAWED, *HOSTILE]),
    ],
)
def test_an_invalid_answer_is_an_error(folder: Path, answer: bytes) -> None:
    """It is not shown."""
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
        with pytest.raises(ValueError, match=r"x.sock: (the answer is not|the process closed)"):
            ask(folder / "x.sock")
        thread.join(PATIENCE)


def test_an_answer_has_known_fields_of_bounded_length_only() -> None:
    """Others may be as deep as a reader can parse, and deeper than it can write."""
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    odd = {"more": deep, "infinite": float("inf")}
    dags = [{**DAG, **odd, "dag_id": "x" * 5000}]
    sent = {**SOUND, **odd, "dags": dags, "entries": [{**ENTRY, **odd}]}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(json.dumps(sent).encode())
        theirs.shutdown(socket.SHUT_WR)
        answer = protocol.read_answer(ours, time.monotonic() + PATIENCE)
    assert answer == {**SOUND, "dags": [{**DAG, "dag_id": "x" * 1000}], "entries": [ENTRY]}


def test_an_answer_that_comes_in_drops_is_over_in_time() -> None:
    """Each part of it comes soon enough, and the whole never."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"{")
        with pytest.raises(TimeoutError, match="the time for this connection is over"):
            protocol.read_answer(ours, time.monotonic() - 1)


@pytest.mark.parametrize(
    ("name", "component", "pid"),
    [
        ("scheduler-7.sock", "scheduler", 7),
        ("scheduler-7-2.sock", "scheduler", 7),
        ("api_server-x.sock", "api_server", None),
        ("x.sock", "x", None),
        (f"x-{'9' * 40}.sock", "x", None),
    ],
)
def test_the_name_of_a_socket_has_its_component_and_its_process(name: str, component: str, pid: int | None) -> None:
    """Other processes may have put anything there."""
    path = Path("/run") / name
    assert (component_of(path), process_of(path)) == (component, pid)


def test_a_socket_without_an_answer_is_an_error_in_time(folder: Path) -> None:
    """The wait has a limit."""
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(folder / "x.sock"))
        listener.listen(1)
        with pytest.raises(TimeoutError):
            ask(folder / "x.sock", timeout=0.05)
    with pytest.raises(OSError, match="refused"):
        ask(folder / "x.sock")


def listening(path: Path) -> socket.socket:
    """A socket that listens at a path, and notes in its backlog who comes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(path))
    listener.listen(1)
    listener.settimeout(0.05)
    return listener


def received(listener: socket.socket) -> bytes:
    """All that was sent to a listener; empty also if no client has come."""
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return b""
    with connection:
        return connection.recv(100)


@pytest.mark.parametrize("link", ["symbolic", "to a file"])
def test_a_link_to_another_socket_gets_no_request(link: str, folder: Path) -> None:
    """Root asks in the directories of all users, and any of them could point to the socket of another program."""
    folder.mkdir(mode=0o700)
    victim = folder.parent / "victim.sock"
    with listening(victim) as listener:
        if link == "symbolic":
            (folder / "x.sock").symlink_to(victim)
        else:
            (folder / "x.sock").touch()
        with pytest.raises(PermissionError, match=r"x\.sock is not a socket"):
            ask(folder / "x.sock")
        assert received(listener) == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_socket_that_is_not_of_the_directorys_owner_gets_no_request(folder: Path) -> None:
    """A hard link to it has its owner."""
    folder.mkdir(mode=0o700)
    with listening(folder / "x.sock") as listener:
        os.chown(folder, 4711, 4711)
        with pytest.raises(PermissionError, match="does not belong to the owner of its directory"):
            ask(folder / "x.sock")
        assert received(listener) == b""


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED") or os.geteuid() != 0, reason="needs root on Linux")
def test_a_listener_of_another_user_gets_no_request(folder: Path) -> None:
    """The file may be replaced by a link after the look at it: the kernel has the last word."""
    folder.mkdir(mode=0o700)
    with listening(folder / "x.sock") as listener:  # a process of root
        for path in (folder, folder / "x.sock"):
            os.chown(path, 4711, 4711)
        with pytest.raises(PermissionError, match="its listener is not a process of the user 4711"):
            ask(folder / "x.sock")
        assert received(listener) == b""


def test_where_the_kernel_gives_no_user_the_owners_decide(
    cache: DagCache[Any, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Linux."""
    server = AttributionServer(cache, folder=folder)
    assert server.start()
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    assert ask(path_of(server))["versions"] == 4
    server.close()
