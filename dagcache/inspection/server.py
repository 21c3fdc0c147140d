"""The usage socket: serves the `usage` of a cache to the user of the process, and to root, and changes its settings.

Metrics do not name DAGs: the number of DAGs has no bound, and any user can read a metrics port. A usage socket names
them to the owner of the process only. One connection is one request and one answer (`dagcache.inspection.protocol`).
Between requests a thread sleeps, and nothing is prepared or kept.

The sockets are in a directory of mode 0700 (`dagcache.inspection.folders`), as ``<component>-<pid>.sock`` of mode 0600.
A second cache of one name has ``<component>-<pid>-2.sock``.
On Linux the kernel also gives the user at the other end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from dagcache.core.cache import DagCache
from dagcache.forks import after_fork_in_child
from dagcache.inspection import protocol
from dagcache.inspection.changes import change
from dagcache.inspection.folders import directory, make_private
from dagcache.inspection.peers import peer_user
from dagcache.inspection.usage import usage
from dagcache.log_limits import report

_log = logging.getLogger("dagcache")

_PAUSE_SECONDS = 0.1
_ANSWER_SECONDS = 2.0
_MOST_NAMES = 100
_UNAVAILABLE = "per-DAG usage socket for cache %r is unavailable: %s"


class AttributionServer:
    """A server of per-DAG usage. Not thread-safe: one thread calls `start` and `close`.

    A forked child closes its copy of the socket and may start a server of its own. The socket is removed with this
    object or at exit.

    Args:
        cache: the cache to report; a weak reference is kept.
        folder: the directory of the socket; by default `dagcache.inspection.folders.directory`.
        timeout: seconds for one connection; the next connection waits that long at most.

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
        """The path of the socket; None while the server does not listen."""
        return None if self._listener is None else self._listener.path

    def start(self) -> bool:
        """Listen. False, with a warning in the log, if the socket is unavailable. Never raises."""
        if self._listener is not None:
            return True
        try:
            folder = directory() if self._folder is None else self._folder
            make_private(folder)
            _remove_stale(folder)
            listener = _Listener(_free_name(folder, f"{self._component}-{os.getpid()}"))
        except (OSError, AttributeError) as error:  # AttributeError: a system without Unix sockets or user ids
            _log.warning(_UNAVAILABLE, self._component, error)
            return False
        self._end = weakref.finalize(self, listener.end)
        arguments = (listener, self._cache, self._timeout)
        try:
            threading.Thread(target=_serve, args=arguments, name="dagcache-attribution", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter shuts down
            self._end()
            _log.warning(_UNAVAILABLE, self._component, error)
            return False
        self._listener = listener
        return True

    def close(self) -> None:
        """Stop listening and remove the socket, without waiting for a request in progress."""
        self._listener = None
        if self._end is not None:
            self._end()

    def _after_fork_in_child(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.abandon()


class _Listener:
    """A listening socket and its path."""

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
        # The socket gets its name after it listens: `_remove_stale` removes a name that refuses connections.
        draft = self.path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        self._socket.bind(os.fspath(draft))
        draft.chmod(0o600)
        self._socket.listen(8)
        inode = draft.stat().st_ino
        draft.replace(self.path)
        return inode

    def accept(self) -> socket.socket | None:
        """The next connection; None once the listener is closed."""
        while not self.closed.is_set():
            with contextlib.suppress(OSError):
                return self._socket.accept()[0]
            self.closed.wait(_PAUSE_SECONDS)  # the client left, or no more descriptors: no busy loop
        return None

    def end(self) -> None:
        """Wake the thread and remove the name, in the process that created the socket."""
        if self._pid != os.getpid():
            return
        self.closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # close() alone does not wake accept()
        self._socket.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # a later server may have taken the name
                self.path.unlink()

    def abandon(self) -> None:
        """Close this process's copy of the socket; the parent's copy stays open."""
        self._socket.close()


def _serve(listener: _Listener, reference: weakref.ref[DagCache[Any, Any]], timeout: float) -> None:
    """Answer one connection after the other, in a thread."""
    while (connection := listener.accept()) is not None:
        with connection:
            cache = reference()
            if cache is not None:
                _answer(connection, cache, time.monotonic() + timeout)
            del cache


def _answer(connection: socket.socket, cache: DagCache[Any, Any], end: float) -> None:
    try:
        if not _may_ask(connection):
            message = "per-DAG usage of cache %r was refused to another user"
            report("attribution, other user", message, cache.config.name, level=logging.WARNING)
            return
        request = protocol.read_request(connection, end)
        if isinstance(request, protocol.ChangeRequest):
            if time.monotonic() <= request.until:
                answer = change(cache, request.settings)  # may take longer than a connection has
                protocol.send_answer(connection, answer, max(end, time.monotonic() + _ANSWER_SECONDS))
        else:
            protocol.send_answer(connection, usage(cache, request.top, request.by), end)
    except (OSError, ValueError):  # the client left, was too slow, or sent no request
        pass
    except Exception as error:
        report("attribution", "per-DAG usage of cache %r could not be reported", cache.config.name, error=error)


def _may_ask(connection: socket.socket) -> bool:
    """Whether the client runs as this user or as root. On systems other than Linux, only the file modes decide."""
    return peer_user(connection) in (None, 0, os.geteuid())


def _free_name(folder: Path, stem: str) -> Path:
    """``<stem>.sock``, or with a number if a living server has that: of a cache of the same name, or in a container."""
    names = (folder / f"{stem}{suffix}.sock" for suffix in ("", *(f"-{number}" for number in range(2, _MOST_NAMES))))
    return next((path for path in names if not os.path.lexists(path)), folder / f"{stem}.sock")


def _remove_stale(folder: Path) -> None:
    """Remove the sockets that no process listens on."""
    for path in list(folder.glob("*.sock")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)  # a busy listener is alive
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue
