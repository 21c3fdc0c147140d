"""Who fills the cache: asked through a local socket that only the user whose process it is can open.

The metrics name no DAGs: their number has no bound, and a metrics port is for everybody to read. Here whoever runs the
process (or is root) asks it directly. One connection is one request, a line of JSON such as ``{"top": 20}``, and one
answer, a JSON object. Nothing is prepared or kept for it: a process that nobody asks has a thread that sleeps.

The sockets are in a directory of mode 0700, ``$XDG_RUNTIME_DIR/dagcache`` or else ``dagcache-<uid>`` among temporary
files, as ``<component>-<pid>.sock`` of mode 0600; on Linux the kernel is asked who is at the other end.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import logging
import os
import re
import socket
import stat
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from dagcache.core.cache import DagCache
from dagcache.forks import after_fork_in_child
from dagcache.log_limits import report
from dagcache.stats import EntryInfo

_log = logging.getLogger("dagcache")

MOST = 1000
"""Entries and DAGs in one answer, at most."""

_ANSWER = {"component": str, "pid": int, "versions": int, "bytes": int, "dags": list, "entries": list}
_DAG = {"dag_id": (str, type(None)), "versions": int, "live": int, "bytes": int, "idle_seconds": (int, float)}
_MOST_REQUEST = 256
_MOST_ANSWER = 8 * 1024 * 1024
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_PAUSE_SECONDS = 0.1


def census(cache: DagCache[Any, Any], top: int = 20) -> dict[str, Any]:
    """What is resident, the ``top`` biggest entries and DAGs of it first; bytes are those of the copies.

    Takes no lock, and a moment per thousand entries. A DAG is what ``version_of`` said the key is a version of.
    """
    entries = cache.entries()
    return {
        "component": cache.config.name,
        "pid": os.getpid(),
        "max_bytes": cache.max_bytes,
        "versions": len(entries),
        "bytes": sum(map(_weight, entries)),
        "dags": heapq.nlargest(top, _by_dag(entries), key=lambda dag: dag["bytes"]),
        "entries": [_told(entry) for entry in heapq.nlargest(top, entries, key=_weight)],
    }


def ask(path: Path, top: int = 20, timeout: float = 3.0) -> dict[str, Any]:
    """The `census` of the process that listens at ``path``; ``timeout`` is in seconds, for everything.

    Raises:
        OSError: nobody listens there, access is denied, or it took too long.
        ValueError: what came is no such answer.

    """
    end = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(os.fspath(path))
        connection.sendall(json.dumps({"top": top}).encode() + b"\n")
        received = bytearray()
        while len(received) < _MOST_ANSWER and (chunk := _receive(connection, 65536, end)):
            received += chunk
    try:
        answer = json.loads(received)
    except RecursionError:
        answer = None
    if not _has(answer, _ANSWER) or not all(_has(dag, _DAG) for dag in answer["dags"]):
        raise ValueError(f"{path.name} answered something else than who fills its cache")
    return cast("dict[str, Any]", answer)


def directory() -> Path:
    """Where this user's processes put their sockets."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "dagcache"
    return Path(tempfile.gettempdir()) / f"dagcache-{os.geteuid()}"


def sockets() -> list[Path]:
    """The sockets that this user may ask, of processes of all environments; root: those of every user."""
    folders = {directory(), Path(tempfile.gettempdir()) / f"dagcache-{os.geteuid()}"}
    if os.geteuid() == 0:
        folders.update(Path(tempfile.gettempdir()).glob("dagcache-*"))
        folders.update(Path("/run/user").glob("*/dagcache"))
    return sorted(path for folder in folders if _is_private(folder) for path in folder.glob("*.sock"))


