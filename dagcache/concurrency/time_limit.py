"""Doing what may hang: a file system over a network, above all."""

from __future__ import annotations

import threading
from collections.abc import Callable


def try_for(seconds: float, action: Callable[[], object], name: str) -> bool:
    """Run an action in a daemon thread and wait for it for so long; whether it has ended. If not, it goes on.

    What it raises is its own business. Where no thread can be started, it is run here.
    """
    thread = threading.Thread(target=action, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads, or the interpreter is ending
        action()
        return True
    thread.join(seconds)
    return not thread.is_alive()
