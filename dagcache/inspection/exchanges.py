"""The connections of a usage socket: one thread for all of them. A silent or slow client delays no other."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import final

from dagcache.inspection.protocol import MOST_REQUEST

_MOST_CONNECTIONS = 64
_ANSWER_SECONDS = 2.0  # for the reading of an answer
_PAUSE_SECONDS = 0.1
_LONGEST_SLEEP = 60.0  # on a system where a shutdown does not wake the thread

# An epoll is a descriptor of its own, which forked children would share.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


@final
class Exchanges:
    """Answers the connections of a listening socket, until it is closed. One thread calls `run`.

    Args:
        listener: the socket; `run` closes it.
        is_welcome: whether a new connection may ask.
        respond: the answer to a request; None: none. Must not raise. Its time does not count against other clients.
        timeout: seconds for one connection.

    """

    def __init__(
        self,
        listener: socket.socket,
        is_welcome: Callable[[socket.socket], bool],
        respond: Callable[[bytes], bytes | None],
        timeout: float,
    ) -> None:
        self._listener = listener
        self._is_welcome = is_welcome
        self._respond = respond
        self._timeout = timeout
        self._connections: dict[socket.socket, tuple[Iterator[int], float]] = {}  # the oldest first, each with its end
        self._busy = 0.0
        self._closed = threading.Event()
        self._selector = _Selector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until closed."""
        try:
            self._serve()
        finally:
            self.abandon()

    def close(self) -> None:
        """End `run`, without waiting for it. Thread-safe."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close() alone does not wake the thread

    def abandon(self) -> None:
        """Close this process's copies of the sockets. In a forked child this leaves the parent's intact."""
        self._closed.set()
        for held in (self._listener, *list(self._connections)):
            held.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._serve_once()

    def _serve_once(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_next_end()):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._connections:
                self._advance(key.fileobj)
        for connection, (_, end) in list(self._connections.items()):
            if end <= self._clock():
                self._drop(connection)

    def _seconds_to_next_end(self) -> float:
        ends = [end for _, end in self._connections.values()]
        return max(0.0, min(ends) - self._clock()) if ends else _LONGEST_SLEEP

    def _clock(self) -> float:
        """Seconds that count against the clients: all but those that the answers took."""
        return time.monotonic() - self._busy

    def _accept(self) -> None:
        if self._closed.is_set():
            return
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # the client left again
            return
        except OSError:  # no more descriptors: no busy loop
            self._closed.wait(_PAUSE_SECONDS)
            return
        if not self._is_welcome(connection):
            connection.close()
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._drop(next(iter(self._connections)))
        connection.setblocking(False)
        exchange = self._exchange(connection)
        self._connections[connection] = exchange, self._clock() + self._timeout
        self._selector.register(connection, next(exchange))

    def _advance(self, connection: socket.socket) -> None:
        exchange, _ = self._connections[connection]
        try:
            self._selector.modify(connection, next(exchange))
        except (StopIteration, OSError):  # the end, or the client left
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._connections[connection]
        self._selector.unregister(connection)
        connection.close()

    def _exchange(self, connection: socket.socket) -> Iterator[int]:
        """One request and its answer. Yields the event to wait for before each step."""
        request = b""
        while b"\n" not in request and len(request) < MOST_REQUEST:
            yield selectors.EVENT_READ
            received = connection.recv(MOST_REQUEST)
            if not received:
                break
            request += received
        answer = memoryview(self._timed_answer(request) or b"")
        exchange, end = self._connections[connection]
        self._connections[connection] = exchange, max(end, self._clock() + _ANSWER_SECONDS)
        while answer:
            yield selectors.EVENT_WRITE
            answer = answer[connection.send(answer) :]
        connection.shutdown(socket.SHUT_WR)  # a child that was forked meanwhile has a copy of the connection

    def _timed_answer(self, request: bytes) -> bytes | None:
        began = time.monotonic()
        try:
            return self._respond(request)
        finally:
            self._busy += time.monotonic() - began
