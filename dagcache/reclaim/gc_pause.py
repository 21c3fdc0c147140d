"""Blocks during which the automatic garbage collector is off or seldom runs. They nest, are shared, and always end.

Objects that are thawed or loaded in such a block are not garbage, and each collection would walk them. But the
collector belongs to the host. Its garbage must not pile up, even if threads open blocks one after the other, so that
some block is always open. A due collection therefore waits for `LONGEST_WAIT` at most, or until there are `SELDOM` new
objects. Then the next block to open lets the collector run first, or moves objects that stay (`gc_tenuring`). This
needs no thread.
"""

from __future__ import annotations

import gc
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from dagcache.concurrency.global_lock import has_global_lock
from dagcache.concurrency.lock import Lock
from dagcache.forks import after_fork_in_child
from dagcache.reclaim.gc_tenuring import Tenuring

LONGEST_WAIT = 0.1
"""Seconds that a collection waits, once it is due by the host's thresholds, while blocks open one after the other."""

SELDOM = 100_003
"""New container objects, net of freed ones, between two collections of the youngest: some tens of MiB at most.

Not a round number, so that this threshold can be recognised as ours.
"""

# Objects to create so that the collector notices that a collection is due. Sets, because lists are recycled without its
# knowledge. Without a global lock each thread counts its objects in batches of 512.
_NUDGES = 1 if has_global_lock() else 600

_Block = weakref.ref["_With"]


class _Switch(ABC):
    """A change of the collector, in force while at least one block is open. Thread-safe."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._lock = Lock()

    @abstractmethod
    def set(self, on: bool) -> None:
        """Change the collector, or change it back, unless that is done already. Repeat the call after an interrupt."""

    def open(self, block: _Block) -> None:
        """Begin a block."""
        _turns.give_if_due()
        self._lock.run(self._open, block)

    def close(self, block: _Block) -> None:
        """End a block, unless it has ended already or was opened before a fork."""
        self._lock.run(self._close, block)

    def try_close(self, block: _Block) -> bool:
        """End a block, unless another one is opened or ended at this moment; whether it has ended. Never waits."""
        return self._lock.try_run(self._close, block)

    # A block is noted before the switch and removed after it. If an interrupt strikes in between, the death of the
    # block finishes the job. A block that a signal handler opens and closes in between is always an inner one, which
    # switches nothing.

    def _open(self, block: _Block) -> None:
        self._blocks[id(block)] = block
        if len(self._blocks) == 1:
            self.set(True)

    def _close(self, block: _Block) -> None:
        blocks = self._blocks
        if blocks.get(id(block)) is not block:
            return
        if len(blocks) == 1 or not any(other() for other in blocks.values() if other is not block):
            self.set(False)
            blocks.clear()  # dead blocks may be left, if an interrupt struck while their death was reported
        else:
            del blocks[id(block)]

    def settle(self) -> None:
        """Set the collector to its state for the blocks that are open now."""
        self._lock.run(lambda: self.set(bool(self._blocks)))

    def suspend(self) -> None:
        """Change the collector back although blocks are open, until the next `settle`."""
        self._lock.run(self.set, False)

    def restart_in_child(self) -> None:
        """Drop blocks, and perhaps a held lock, of threads that do not exist in the child."""
        self._blocks.clear()
        self._lock = Lock()
        self.settle()


class _Off(_Switch):
    """Off."""

    def __init__(self) -> None:
        super().__init__()
        self.by_us = False

    def set(self, on: bool) -> None:
        if on and gc.isenabled():
            self.by_us = True
            gc.disable()
        elif not on and self.by_us:
            gc.enable()
            self.by_us = False


class _Seldom(_Switch):
    """On, with a high threshold."""

    def __init__(self) -> None:
        super().__init__()
        self._hosts = gc.get_threshold()
        self._is_ours = False
        """Whether the threshold was ours when this was last seen to."""
        self._stands_for = self._hosts[0]
        """The host's threshold that ours has replaced: the host may have read ours in its place, and set it later."""

    @property
    def hosts_youngest(self) -> int:
        """The host's threshold for a collection of the youngest objects."""
        youngest = gc.get_threshold()[0]
        return self._hosts[0] if youngest == SELDOM else youngest

    def set(self, on: bool) -> None:
        youngest, *older = now = gc.get_threshold()
        if youngest == SELDOM:
            youngest = self._hosts[0] if self._is_ours else self._stands_for
        # Unless the host has changed it within a block: then ours still stands for the former one.
        if now[0] == SELDOM or not self._is_ours:
            self._stands_for = youngest
        # Read each time: a threshold that the host sets during a block must survive it.
        self._hosts = (youngest, *older)  # type: ignore[assignment]
        wanted = (max(youngest, SELDOM), *older) if on and youngest else self._hosts  # 0: never
        if now != wanted:
            gc.set_threshold(*wanted)
        self._is_ours = wanted[0] == SELDOM


