"""The HTTP server of the metrics endpoint: one thread for all connections, however slow or many they are.

A slow connection costs a socket and a few kilobytes until its deadline, never a thread. Its time stands still while
the endpoint collects metrics, which is not the client's fault. Beyond ``most_connections`` the oldest connection is
dropped: a scrape sends its request at once, and gets its response long before it is the oldest.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry

from dagcache.concurrency.time_limit import try_for
from dagcache.forks import after_fork_in_child
from dagcache.metrics.listening import listen, resolved
from dagcache.metrics.responses import Responder, refusal

_log = logging.getLogger("dagcache")

_MOST_HEAD = 8 * 1024
_CHUNK = 64 * 1024
_MOST_IGNORED = 4 * 1024 * 1024
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_JOIN_SECONDS = 1.5
_NAME_SERVER_SECONDS = 5.0

# An epoll is a descriptor of its own, which forked children would share.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class MetricsServer:
    """Serves a registry on ``/metrics``, a status page on ``/``, and ``/-/healthy``, without TLS or passwords.

    Methods are GET and HEAD. Other requests get a 404 or a 405.

    Args:
        registry: collected for each scrape.
        host: the address to listen on.
        ports: tried in this order; 0 is any free port. Without ports there is no endpoint.
        most_connections: open at the same time; beyond that the oldest is dropped.
        timeout: seconds for a whole connection, without the time of collecting.
        owner: the component, for the log line of a process that gets no port.

    Not thread-safe: `start` and `close` are for one thread. A forked child does not listen until it calls `start`.

    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        host: str = "0.0.0.0",
        ports: Sequence[int],
        most_connections: int = 64,
        timeout: float = 5.0,
        owner: str = "dagcache",
    ) -> None:
        self.host = host
        self._owner = owner
        self.ports = tuple(ports)
        self._make_loop = functools.partial(_EventLoop, Responder(registry).response_to, most_connections, timeout)
        self._loop: _EventLoop | None = None
        after_fork_in_child(self._after_fork_in_child)

    @property
    def port(self) -> int | None:
        """The port in use; None while the server does not listen."""
        return None if self._loop is None else self._loop.port

    def start(self) -> bool:
        """Listen on the first free port. Returns False, with a warning in the log, if there is none. Never raises."""
        if self._loop is not None or not self.ports:
            return self._loop is not None
        listener = self._listen()
        if listener is None:
            return False
        try:
            loop = self._make_loop(listener)
        except OSError as error:  # no more descriptors
            listener.close()
            self._warn(error)
            return False
        try:
            threading.Thread(target=loop.run, name="dagcache-metrics", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            loop.abandon()
            self._warn(error)
            return False
        self._loop = loop
        return True

    def close(self) -> None:
        """Stop listening and drop all connections. Returns within two seconds, even if a scrape hangs."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _listen(self) -> socket.socket | None:
        bound = self._bind_first_free()
        if isinstance(bound, socket.socket):
            return bound
        first, last = self.ports[0], self.ports[-1]
        tried = f"{first}-{last}" if len(self.ports) > 1 else str(first)
        self._warn(f"metrics_port = {tried} on {self.host}: {bound}")
        return None

    def _warn(self, reason: object) -> None:
        _log.warning("no metrics endpoint for the %s, process %d: %s", self._owner, os.getpid(), reason)

    def _bind_first_free(self) -> socket.socket | Exception:
        address = _address_of(self.host)
        if isinstance(address, Exception):
            return address
        bound = _try_to_listen(address, self.ports[0])
        for port in self.ports[1:]:
            if isinstance(bound, socket.socket):
                break
            bound = _try_to_listen(address, port)
        return bound

    def _after_fork_in_child(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.abandon()


class _EventLoop:
    """One listening socket and its connections, served by one thread."""

    def __init__(
        self, respond: Callable[[bytes], bytes], most_connections: int, timeout: float, listener: socket.socket
    ) -> None:
        self._respond = respond
        self._most = most_connections
        self._timeout = timeout
        self._listener = listener
        self._wakeup_receiver, self._wakeup_sender = socket.socketpair()
        self._connections: dict[socket.socket, tuple[Iterator[int], float]] = {}  # the oldest first
        self._busy = 0.0
        self._selector = _Selector()
        self._open = True
        self._ended = threading.Event()
        self.port: int = listener.getsockname()[1]
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup_receiver, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until closed."""
        try:
            self._serve_until_closed()  # a loop in its own function: see tests/unit/core/test_interrupts.py
        except Exception:
            _log.exception("the metrics endpoint failed and is closed")
        finally:
            self.abandon()
            self._ended.set()

    def close(self) -> None:
        """End the thread. If it hangs, close its sockets and leave it."""
        self._open = False
        with contextlib.suppress(OSError):
            self._wakeup_sender.send(b"!")
        if not self._ended.wait(_JOIN_SECONDS):
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptors of this process. In a forked child this leaves the parent's connections intact."""
        self._open = False
        for held in (self._listener, self._wakeup_receiver, self._wakeup_sender, *list(self._connections)):
            with contextlib.suppress(OSError):
                held.close()

    def _serve_until_closed(self) -> None:
        while self._open:
            self._serve_once()

    def _serve_once(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_next_deadline()):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._connections:
                self._advance(key.fileobj)
        now = self._client_clock()
        for connection, (_, deadline) in list(self._connections.items()):
            if deadline > now:
                break
            self._drop(connection)

    def _seconds_to_next_deadline(self) -> float | None:
        for _, deadline in self._connections.values():
            return max(0.0, deadline - self._client_clock())
        return None

    def _client_clock(self) -> float:
        """Seconds that count against the clients: all but those that the making of responses took."""
        return time.monotonic() - self._busy

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # the client left again
            return
        except OSError:  # out of descriptors: without a pause the loop would spin
            time.sleep(0.05)
            return
        if len(self._connections) >= self._most:
            self._drop(next(iter(self._connections)))
        connection.setblocking(False)
        exchange = _exchange(connection, self._timed_response)
        self._connections[connection] = (exchange, self._client_clock() + self._timeout)
        self._selector.register(connection, next(exchange))

    def _timed_response(self, request: bytes) -> bytes:
        began = time.monotonic()
        try:
            return self._respond(request)
        finally:
            self._busy += time.monotonic() - began

    def _advance(self, connection: socket.socket) -> None:
        exchange, _ = self._connections[connection]
        try:
            self._selector.modify(connection, next(exchange))
        except Exception:  # StopIteration at the end; else the client left, or memory is short
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._connections[connection]
        self._selector.unregister(connection)
        connection.close()


def _address_of(host: str) -> str | Exception:
    """The address of a host; a name is looked up once, within the time that a start may take."""
    host = host.strip("[]")
    with contextlib.suppress(OSError, ValueError):
        socket.getaddrinfo(host, 0, flags=socket.AI_NUMERICHOST)
        return host
    found: list[str | Exception] = []

    def look_up() -> None:
        try:
            found.append(str(resolved(host, 0)[1][0]))
        except Exception as error:
            found.append(error)

    if try_for(_NAME_SERVER_SECONDS, look_up, "dagcache-name"):
        return found[0]
    return TimeoutError("no answer from a name server")


def _try_to_listen(address: str, port: int) -> socket.socket | Exception:
    try:
        return listen(address, port)
    except Exception as error:  # the port is taken or not permitted, or the address is not of this machine
        return error


def _exchange(connection: socket.socket, respond: Callable[[bytes], bytes]) -> Iterator[int]:
    """One request and its response. Yields the event to wait for before each step."""
    head = b""
    while (end := _END_OF_HEAD.search(head, 0, _MOST_HEAD)) is None and len(head) < _MOST_HEAD:
        yield selectors.EVENT_READ
        received = connection.recv(_MOST_HEAD)
        if not received:
            return
        head += received
    too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    unsent = memoryview(refusal(too_large) if end is None else respond(head[: end.end()]))
    while unsent:
        yield selectors.EVENT_WRITE
        unsent = unsent[connection.send(unsent) :]
    connection.shutdown(socket.SHUT_WR)
    ignored = 0
    while ignored < _MOST_IGNORED:  # closing a socket with unread data would cut the response off
        yield selectors.EVENT_READ
        received = connection.recv(_CHUNK)
        if not received:
            return
        ignored += len(received)
