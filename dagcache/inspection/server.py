"""The usage socket: serves the `usage` of a cache to the user of the process, and to root, and changes its settings.

Metrics do not name DAGs: the number of DAGs has no bound, and any user can read a metrics port. A usage socket names
them to the owner of the process only. One connection is one request and one answer (`dagcache.inspection.protocol`).
One thread has all connections (`dagcache.inspection.exchanges`). Between requests it sleeps; nothing is prepared.

The sockets are in a directory of mode 0700 (`dagcache.inspection.folders`), as ``<component>-<pid>.sock`` of mode 0600.
A second cache of one name has ``<component>-<pid>-2.sock``.
On Linux the kernel also gives the user at the other end.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import socket
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

from dagcache.core.cache import DagCache
from dagcache.forks import after_fork_in_child
from dagcache.inspection import protocol
from dagcache.inspection.changes import change
from dagcache.inspection.exchanges import Exchanges
from dagcache.inspection.folders import directory, make_private
from dagcache.inspection.peers import peer_user
from dagcache.inspection.usage import usage
from dagcache.log_limits import report

_log = logging.getLogger("dagcache")

_BACKLOG = 64
_MOST_CACHES = 100  # of one name in one process
_UNAVAILABLE = "per-DAG usage socket for cache %r is unavailable: %s"


class AttributionServer:
    """A server of per-DAG usage. Not thread-safe: one thread calls `start` and `close`.

    A forked child closes its copy of the socket and may start a server of its own. The socket is removed with this
    object or at exit.

    Args:
        cache: the cache to report; a weak reference is kept.
        folder: the directory of the socket; by default `dagcache.inspection.folders.directory`.
        timeout: seconds for one connection. Other connections do not wait for it.

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
            listener = _Listener(folder, f"{self._component}-{os.getpid()}", self._cache, self._timeout)
        except (OSError, AttributeError) as error:  # AttributeError: a system without Unix sockets or user ids
            _log.warning(_UNAVAILABLE, self._component, error)
            return False
        self._end = weakref.finalize(self, listener.end)
        try:
            threading.Thread(target=listener.exchanges.run, name="dagcache-attribution", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter shuts down
            self._end()
            listener.abandon()
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
    """A listening socket, its path, and its connections."""

    def __init__(self, folder: Path, stem: str, cache: weakref.ref[DagCache[Any, Any]], timeout: float) -> None:
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.path, self._inode = self._listen(folder, stem)
            self.exchanges = Exchanges(
                self._socket, partial(_may_ask, stem.partition("-")[0]), partial(_respond, cache), timeout
            )
        except BaseException:
            self._socket.close()
            raise

    def _listen(self, folder: Path, stem: str) -> tuple[Path, int]:
        # The socket gets its name after it listens: `_remove_stale` removes a name that refuses connections.
        draft = folder / f"{stem}.{secrets.token_hex(4)}"  # no shorter than the name, so that both fit an address
        self._socket.bind(os.fspath(draft))
        try:
            draft.chmod(0o600)
            self._socket.listen(_BACKLOG)
            return _named(draft, folder, stem), draft.stat().st_ino
        finally:
            draft.unlink()

    def end(self) -> None:
        """Wake the thread and remove the name, in the process that created the socket."""
        if self._pid != os.getpid():
            return
        self.exchanges.close()
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # a later server may have taken the name
                self.path.unlink()

    def abandon(self) -> None:
        """Close this process's copies of the sockets; the parent's copies stay open."""
        self.exchanges.abandon()


def _named(draft: Path, folder: Path, stem: str) -> Path:
    """Give a socket a name that no other has: ``<stem>.sock``, or with a number for a further cache of one name.

    Another cache may be in this process, or in a container with the same process ids and the same folder.
    """
    for suffix in ("", *(f"-{number}" for number in range(2, _MOST_CACHES))):
        path = folder / f"{stem}{suffix}.sock"
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # in one step, unlike a look and a rename
            return path
    raise OSError(errno.EEXIST, f"{_MOST_CACHES - 1} caches of this name have a socket")


def _respond(reference: weakref.ref[DagCache[Any, Any]], line: bytes) -> bytes | None:
    """The answer to a request; None if it is not one, or the cache has gone. Never raises."""
    cache = reference()
    if cache is None:
        return None
    try:
        return _answer(cache, protocol.request_of(line))
    except ValueError:  # not a request
        return None
    except BaseException as error:  # also what a listener raises while a change evicts: this thread is not its own
        report("attribution", "per-DAG usage of cache %r could not be reported", cache.config.name, error=error)
        return None


def _answer(cache: DagCache[Any, Any], request: protocol.UsageRequest | protocol.ChangeRequest) -> bytes | None:
    if isinstance(request, protocol.UsageRequest):
        return protocol.answer_line(usage(cache, request.top, request.by))
    if time.monotonic() > request.until:
        return None
    return protocol.answer_line(change(cache, request.settings))


def _may_ask(name: str, connection: socket.socket) -> bool:
    """Whether the client runs as this user or as root. On systems other than Linux, only the file modes decide."""
    try:
        if peer_user(connection) in (None, 0, os.geteuid()):
            return True
    except OSError:  # the client left
        return False
    message = "per-DAG usage of cache %r was refused to another user"
    report("attribution, other user", message, name, level=logging.WARNING)
    return False


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
