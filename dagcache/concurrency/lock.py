"""A lock that no interrupt leaks, and that is taken back from a holder that is gone.

An interrupt is an exception that a signal handler raises, or that another thread throws in. CPython looks for it after
each call, so a lock that is acquired by a call can be held before the interpreter knows that it has to release it:

- ``with lock:`` enters with a call since CPython 3.14, and an interrupt after that call skips ``__exit__`` (CPython
  issue 148874, fixed in 3.15 only).
- ``owned = lock.acquire()`` in a ``try`` loses the result, in every version.

Then every other thread waits forever. Here the owner is known before the lock is its own: a *turn*, an object that is
new each time, is put on a seat (a dictionary) with one atomic `dict.setdefault`. Who sits there is a fact that the
``finally`` block looks up, with operators only: between the block's first instruction and the release there is no call,
and so no interrupt.

That leaves a thread that dies without unwinding its stack, and a debugger or tracer that raises within ``finally``. A
waiter that is not served for some time looks at the holder's stack; if the frame of the turn is not on it, that seat is
given up for a new one.
"""

from __future__ import annotations

import contextlib
import enum
import inspect
import sys
import threading
import time
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

POLL_SECONDS = 1.0
"""How long a waiter waits before it looks whether the holder is still there."""

_PATIENCE: Final = 3  # how often a waiter is overtaken, by threads that were quicker when it was woken, before it minds
_ROOM_SECONDS: Final = 0.0005

_HOLDER: Final = 0
_SUCCESSOR: Final = 1
_GONE: Final = object()
_SUSPENDABLE: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_HAS_GIL: Final[bool] = getattr(sys, "_is_gil_enabled", lambda: True)()

_Seat = dict[int, Any]


class _Result(enum.Enum):
    BUSY = enum.auto()


_BUSY: Final = _Result.BUSY


class Lock:
    """Runs actions one at a time; re-entrant. Thread-safe, and usable in a forked child.

    Args:
        on_leak: is called, by the thread that found out, before a leaked lock can be acquired again. It must only
            take note: it may be called more than once for one leak.
        poll_seconds: how long a waiter waits before it looks at the holder.

    """

    __slots__ = ("_bell", "_impatient", "_on_leak", "_poll_seconds", "_seat", "_waiting")

    def __init__(self, on_leak: Callable[[], object] = bool, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._on_leak = on_leak
        self._poll_seconds = poll_seconds
        self._seat: _Seat = {}
        self._waiting: set[object] = set()
        self._impatient: set[object] = set()
        # Locked but for moments: its release wakes one of those who wait. Nothing but the speed depends on it.
        self._bell = threading.Lock()
        self._bell.acquire()

    def run(self, action: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an action alone; within an action of the same thread, at once."""
        overtaken = 0
        while (result := self._attempt(action, args, kwargs)) is _BUSY:
            if self.entered():
                return action(*args, **kwargs)
            self._wait(overtaken >= _PATIENCE)
            overtaken += 1
        return result

    def try_run(self, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Run an action alone, or return False if another action is running, be it of this thread. Never waits."""
        while self._attempt(action, args, kwargs) is _BUSY:
            if not self._give_up_if_leaked():
                return False
        return True

    def entered(self) -> bool:
        """Whether this thread is in the middle of an action. Never waits."""
        turn = self._seat.get(_HOLDER)
        if turn is None or turn != get_ident():
            return False
        return _is_on_stack(turn, sys._getframe()) is True  # noqa: SLF001 - the documented way to one's own frame

    def _attempt(self, action: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R | _Result:
        turn = get_ident()  # a new int each time, compared by identity; its value is the holder's thread
        seat = self._seat
        try:
            if seat.setdefault(_HOLDER, turn) is turn:
                return action(*args, **kwargs)
        finally:
            # No call before the seat is free: see above.
            if _HOLDER in seat and seat[_HOLDER] is turn:
                del seat[_HOLDER]
                if self._waiting:
                    self._ring()
        return _BUSY

    def _ring(self) -> None:
        """Wake one waiter. If that is interrupted, it wakes by itself a little later."""
        if self._bell.locked():
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._bell.release()
        if self._impatient:
            time.sleep(_ROOM_SECONDS)  # else this thread may have the lock again before the other one has the processor

    def _wait(self, impatient: bool) -> None:
        """Sleep until the lock may be free; the impatient ask those who have it to make room."""
        seat = self._seat
        turn = seat.get(_HOLDER)
        if turn is _GONE or turn == get_ident():  # leaked by this very thread: `entered` says that it is not inside
            self._give_up_if_leaked()
            return
        waiter = object()
        try:
            self._waiting.add(waiter)
            if impatient:
                self._impatient.add(waiter)
            rung = _HOLDER not in seat or self._bell.acquire(timeout=self._poll_seconds)
        finally:
            self._waiting.discard(waiter)
            self._impatient.discard(waiter)
        if not rung and seat.get(_HOLDER) is turn:
            self._give_up_if_leaked()

    def _give_up_if_leaked(self) -> bool:
        """Go over to a new seat if what holds the present one has ended; whether there is a new one."""
        seat = self._seat
        turn = seat.get(_HOLDER)
        if turn is None or not _has_ended(turn) or seat.get(_HOLDER) is not turn or self._seat is not seat:
            return self._seat is not seat
        self._on_leak()
        # All who give it up go over to the same one, and nobody ever sits here again: two of them cannot both own it.
        self._seat = seat.setdefault(_SUCCESSOR, {})
        seat[_HOLDER] = _GONE
        while _SUCCESSOR in self._seat:  # another thread was here in between, and went further
            self._seat = self._seat[_SUCCESSOR]
        self._ring()
        return True


_TURN: Final = Lock._attempt.__code__  # noqa: SLF001 - of this very module


def _has_ended(turn: Any) -> bool:
    """Whether the frame that took a turn runs no more. False in case of doubt."""
    if turn == get_ident():
        return _is_on_stack(turn, sys._getframe()) is not True  # noqa: SLF001 - the documented way to one's own frame
    frame = sys._current_frames().get(turn)  # noqa: SLF001 - the documented way to the frames of other threads
    if frame is None:
        return True
    # Without a global lock the frames of another thread must not be looked at while it runs.
    return _HAS_GIL and _is_on_stack(turn, frame) is False


def _is_on_stack(turn: int, top: FrameType) -> bool | None:
    """Whether the frame that took a turn is on a stack; None if that cannot be told.

    The stack of another thread may change meanwhile. What stands below the turn stays, and a frame above it that
    returns still knows its caller. Only a generator that yields forgets it; but it is never the end of a stack.
    """
    frame = top
    while not (frame.f_code is _TURN and frame.f_locals.get("turn") is turn):
        caller = frame.f_back
        if caller is None:
            return None if frame.f_code.co_flags & _SUSPENDABLE else False
        frame = caller
    return True
