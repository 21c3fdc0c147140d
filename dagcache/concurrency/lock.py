"""A lock that no interrupt leaks, and that waiters take back from a holder that is gone.

An interrupt is an exception that a signal handler raises, or that another thread throws in. CPython looks for it after
each call. So a thread can hold a lock that a call has acquired before the interpreter knows that it has to release it:

- ``with lock:`` enters with a call since CPython 3.14, and an interrupt after that call skips ``__exit__`` (CPython
  issue 148874, fixed in 3.15 only).
- ``owned = lock.acquire()`` in a ``try`` loses the result, in every version.

Then every other thread waits forever. Here the owner is known before the lock is its own: an atomic `dict.setdefault`
puts a *token*, a new object each time, into a slot (a dictionary). The ``finally`` block looks up which token is there,
with operators only. No call, and so no interrupt, comes between the first instruction of the block and the release.

Two cases remain: a thread that dies without unwinding its stack, and a debugger or tracer that raises within
``finally``. A waiter that is not served for some time looks at the holder's stack. If the frame of the token is not on
it, the waiters give that slot up for a new one.
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

from dagcache.concurrency.global_lock import has_global_lock

P = ParamSpec("P")
R = TypeVar("R")

POLL_SECONDS = 1.0
"""The wait before a waiter looks whether the holder still exists."""

_PATIENCE: Final = 3  # times that quicker threads may overtake a woken waiter before it is impatient
_ROOM_SECONDS: Final = 0.0005

_HOLDER: Final = 0
_SUCCESSOR: Final = 1
_GONE: Final = object()
_SUSPENDABLE: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_HAS_GIL: Final[bool] = has_global_lock()

_Slot = dict[int, Any]


class _Result(enum.Enum):
    BUSY = enum.auto()


_BUSY: Final = _Result.BUSY


class Lock:
    """Runs actions one at a time; re-entrant. Thread-safe, and usable in a forked child.

    Args:
        on_leak: called before a leaked lock can be acquired again, by the thread that found the leak. It must only
            take note: one leak may lead to several calls.
        poll_seconds: the wait before a waiter looks at the holder, seconds.

    """

    __slots__ = ("_impatient", "_on_leak", "_poll_seconds", "_slot", "_waiting", "_wakeup")

    def __init__(self, on_leak: Callable[[], object] = bool, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._on_leak = on_leak
        self._poll_seconds = poll_seconds
        self._slot: _Slot = {}
        self._waiting: set[object] = set()
        self._impatient: set[object] = set()
        # Locked except for moments: its release wakes one waiter. Only the speed depends on it.
        self._wakeup = threading.Lock()
        self._wakeup.acquire()

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
        """Run an action alone, or return False if another action is running, also one of this thread. Never waits."""
        while self._attempt(action, args, kwargs) is _BUSY:
            if not self._give_up_if_leaked():
                return False
        return True

    def entered(self) -> bool:
        """Whether this thread is in the middle of an action. Never waits."""
        token = self._slot.get(_HOLDER)
        if token is None or token != get_ident():
            return False
        return _is_on_stack(token, sys._getframe()) is True  # noqa: SLF001 - the documented way to one's own frame

    def _attempt(self, action: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R | _Result:
        token = get_ident()  # a new int each time, compared by identity; its value is the thread of the holder
        slot = self._slot
        try:
            if slot.setdefault(_HOLDER, token) is token:
                return action(*args, **kwargs)
        finally:
            # No call before the slot is free: see above.
            if _HOLDER in slot and slot[_HOLDER] is token:
                del slot[_HOLDER]
                if self._waiting:
                    self._wake_one()
        return _BUSY

    def _wake_one(self) -> None:
        """Wake one waiter. If that is interrupted, it wakes by itself a little later."""
        if self._wakeup.locked():
            with contextlib.suppress(RuntimeError):  # another thread was faster
                self._wakeup.release()
        if self._impatient:
            time.sleep(_ROOM_SECONDS)  # else this thread may have the lock again before the other one has the processor

    def _wait(self, impatient: bool) -> None:
        """Sleep until the lock may be free. An impatient waiter asks holders to pause after a release."""
        slot = self._slot
        token = slot.get(_HOLDER)
        if token is _GONE or token == get_ident():  # leaked by this very thread: `entered` says that it is not inside
            self._give_up_if_leaked()
            return
        waiter = object()
        try:
            self._waiting.add(waiter)
            if impatient:
                self._impatient.add(waiter)
            woken = _HOLDER not in slot or self._wakeup.acquire(timeout=self._poll_seconds)
        finally:
            self._waiting.discard(waiter)
            self._impatient.discard(waiter)
        if not woken and slot.get(_HOLDER) is token:
            self._give_up_if_leaked()

    def _give_up_if_leaked(self) -> bool:
        """Replace the slot if its holder has ended; whether there is a new one."""
        slot = self._slot
        token = slot.get(_HOLDER)
        if token is None or not _has_ended(token) or slot.get(_HOLDER) is not token or self._slot is not slot:
            return self._slot is not slot
        self._on_leak()
        # All waiters go over to the same slot, and the old one is never free again: two cannot both own the lock.
        self._slot = slot.setdefault(_SUCCESSOR, {})
        slot[_HOLDER] = _GONE
        while _SUCCESSOR in self._slot:  # another thread was here in between, and went further
            self._slot = self._slot[_SUCCESSOR]
        self._wake_one()
        return True


_HOLDING: Final = Lock._attempt.__code__  # noqa: SLF001 - of this very module


def _has_ended(token: Any) -> bool:
    """Whether the frame that took a token runs no more. False in case of doubt."""
    if token == get_ident():
        return _is_on_stack(token, sys._getframe()) is not True  # noqa: SLF001 - the documented way to one's own frame
    frame = sys._current_frames().get(token)  # noqa: SLF001 - the documented way to the frames of other threads
    if frame is None:
        return True
    # Without a global lock the frames of another thread must not be looked at while it runs.
    return _HAS_GIL and _is_on_stack(token, frame) is False


def _is_on_stack(token: int, top: FrameType) -> bool | None:
    """Whether the frame that took a token is on a stack; None if that is unknown.

    The stack of another thread may change meanwhile. Frames below the token stay, and a frame above it that
    returns still knows its caller. Only a generator that yields forgets it; but it is never the end of a stack.
    """
    frame = top
    while not (frame.f_code is _HOLDING and frame.f_locals.get("token") is token):
        caller = frame.f_back
        if caller is None:
            return None if frame.f_code.co_flags & _SUSPENDABLE else False
        frame = caller
    return True
