"""The protocol of a usage socket: one line of JSON, and one JSON object in return.

``{"top": 20, "by": "bytes"}`` asks for a usage report. ``{"set": {"max_bytes": "256MiB"}}`` changes settings.

Both sides are bounded in bytes and in time, and check what they receive: root may ask processes of other users.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from dagcache.inspection.changes import SETTINGS
from dagcache.inspection.usage import ORDERS

MOST = 1000
"""The limit on entries and on DAGs in one answer."""
MOST_REQUEST = 1024
"""The limit on the bytes of a request, with the end of its line."""

_ANSWER = {
    "component": str,
    "pid": int,
    "max_bytes": int,
    "versions": int,
    "bytes": int,
    "by": str,
    "dags": list,
    "entries": list,
}
_DAG = {
    "dag_id": (str, type(None)),
    "versions": int,
    "live": int,
    "bytes": int,
    "hits": int,
    "idle_seconds": (int, float, type(None)),
    "loads": int,
    "load_seconds": (int, float),
    "thaws": int,
    "thaw_seconds": (int, float),
    "newer_versions": int,
}


class _Order:
    """The kind of a version's order: any number or none, also below 0."""


_ENTRY = {
    "key": str,
    "dag_id": (str, type(None)),
    "version": _Order,
    "tier": str,
    "bytes": int,
    "live_bytes": int,
    "frozen_bytes": int,
    "serialized_bytes": int,
    "idle_seconds": (int, float),
    "hits": int,
    "load_seconds": (int, float, type(None)),
}
_CHANGED = {"component": str, "pid": int, "settings": dict, "error": str, "note": str}
_NO_REPORT = "the answer is not a usage report"
_MOST_TEXT = 1000
_MOST_NUMBER = 2**63
_MOST_ANSWER = 8 * 1024 * 1024


def send_request(connection: socket.socket, top: int, by: str) -> None:
    """Ask for the ``top`` first DAGs by one of `dagcache.inspection.usage.ORDERS`, and largest entries."""
    connection.sendall(json.dumps({"top": top, "by": by}).encode() + b"\n")


def send_change(connection: socket.socket, settings: Mapping[str, str], end: float) -> None:
    """Ask for other values of settings, until ``end`` in monotonic seconds, which all processes of a machine share."""
    connection.sendall(json.dumps({"set": dict(settings), "until": end}).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class UsageRequest:
    """A request for a usage report."""

    top: int
    """From 1 to `MOST`."""
    by: str
    """One of `dagcache.inspection.usage.ORDERS`."""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """A request for other settings."""

    settings: dict[str, str]
    until: float
    """The monotonic time at which the client stops waiting. A later change would surprise it."""


def request_of(line: bytes) -> UsageRequest | ChangeRequest:
    """The request in one line.

    Raises:
        ValueError: the line is not a request.

    """
    request = _object_of(line)
    if not isinstance(request, dict):
        raise ValueError("no request")
    wanted = request.get("set")
    until = request.get("until")
    if isinstance(until, (int, float)) and isinstance(wanted, dict) and _are_short(wanted.values()):
        return ChangeRequest(wanted, until)
    top = request.get("top")
    if not isinstance(top, int):
        raise ValueError("no number of entries")
    by = request.get("by", ORDERS[0])
    if by not in ORDERS:
        raise ValueError("no such order")
    return UsageRequest(max(1, min(top, MOST)), by)


def answer_line(report: Mapping[str, Any]) -> bytes:
    """A usage report, or the answer to a change, as the server sends it."""
    return json.dumps(report).encode()


def read_answer(connection: socket.socket, end: float) -> dict[str, Any]:
    """The usage report that a server sends, without unknown fields; ``end`` is in monotonic seconds.

    Raises:
        OSError: the connection fails, or the time is over.
        ValueError: the answer is not a usage report.

    """
    answer = _known(_read_object(connection, end), _ANSWER)
    if answer["by"] not in ORDERS or len(answer["dags"]) > MOST or len(answer["entries"]) > MOST:
        raise ValueError(_NO_REPORT)
    dags = [_known(dag, _DAG) for dag in answer["dags"]]
    return answer | {"dags": dags, "entries": [_known(entry, _ENTRY) for entry in answer["entries"]]}


def read_change(connection: socket.socket, end: float) -> dict[str, Any]:
    """The answer to a change: the settings in force, and an ``error``, empty if they were changed.

    Raises:
        OSError: the connection fails, or the time is over.
        ValueError: the answer does not belong to a change of settings.

    """
    answer = _read_object(connection, end)
    if not _has(answer, _CHANGED) or not _are_short([*map(answer.get, ("component", "error", "note"))]):
        raise ValueError("the answer does not belong to a change of settings")
    settings = answer["settings"]
    if answer["pid"] is True or settings.keys() != SETTINGS.keys() or not _are_short([*settings.values()]):
        raise ValueError("the answer does not have the settings in force")
    return cast("dict[str, Any]", answer)


def _are_short(texts: Iterable[object]) -> bool:
    return all(isinstance(text, str) and len(text) <= _MOST_TEXT for text in texts)


def _read_object(connection: socket.socket, end: float) -> Any:
    received = bytearray()
    while len(received) < _MOST_ANSWER and (chunk := _receive(connection, 65536, end)):
        received += chunk
    if not received:
        raise ValueError("the process closed the connection without an answer; its log may have the reason")
    return _object_of(received)


def _object_of(text: bytes | bytearray) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None


def _receive(connection: socket.socket, most: int, end: float) -> bytes:
    connection.settimeout(_left(end))
    if time.monotonic() > end:
        raise TimeoutError("the time for this connection is over")
    return connection.recv(most)


def _left(end: float) -> float:
    return max(0.01, end - time.monotonic())


def _known(value: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The known fields of a part of a report; any other field could hold anything.

    Raises:
        ValueError: a field is missing, or is not possible.

    """
    if not isinstance(value, dict) or not _has(value, fields):
        raise ValueError(_NO_REPORT)
    return {name: _short(value[name]) for name in fields}


def _short(value: object) -> object:
    return value[:_MOST_TEXT] if isinstance(value, str) else value


def _has(value: object, fields: Mapping[str, Any]) -> bool:
    return isinstance(value, dict) and all(_is(value.get(name), kind) for name, kind in fields.items())


def _is(value: object, kind: Any) -> bool:
    """Whether a value has a type; a number must also be possible: a reader computes with it."""
    if kind is _Order:
        return value is None or (isinstance(value, (int, float)) and abs(value) <= _MOST_NUMBER)
    if not isinstance(value, kind):
        return False
    return not isinstance(value, (int, float)) or 0 <= value <= _MOST_NUMBER  # NaN is neither