class AttributionServer:
    """Answers who fills a cache. Not thread-safe: `start` and `close` are for one thread.

    Closed in a forked child, which may start one of its own; the socket is removed with this object or at exit.

    Args:
        cache: whose entries are told of; it is not kept alive.
        folder: where the socket goes; by default `directory`.
        timeout: seconds that a connection may take in all; the next one waits that long at most.

    """

    def __init__(self, cache: DagCache[Any, Any], *, folder: Path | None = None, timeout: float = 2.0) -> None:
        self._cache = weakref.ref(cache)
        self._component = re.sub(r"[^A-Za-z0-9_.]", "_", cache.config.name)
        self._folder = folder
        self._timeout = timeout
        self._listener: _Listener | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        after_fork_in_child(self._after_fork_in_child)

    @property
    def path(self) -> Path | None:
        """Where it listens; None while it does not."""
        return None if self._listener is None else self._listener.path

    def start(self) -> bool:
        """Listen. False, with a warning in the log, if that cannot be; never raises."""
        if self._listener is not None:
            return True
        try:
            folder = directory() if self._folder is None else self._folder
            _make_private(folder)
            _remove_stale(folder)
            listener = _Listener(folder / f"{self._component}-{os.getpid()}.sock")
        except (OSError, AttributeError) as error:  # the latter: a system without such sockets, or users
            _log.warning("who fills the cache %r cannot be asked locally: %s", self._component, error)
            return False
        self._end = weakref.finalize(self, listener.end)
        arguments = (listener, self._cache, self._timeout)
        try:
            threading.Thread(target=_attend, args=arguments, name="dagcache-attribution", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            self._end()
            _log.warning("who fills the cache %r cannot be asked locally: %s", self._component, error)
            return False
        self._listener = listener
        return True

    def close(self) -> None:
        """Stop listening and remove the socket; waits for nobody."""
        self._listener = None
        if self._end is not None:
            self._end()

    def _after_fork_in_child(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.abandon()


class _Listener:
    """A socket that listens, and its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = threading.Event()
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._inode = self._listen()
        except BaseException:
            self._socket.close()
            raise

    def _listen(self) -> int:
        # Under its name only once it answers: whoever finds a name that refuses takes it for stale.
        draft = self.path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        self._socket.bind(os.fspath(draft))
        draft.chmod(0o600)
        self._socket.listen(8)
        inode = draft.stat().st_ino
        draft.replace(self.path)
        return inode

    def accept(self) -> socket.socket | None:
        """The next connection; None as soon as this is closed."""
        while not self.closed.is_set():
            with contextlib.suppress(OSError):
                return self._socket.accept()[0]
            self.closed.wait(_PAUSE_SECONDS)  # the client left again, or no more descriptors: that would spin
        return None

    def end(self) -> None:
        """Wake the thread and remove the name, in the process that made it."""
        if self._pid != os.getpid():
            return
        self.closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone would not wake it
        self._socket.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # not the one of a successor
                self.path.unlink()

    def abandon(self) -> None:
        """Close this process's copy of the socket; a parent's is not disturbed by that."""
        self._socket.close()


def _attend(listener: _Listener, reference: weakref.ref[DagCache[Any, Any]], timeout: float) -> None:
    """The thread: one connection after the other."""
    while (connection := listener.accept()) is not None:
        with connection:
            cache = reference()
            if cache is not None:
                _answer(connection, cache, time.monotonic() + timeout)
            del cache


def _answer(connection: socket.socket, cache: DagCache[Any, Any], end: float) -> None:
    try:
        if not _may_ask(connection):
            message = "another user asked who fills the cache %r: not answered"
            report("attribution, stranger", message, cache.config.name, level=logging.WARNING)
            return
        top = _requested(connection, end)
        content = json.dumps(census(cache, top)).encode()
        connection.settimeout(max(0.01, end - time.monotonic()))
        connection.sendall(content)
    except (OSError, ValueError):  # it left, dawdled, or asked for something else
        pass
    except Exception as error:
        report("attribution", "who fills the cache %r could not be told", cache.config.name, error=error)


def _requested(connection: socket.socket, end: float) -> int:
    """How many entries are asked for.

    Raises:
        OSError: it took too long.
        ValueError: it is no request.

    """
    line = b""
    while b"\n" not in line and len(line) < _MOST_REQUEST and (more := _receive(connection, _MOST_REQUEST, end)):
        line += more
    request = json.loads(line)
    top = request.get("top") if isinstance(request, dict) else None
    if not isinstance(top, int):
        raise ValueError("no number of entries")
    return max(1, min(top, MOST))


def _receive(connection: socket.socket, most: int, end: float) -> bytes:
    connection.settimeout(max(0.01, end - time.monotonic()))
    if time.monotonic() > end:
        raise TimeoutError("it took too long")
    return connection.recv(most)


def _may_ask(connection: socket.socket) -> bool:
    """Whether the user at the other end is ours, or root; elsewhere than on Linux the modes of the files decide."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return user in (0, os.geteuid())


def _make_private(folder: Path) -> None:
    """Create a folder that only this user can enter.

    Raises:
        OSError: it cannot be, or there is something of somebody else's.

    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is no directory of this user's own")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _is_private(folder: Path) -> bool:
    """Whether a folder is this user's own (root: anybody's) and nobody else can enter it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    owned = os.geteuid() in (0, found.st_uid)
    return stat.S_ISDIR(found.st_mode) and owned and not found.st_mode & 0o077


def _remove_stale(folder: Path) -> None:
    """Remove the sockets at which nobody listens any more."""
    for path in list(folder.glob("*.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)  # one that is too busy is alive
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue


def _has(value: object, fields: Mapping[str, Any]) -> bool:
    """Whether what was received is an object with such fields: root asks processes that are not his own."""
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in fields.items())


def _weight(entry: EntryInfo[Any]) -> int:
    return entry.live_bytes + entry.frozen_bytes


def _told(entry: EntryInfo[Any]) -> dict[str, Any]:
    return {
        "key": str(entry.key),
        "dag_id": None if entry.family is None else str(entry.family),
        "version": None if entry.family is None else entry.order,
        "tier": entry.tier,
        "bytes": _weight(entry),
        "live_bytes": entry.live_bytes,
        "frozen_bytes": entry.frozen_bytes,
        "serialized_bytes": entry.serialized_bytes,
        "idle_seconds": round(entry.idle_seconds, 1),
        "hits": entry.hits,
        "load_seconds": entry.load_seconds,
    }


def _by_dag(entries: Iterable[EntryInfo[Any]]) -> Iterable[dict[str, Any]]:
    dags: dict[str | None, dict[str, Any]] = {}
    for entry in entries:
        name = None if entry.family is None else str(entry.family)
        dag = dags.get(name)
        if dag is None:
            dag = {"dag_id": name, "versions": 0, "live": 0, "bytes": 0, "hits": 0, "idle_seconds": entry.idle_seconds}
            dags[name] = dag
        dag["versions"] += 1
        dag["live"] += entry.tier == "live"
        dag["bytes"] += _weight(entry)
        dag["hits"] += entry.hits
        dag["idle_seconds"] = round(min(dag["idle_seconds"], entry.idle_seconds), 1)
    return dags.values()
