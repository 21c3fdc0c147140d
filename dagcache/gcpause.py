"""Blocks during which the automatic garbage collector is off, or seldom runs: they nest, are shared, and always end."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

S = TypeVar("S")

# Re-entrant: a signal handler or a finaliser that thaws may run while its own thread holds the lock.
_lock = threading.RLock()

_SELDOM = 100_000
"""Container objects, more made than freed, between two collections of the youngest: some tens of MiB at most."""


class _Switch(Generic[S]):
    """A change of the collector, made while at least one block is open."""

    def __init__(self, state: Callable[[], S], change: Callable[[S], object], restore: Callable[[S], object]) -> None:
        self._state = state
        self._change = change
        self._restore = restore
        self._before = state()
        self._open: dict[int, weakref.ref[Any]] = {}

    def enter(self, block: weakref.ref[Any]) -> None:
        with _lock:
            # Noted before the switching and struck off after it, so that a block that a signal handler opens and
            # closes between two of these lines is always an inner one.
            self._open[id(block)] = block
            if len(self._open) == 1:
                self._before = self._state()
                self._change(self._before)

    def leave(self, block: weakref.ref[Any]) -> None:
        with _lock:
            if self._open.get(id(block)) is block:  # else it was left already, or entered before a fork
                if len(self._open) == 1:
                    self._restore(self._before)
                del self._open[id(block)]

    def leave_all(self) -> None:
        if self._open:
            self._restore(self._before)
        self._open.clear()

    def outside(self) -> S:
        """The state that is, or will be again, when no block is open."""
        return self._before if self._open else self._state()


class _Block:
    """One ``with`` block."""

    __slots__ = ("__weakref__", "_noted")

    _switch: ClassVar[_Switch[Any]]

    # An asynchronous exception may strike before the block is set up or when it is being left: then the death of this
    # object ends the block, by its weak reference. A `__del__` would run every time, and swallow what strikes in it.
    def __enter__(self) -> None:
        self._noted: weakref.ref[_Block] | None = weakref.ref(self, self._switch.leave)
        self._switch.enter(self._noted)

    def __exit__(self, *_: object) -> None:
        if self._noted is not None:
            self._switch.leave(self._noted)
            self._noted = None


class gc_paused(_Block):  # noqa: N801 - used as a function is: `with gc_paused():`
    """Keep the automatic collector off during a ``with`` block; explicit ``gc.collect()`` still works.

    Any number of blocks may be open, nested or in several threads: the first to open switches the collector
    off, the last to close switches it on again if it was on. An object serves one block at a time. It costs
    about two microseconds. After a fork the child starts without any pause.
    """

    __slots__ = ()
    _switch = _Switch(gc.isenabled, lambda _: gc.disable(), lambda was_on: gc.enable() if was_on else None)


class gc_relaxed(_Block):  # noqa: N801 - as above
    """Let the automatic collector run seldom during a ``with`` block that may take its time, as a load may.

    What such a block makes in great number is no garbage, and each collection would walk it. Unlike during `gc_paused`
    garbage that other threads make meanwhile is still collected: once there are a hundred thousand new objects. It
    nests and is shared as a pause is. A threshold that somebody else sets meanwhile stays.
    """

    __slots__ = ()
    _switch = _Switch(
        gc.get_threshold,
        lambda before: gc.set_threshold(*_seldom(before)),
        lambda before: gc.set_threshold(*before) if gc.get_threshold() == _seldom(before) else None,
    )


_pauses = gc_paused._switch  # noqa: SLF001
_switches: tuple[_Switch[Any], ...] = (_pauses, gc_relaxed._switch)  # noqa: SLF001


def _seldom(threshold: tuple[int, int, int]) -> tuple[int, int, int]:
    youngest, *older = threshold
    return (max(youngest, _SELDOM) if youngest else 0, *older)  # type: ignore[return-value] # 0: never


def _restart_in_child() -> None:
    """A fork may find blocks open in threads that the child does not have, and the lock held by one."""
    global _lock
    _lock = threading.RLock()
    for switch in _switches:
        switch.leave_all()


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(after_in_child=_restart_in_child)


def collector_is_off() -> bool:
    """Whether the automatic collector is off by somebody else's wish, not (or not only) for one of these pauses."""
    return not _pauses.outside()