class _Turns:
    """Lets the collector run although blocks are open, once a collection has waited too long. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._due_since: float | None = None
        self._left = 0  # objects that the last turn left, as it may without a global lock

    def give_if_due(self) -> None:
        """Have a collection if one has been due for too long. Runs finalisers."""
        if not self._is_due():
            return
        self._due_since = None
        if tenuring.move():
            return
        for switch in _switches:
            switch.suspend()
        # Not under a lock: a collection runs foreign finalisers.
        [set() for _ in range(_NUDGES)]
        self._left = gc.get_count()[0]
        for switch in _switches:
            switch.settle()

    def _is_due(self) -> bool:
        made = gc.get_count()[0]
        if made <= _seldom.hosts_youngest or collector_is_off():
            self._due_since = None
            return False
        now = self.clock()
        since = self._due_since
        if since is None:
            self._due_since = since = now
        most = SELDOM // 2 if tenuring.is_expected else SELDOM + self._left
        return now - since >= LONGEST_WAIT or made > most


tenuring = Tenuring()
"""For the loads of this process."""
_off = _Off()
_seldom = _Seldom()
_switches = (_off, _seldom)
_turns = _Turns()


class _With:
    """One ``with`` block."""

    __slots__ = ("__weakref__", "_noted", "_spare")

    _switch: ClassVar[_Switch]

    # An asynchronous exception may strike while the block is set up or left. Then the death of this object ends the
    # block, by its weak reference. A `__del__` would run every time, and swallow an exception that strikes in it. A
    # second exception may strike at that moment: then the spare reference ends the block.
    def __enter__(self) -> None:
        close = self._switch.close
        noted: _Block = weakref.ref(self, close)
        self._spare: _Block | None = weakref.ref(self, lambda _: close(noted))
        self._noted: _Block | None = noted
        self._switch.open(noted)

    def __exit__(self, *_: object) -> None:
        if self._noted is not None:
            self._switch.close(self._noted)
            self._noted = self._spare = None

    def try_end(self) -> bool:
        """End the block, unless another one is opened or ended at this moment; whether it has ended. Never waits."""
        noted = self._noted  # read once: another thread may end the block as well
        if noted is None or not self._switch.try_close(noted):
            return noted is None
        self._noted = self._spare = None
        return True


class gc_paused(_With):  # noqa: N801 - used as a function is: `with gc_paused():`
    """Keep the automatic collector off during a ``with`` block; explicit ``gc.collect()`` still works.

    For short blocks without foreign code that no collection must interrupt. The length of a block is not bounded.

    Any number of blocks may be open, nested or in several threads. The first to open switches the collector
    off, and the last to close switches it on again if it was on. An object serves one block at a time. It costs
    about two microseconds. After a fork the child starts without any pause.
    """

    __slots__ = ()
    _switch = _off


class gc_relaxed(_With):  # noqa: N801 - as above
    """Let the automatic collector run seldom during a ``with`` block that may be long, such as a load or a thaw.

    However long the block takes, garbage of the host is still collected once there are `SELDOM` new objects. It nests
    and is shared as a pause is. A threshold that other code sets meanwhile stays.
    """

    __slots__ = ()
    _switch = _seldom


def _restart_in_child() -> None:
    for switch in _switches:
        switch.restart_in_child()


after_fork_in_child(_restart_in_child)


def collector_is_off() -> bool:
    """Whether other code has switched the automatic collector off, not (or not only) one of these pauses."""
    return not (gc.isenabled() or _off.by_us) or not gc.get_threshold()[0]
