"""The protocol of a usage socket: one line of JSON, ``{"top": 20}``, and one JSON object in return.

Both sides are bounded in bytes and in time, and check what they receive: root may ask processes of other users.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import Any, cast

MOST = 1000
"""The limit on entries and on DAGs in one answer."""

_ANSWER = {"component": str, "pid": int, "versions": int, "bytes": int, "dags": list, "entries": list}
_DAG = {"dag_id": (str, type(None)), "versions": int, "live": int, "bytes": int, "idle_seconds": (int, float)}
_MOST_NUMBER = 2**63
_MOST_REQUEST = 256
_MOST_ANSWER = 8 * 1024 * 1024


def send_request(connection: socket.socket, top: int) -> None:
    """Ask for the ``top`` largest DAGs and entries."""
    connection.sendall(json.dumps({"top": top}).encode() + b"\n")


def read_request(connection: socket.socket, end: float) -> int:
    """The number of entries that a client asks for, from 1 to `MOST`; ``end`` is in monotonic seconds.

    Raises:
        OSError: the client has left, or the time is over.
        ValueError: the line is not a request.

    """
    line = b""
    while b"\n" not in line and len(line) < _MOST_REQUEST and (more := _receive(connection, _MOST_REQUEST, end)):
        line += more
    request = json.loads(line)
    top = request.get("top") if isinstance(request, dict) else None
    if not isinstance(top, int):
        raise ValueError("no number of entries")
    return max(1, min(top, MOST))


def send_answer(connection: socket.socket, report: Mapping[str, Any], end: float) -> None:
    """Send a usage report; ``end`` is in monotonic seconds.

    Raises:
        OSError: the client has left, or the time is over.

    """
    content = json.dumps(report).encode()
    connection.settimeout(_left(end))
    connection.sendall(content)


def read_answer(connection: socket.socket, end: float) -> dict[str, Any]:
    """The usage report that a server sends; ``end`` is in monotonic seconds.

    Raises:
        OSError: the connection fails, or the time is over.
        ValueError: the answer is not a usage report.

    """
    received = bytearray()
    while len(received) < _MOST_ANSWER and (chunk := _receive(connection, 65536, end)):
        received += chunk
    try:
        answer: Any = json.loads(received)
    except RecursionError:
        answer = None
    if not _has(answer, _ANSWER) or len(answer["dags"]) > MOST or not all(_has(dag, _DAG) for dag in answer["dags"]):
        raise ValueError("the answer is not a usage report")
    return cast("dict[str, Any]", answer)


def _receive(connection: socket.socket, most: int, end: float) -> bytes:
    connection.settimeout(_left(end))
    if time.monotonic() > end:
        raise TimeoutError("the time for this connection is over")
    return connection.recv(most)


def _left(end: float) -> float:
    return max(0.01, end - time.monotonic())


def _has(value: object, fields: Mapping[str, Any]) -> bool:
    return isinstance(value, dict) and all(_is(value.get(name), kind) for name, kind in fields.items())


def _is(value: object, kind: Any) -> bool:
    """Whether a value has a type; a number must also be possible: a reader computes with it."""
    if not isinstance(value, kind):
        return False
    return not isinstance(value, (int, float)) or 0 <= value <= _MOST_NUMBER  # NaN is neither
