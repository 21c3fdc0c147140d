"""The client of usage sockets: the sockets of this machine's processes, and the report that each one gives."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from dagcache.inspection import folders, protocol


def sockets() -> list[Path]:
    """The sockets that this user may open, of processes in all environments; for root those of every user."""
    return sorted(path for folder in folders.searched() for path in folder.glob("*.sock"))


def ask(path: Path, top: int = 20, timeout: float = 3.0, *, by: str = "bytes") -> dict[str, Any]:
    """The `dagcache.inspection.usage.usage` of the process that listens at ``path``.

    Args:
        path: the socket.
        top: the number of DAGs and entries, at most `dagcache.inspection.protocol.MOST`.
        timeout: seconds for the whole exchange.
        by: one of `dagcache.inspection.usage.ORDERS`.

    Raises:
        OSError: no process listens there, access is denied, or the time is over.
        ValueError: the answer is not a usage report.

    """
    end = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(path))
        protocol.send_request(connection, top, by)
        try:
            return protocol.read_answer(connection, end)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
