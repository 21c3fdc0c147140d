"""Locks that are lost: the only ways that are left, a debugger that raises and a thread that is ended from outside."""

from __future__ import annotations

import inspect
import sys
from types import FrameType
from typing import Any

from dagcache.concurrency.lock import Lock


class Raised(BaseException):
    """The exception of the debugger."""


def leak(lock: Lock, action: Any = bool) -> Raised:
    """Have the calling thread hold a lock forever; the exception still refers to the frame that holds it."""
    section = Lock._attempt.__code__

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not section:
            return None
        if event == "line" and frame.f_lineno > last_line_of_action:
            raise Raised
        return trace

    last_line_of_action = _line_of_finally()
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        lock.run(action)
    except Raised as error:
        return error
    finally:
        sys.settrace(previous)
    raise AssertionError("the lock was not leaked")


def _line_of_finally() -> int:
    lines, first = inspect.getsourcelines(Lock._attempt)
    return first + next(number for number, line in enumerate(lines) if line.strip() == "finally:")
