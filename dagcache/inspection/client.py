"""The client of usage sockets: the sockets of this machine's processes, their reports, and changes of settings."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagcache.inspection import folders, protocol
from dagcache.inspection.peers import peer_user

_MOST_DIGITS = 12


def sockets() -> list[Path]:
    """The sockets that this user may open, of processes in all environments; for root those of every user."""
    return sorted(path for folder in folders.searched() for path in folder.glob("*.sock"))


def component_of(path: Path) -> str:
    """The component of a socket, by its name: ``<component>-<pid>.sock``, or ``<component>-<pid>-<number>.sock``."""
    return path.stem.partition("-")[0]


def process_of(path: Path) -> int | None:
    """The process id of a socket, by its name; None if the name has none."""
    text = path.stem.partition("-")[2].partition("-")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else None


def ask(path: Path, top: int = 20, timeout: float = 3.0, *, by: str = "bytes") -> dict[str, Any]:
    """The `dagcache.inspection.usage.usage` of the process that listens at ``path``.

    Args:
        path: the socket.
        top: the number of DAGs and entries, at most `dagcache.inspection.protocol.MOST`.
        timeout: seconds for the whole exchange.
        by: one of `dagcache.inspection.usage.ORDERS`.

    Nothing is sent to a socket that is not of the directory's owner: root reads the directories of other users, who may
    put a link to any socket there. The kernel has the user of the listener, even if the file was replaced meanwhile.

    Raises:
        OSError: no process listens there, access is denied, or the time is over.
        ValueError: the answer is not a usage report.

    """
    end = time.monotonic() + timeout
    with _connected(path, timeout) as connection:
        protocol.send_request(connection, top, by)
        return protocol.read_answer(connection, end)


def change(path: Path, settings: Mapping[str, str], timeout: float = 30.0) -> dict[str, Any]:
    """Change settings of the process that listens at ``path``, until it restarts. As for `ask`, of the owner only.

    Args:
        path: the socket.
        settings: texts by the names in `dagcache.inspection.changes.SETTINGS`.
        timeout: seconds for the whole exchange. A smaller budget frees memory first.

    Returns:
        ``component``, ``pid``, the ``settings`` in force, an ``error``, empty if they were changed, and a ``note``.

    Raises:
        OSError: no process listens there, access is denied, or the time is over.
        ValueError: the answer does not belong to a change of settings.

    """
    end = time.monotonic() + timeout
    with _connected(path, timeout) as connection:
        protocol.send_change(connection, settings, end)
        return protocol.read_change(connection, end)


@contextmanager
def _connected(path: Path, timeout: float) -> Iterator[socket.socket]:
    owner = _owner(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(path))
        if peer_user(connection) not in (None, owner):
            raise PermissionError(f"{path.name}: its listener is not a process of the user {owner}")
        try:
            yield connection
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error


def _owner(path: Path) -> int:
    """The user who owns a socket and its directory.

    Raises:
        OSError: there is no such file, it is not a socket, or the two have different owners.

    """
    found, folder = path.lstat(), path.parent.lstat()
    if not stat.S_ISSOCK(found.st_mode):
        raise PermissionError(f"{path.name} is not a socket")
    if found.st_uid != folder.st_uid:
        raise PermissionError(f"{path.name} does not belong to the owner of its directory")
    return found.st_uid
