"""A time limit for calls that may hang, such as those to a network file system."""

from __future__ import annotations

import threading
from collections.abc import Callable


def try_for(seconds: float, action: Callable[[], object], name: str) -> bool:
    """Run an action in a daemon thread and wait for it, some seconds at most; whether it has ended.

    An action that has not ended goes on. Its exceptions end its thread only. Where no thread can be started, it runs in
    the caller's, without a limit.
    """
    thread = threading.Thread(target=action, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is ending
        action()
        return True
    thread.join(seconds)
    return not thread.is_alive()
