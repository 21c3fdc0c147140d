"""The waits of all caches in the process: which load waits for which flight. A wait that would never end is refused.

A loader may look further keys up, in its own cache or in another one. So a wait may close a ring: the load of A waits
for B, and the load of B waits for A. Each edge of the graph starts at the identity of a caller:

- The code of a load, in any thread or task, knows the flights that it is a part of by a context variable. Its wait is a
  wait of all of them.
- A wait that *blocks* also stops the other flights that its thread leads: those of other tasks and greenlets.

A wait is noted first and checked then, and a refused note is taken back. So of two threads that close a ring at the
same time, at least one finds it, and no lock is needed. A lock that all caches share could not be taken safely: a
signal handler that interrupts its holder may need the lock of a cache, whose holder may need the shared one.

Only lookups that are about to wait pay for this. A thread that a loader starts without its context
(`contextvars.copy_context`) is a caller of its own: a ring through it is not found.
"""

from __future__ import annotations

import enum
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final, NamedTuple

from dagcache.core.single_flight import Flight
from dagcache.forks import after_fork_in_child

# Weak references: the context of a task that a loader starts may outlive the flight, and must not hold its value.
_leading: ContextVar[tuple[weakref.ref[Flight], ...]] = ContextVar("dagcache_leading", default=())


@contextmanager
def leading(*flights: Flight) -> Iterator[None]:
    """Mark the code of the block, and the tasks that it starts, as a part of the load of flights."""
    token = _leading.set((*map(weakref.ref, _led()), *map(weakref.ref, flights)))
    try:
        yield
    finally:
        with suppress(ValueError):  # a coroutine that is closed elsewhere than in its task
            _leading.reset(token)


def _led() -> tuple[Flight, ...]:
    found = [reference() for reference in _leading.get()]
    return tuple(flight for flight in found if flight is not None)


class Caller(NamedTuple):
    """The identity of running code."""

    thread: threading.Thread
    led: tuple[Flight, ...]
    """The flights that the code is a part of."""


def running() -> Caller:
    """The identity of the code that calls this."""
    return Caller(threading.current_thread(), _led())


class Wait(enum.Enum):
    """Whether a flight can be waited for."""

    NOTED = enum.auto()
    """It can, and the note stays."""
    ENDLESS = enum.auto()
    """The flight waits, directly or in a ring, for the load that asks for it."""
    BLOCKED = enum.auto()
    """The flight waits for this very thread, where another task or greenlet leads."""


class Waits:
    """The graph of waits. Thread-safe without a lock: each change is a single operation on a list or a dictionary."""

    __slots__ = ("__weakref__", "_by_thread")

    def __init__(self) -> None:
        # A list for each thread: a signal handler may wait in the middle of a wait. Weak references: the note of a wait
        # that an interrupt has ended early must not hold a value.
        self._by_thread: dict[int, list[weakref.ref[Flight]]] = {}

    def __len__(self) -> int:
        """The number of threads that a wait blocks."""
        return len(self._by_thread)

    def forget(self) -> None:
        """Forget all waits: in a forked child, where the threads that wait do not exist."""
        self._by_thread.clear()

    def begin(self, flight: Flight, caller: Caller, *, blocks: bool = True) -> Wait:
        """Note that the caller begins to wait for a flight; nothing is noted if the wait would never end.

        ``blocks``: the wait stops the caller's thread.
        """
        for each in caller.led:
            each.awaited.append(flight)
        if blocks:
            self._by_thread.setdefault(caller.thread.ident or 0, []).append(weakref.ref(flight))
        wait = self._judge(flight, caller, blocks)
        if wait is not Wait.NOTED:
            self.end(flight, caller, blocks=blocks)
        return wait

    def end(self, flight: Flight, caller: Caller, *, blocks: bool = True) -> None:
        """Note that a wait is over."""
        for each in caller.led:
            with suppress(ValueError):
                each.awaited.remove(flight)
        if not blocks:
            return
        ident = caller.thread.ident or 0
        mine = self._by_thread.get(ident, [])
        with suppress(ValueError):
            mine.remove(weakref.ref(flight))
        if all(reference() is None for reference in mine):
            self._by_thread.pop(ident, None)

    def _judge(self, flight: Flight, caller: Caller, blocks: bool) -> Wait:
        """Whether a wait that is noted would ever end."""
        ahead, known = [flight], {flight}
        for other in ahead:  # it grows during the loop
            if other.is_over:
                continue
            if other in caller.led:
                return Wait.ENDLESS
            if blocks and other.leader is caller.thread:
                return Wait.BLOCKED
            for each in (*self._blocking(other.leader), *other.awaited):
                if each not in known:
                    known.add(each)
                    ahead.append(each)
        return Wait.NOTED

    def _blocking(self, thread: threading.Thread) -> list[Flight]:
        """The flights whose waits block a thread."""
        notes = list(self._by_thread.get(thread.ident or 0, ()))  # a copy: the thread may end its wait meanwhile
        found = [reference() for reference in notes]
        return [flight for flight in found if flight is not None]


WAITS: Final = Waits()
"""The graph of this process."""

after_fork_in_child(WAITS.forget)
