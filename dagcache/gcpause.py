"""A pause of the automatic garbage collector that nests, is shared by all threads, and always ends."""

from __future__ import annotations

import gc
import os
import threading

# Re-entrant: a signal handler or a finaliser that thaws may run while its own thread holds the lock.
_lock = threading.RLock()
_depth = 0
_resume = False
_generation = 1


class gc_paused:  # noqa: N801 - used as a function is: `with gc_paused():`
    """Keep the automatic collector off during a ``with`` block; explicit ``gc.collect()`` still works.

    Any number of blocks may be open, nested or in several threads: the first to open switches the collector
    off, the last to close switches it on again if it was on. An object serves one block at a time. It costs
    about a microsecond. After a fork the child starts without any pause.
    """

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self._opened = 0

    # In both methods the depth covers the switching, so that a pause that a signal handler opens and closes
    # between two of these lines is always an inner one.
    def __enter__(self) -> None:
        global _depth, _resume
        with _lock:
            _depth += 1
            self._opened = _generation
            if _depth == 1:
                _resume = gc.isenabled()
                gc.disable()

    def __exit__(self, *_: object) -> None:
        global _depth
        with _lock:
            # Opened before a fork: the child has closed it already.
            if self._opened == _generation:
                if _depth == 1 and _resume:
                    gc.enable()
                _depth -= 1
            self._opened = 0

    def __del__(self) -> None:
        # An asynchronous exception may strike when the pause is open and the block is not yet set up.
        if self._opened:
            self.__exit__()


def _restart_in_child() -> None:
    """A fork may find pauses open in threads that the child does not have, and the lock held by one."""
    global _lock, _depth, _generation
    _lock = threading.RLock()
    _generation += 1
    if _depth and _resume:
        gc.enable()
    _depth = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)


def collector_is_off() -> bool:
    """Whether the automatic collector is off by somebody else's wish, not for one of these pauses."""
    return not gc.isenabled() and not _depth
