"""The endpoint that Prometheus scrapes: one thread for all connections, however slow or many they are.

A connection that dawdles costs a socket and a few kilobytes until its time is up, never a thread. Its time does not
pass while the endpoint itself is busy with collecting: that is not the client's fault. Beyond ``most_connections`` the
oldest is dropped: a scrape sends its request at once and is answered before it is the oldest.
"""

from __future__ import annotations

import contextlib
import functools
import logging
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
from dagcache.metrics.responses import answer, refusal

_log = logging.getLogger("dagcache")

_MOST_HEAD = 8 * 1024
_CHUNK = 64 * 1024
_MOST_IGNORED = 4 * 1024 * 1024
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_JOIN_SECONDS = 1.5
_PATIENCE = 5.0  # seconds for a name server

# Without a descriptor of its own: an epoll would be shared with forked children.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


class MetricsServer:
    """Serves a registry on ``/metrics``, to GET and HEAD, without TLS or passwords; anything else is a 404 or a 405.

    Args:
        registry: what to collect for each scrape.
        host: the address to listen on.
        ports: tried in this order; 0 is any free port. Empty: no endpoint.
        most_connections: open at a time; beyond it the oldest is dropped.
        timeout: seconds that a connection may take in all, without those that collecting takes.

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
    ) -> None:
        self.host = host
        self.ports = tuple(ports)
        self._make_desk = functools.partial(
            _Desk, functools.partial(answer, registry=registry), most_connections, timeout
        )
        self._desk: _Desk | None = None
        after_fork_in_child(self._after_fork_in_child)

    @property
    def port(self) -> int | None:
        """The port that is listened on; None while there is none."""
        return None if self._desk is None else self._desk.port

    def start(self) -> bool:
        """Listen on the first free port. False, with a warning in the log, if none could be had; never raises."""
        if self._desk is not None or not self.ports:
            return self._desk is not None
        listener = self._listen()
        if listener is None:
            return False
        try:
            desk = self._make_desk(listener)
        except OSError as error:  # no more descriptors
            listener.close()
            _log.warning("no metrics endpoint: %s", error)
            return False
        try:
            threading.Thread(target=desk.run, name="dagcache-metrics", daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending
            desk.abandon()
            _log.warning("no metrics endpoint: %s", error)
            return False
        self._desk = desk
        return True

    def close(self) -> None:
        """Stop listening and drop all connections. Returns within two seconds, also if a scrape hangs."""
        desk, self._desk = self._desk, None
        if desk is not None:
            desk.close()

    def _listen(self) -> socket.socket | None:
        bound = self._bind_first_free()
        if isinstance(bound, socket.socket):
            return bound
        tried = f"{self.ports[0]}-{self.ports[-1]}" if len(self.ports) > 1 else str(self.ports[0])
        _log.warning("no metrics endpoint: metrics_port = %s on %s: %s", tried, self.host, bound)
        return None

    def _bind_first_free(self) -> socket.socket | Exception:
        address = _address_of(self.host)
        if isinstance(address, Exception):
            return address
        bound = _bind(address, self.ports[0])
        for port in self.ports[1:]:
            if isinstance(bound, socket.socket):
                break
            bound = _bind(address, port)
        return bound

    def _after_fork_in_child(self) -> None:
        desk, self._desk = self._desk, None
        if desk is not None:
            desk.abandon()


class _Desk:
    """One listening socket, its connections, and the thread that attends to them."""

    def __init__(
        self, respond: Callable[[bytes], bytes], most_connections: int, timeout: float, listener: socket.socket
    ) -> None:
        self._respond = respond
        self._most = most_connections
        self._timeout = timeout
        self._listener = listener
        self._bell, self._ringer = socket.socketpair()
        self._connections: dict[socket.socket, tuple[Iterator[int], float]] = {}  # the oldest first
        self._busy = 0.0
        self._selector = _Selector()
        self._open = True
        self._ended = threading.Event()
        self.port: int = listener.getsockname()[1]
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)

    def run(self) -> None:
        """Attend until closed."""
        try:
            self._attend_to_all()  # no loop in here: tests/unit/core/test_interrupts.py says why
        except Exception:
            _log.exception("the metrics endpoint failed and is closed")
        finally:
            self.abandon()
            self._ended.set()

    def close(self) -> None:
        """End the thread, or leave it behind without its sockets if it hangs."""
        self._open = False
        with contextlib.suppress(OSError):
            self._ringer.send(b"!")
        if not self._ended.wait(_JOIN_SECONDS):
            self.abandon()

    def abandon(self) -> None:
        """Close this process's descriptors; a parent's connections are not disturbed by that."""
        self._open = False
        for held in (self._listener, self._bell, self._ringer, *list(self._connections)):
            with contextlib.suppress(OSError):
                held.close()

    def _attend_to_all(self) -> None:
        while self._open:
            self._attend()

    def _attend(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._connections:
                self._proceed(key.fileobj)
        now = self._clients_time()
        for connection, (_, deadline) in list(self._connections.items()):
            if deadline > now:
                break
            self._drop(connection)

    def _patience(self) -> float | None:
        for _, deadline in self._connections.values():
            return max(0.0, deadline - self._clients_time())
        return None

    def _clients_time(self) -> float:
        """Seconds that have passed for the clients: without those in which they waited for an answer to be made."""
        return time.monotonic() - self._busy

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # it went away again
            return
        except OSError:  # out of descriptors: without a pause this would spin
            time.sleep(0.05)
            return
        if len(self._connections) >= self._most:
            self._drop(next(iter(self._connections)))
        connection.setblocking(False)
        talk = _talk(connection, self._answer)
        self._connections[connection] = (talk, self._clients_time() + self._timeout)
        self._selector.register(connection, next(talk))

    def _answer(self, request: bytes) -> bytes:
        began = time.monotonic()
        try:
            return self._respond(request)
        finally:
            self._busy += time.monotonic() - began

    def _proceed(self, connection: socket.socket) -> None:
        talk, _ = self._connections[connection]
        try:
            self._selector.modify(connection, next(talk))
        except Exception:  # StopIteration: it is done; else the client left, or memory is short
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._connections[connection]
        self._selector.unregister(connection)
        connection.close()


def _address_of(host: str) -> str | Exception:
    """The host, as an address if it is a name: looked up once, and not for longer than a start may take."""
    with contextlib.suppress(OSError, ValueError):
        socket.getaddrinfo(host, 0, flags=socket.AI_NUMERICHOST)
        return host
    found: list[str | Exception] = []

    def look_up() -> None:
        try:
            (*_, address), *_ = socket.getaddrinfo(host, 0, socket.AF_INET, socket.SOCK_STREAM)
            found.append(str(address[0]))
        except Exception as error:
            found.append(error)

    if try_for(_PATIENCE, look_up, "dagcache-name"):
        return found[0]
    return TimeoutError("no name server answers")


def _bind(host: str, port: int) -> socket.socket | Exception:
    family, dual = (socket.AF_INET6, socket.has_dualstack_ipv6()) if ":" in host else (socket.AF_INET, False)
    try:
        (*_, address), *_ = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
        return socket.create_server(address, family=family, backlog=128, dualstack_ipv6=dual)
    except Exception as error:  # taken, not ours, or no address at all
        return error


def _talk(connection: socket.socket, respond: Callable[[bytes], bytes]) -> Iterator[int]:
    """One request and its response; yields what to wait for before each step."""
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
    while ignored < _MOST_IGNORED:  # closing on what was not read would cut the response off
        yield selectors.EVENT_READ
        received = connection.recv(_CHUNK)
        if not received:
            return
        ignored += len(received)
