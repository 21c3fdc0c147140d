"""The client of usage sockets: where it looks for them, and which answers it refuses."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.inspection.client import ask, sockets
from dagcache.inspection.server import AttributionServer
from tests.unit.inspection.conftest import PATIENCE, path_of


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


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b'{"dags": 1}', b"", b"{", b"[" * 100_000, json.dumps(FLAWED).encode()]
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
        with pytest.raises(ValueError, match=r"x.sock: (the answer is not a usage report|Expecting)"):
            ask(folder / "x.sock")
        thread.join(PATIENCE)


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
