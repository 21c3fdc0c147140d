"""A pause of the automatic garbage collector that nests, is shared by all threads, and always ends."""

from __future__ import annotations

import gc
import os
import threading
import weakref

# Re-entrant: a signal handler or a finaliser that thaws may run while its own thread holds the lock.
_lock = threading.RLock()
_open: dict[int, weakref.ref[gc_paused]] = {}
_resume = False


class gc_paused:  # noqa: N801 - used as a function is: `with gc_paused():`
    """Keep the automatic collector off during a ``with`` block; explicit ``gc.collect()`` still works.

    Any number of blocks may be open, nested or in several threads: the first to open switches the collector
    off, the last to close switches it on again if it was on. An object serves one block at a time. It costs
    about two microseconds. After a fork the child starts without any pause.
    """

    __slots__ = ("__weakref__", "_pause")

    # An asynchronous exception may strike before the block is set up or when it is being left: then the death of this
    # object closes the pause, by its weak reference. A `__del__` would run every time, and swallow what strikes in it.
    def __enter__(self) -> None:
        global _resume
        with _lock:
            self._pause: weakref.ref[gc_paused] | None = weakref.ref(self, _close)
            # Noted before the switching and struck off after it, so that a pause that a signal handler opens and
            # closes between two of these lines is always an inner one.
            _open[id(self._pause)] = self._pause
            if len(_open) == 1:
                _resume = gc.isenabled()
                gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._pause is not None:
            _close(self._pause)
            self._pause = None


def _close(pause: weakref.ref[gc_paused]) -> None:
    with _lock:
        if _open.get(id(pause)) is pause:  # else it is closed already, or was opened before a fork
            if len(_open) == 1 and _resume:
                gc.enable()
            del _open[id(pause)]


def _restart_in_child() -> None:
    """A fork may find pauses open in threads that the child does not have, and the lock held by one."""
    global _lock
    _lock = threading.RLock()
    if _open and _resume:
        gc.enable()
    _open.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(after_in_child=_restart_in_child)


def collector_is_off() -> bool:
    """Whether the automatic collector is off by somebody else's wish, not for one of these pauses."""
    return not gc.isenabled() and not _open
