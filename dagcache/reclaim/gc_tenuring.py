"""Tenuring: objects that stay move to the collector's oldest generation without a collection.

A cache that fills up for the first time makes many objects, and frees none. A collection of the youngest walks them all
and finds nothing; then they are walked once more as the middle generation. In the first lap of a restarted scheduler
that is a fifth of its time. ``gc.freeze`` and ``gc.unfreeze`` together move all objects to the oldest generation and
walk none; Airflow's LocalExecutor calls the two around each of its forks.

Objects of the host are moved as well, and its garbage among them then waits for a collection of all objects. Therefore:

- only the objects of values that stay live count as the cache's, and only until the cache has given up the first value:
  so what is moved stays as long as if it had grown old;
- of other objects, no more than `MOST_OTHERS` are moved between two collections of all objects;
- nothing is moved while the host has frozen objects, because these would not stay frozen.
"""

from __future__ import annotations

import gc
from operator import methodcaller

from dagcache.concurrency.global_lock import has_global_lock

BYTES_PER_OBJECT = 200
"""At most one new object for so many bytes of a value counts as the value's: other threads make objects meanwhile. A
container of a DAG takes 240 bytes, with the strings and the numbers that it refers to. The sixth in between may be the
objects of others, and more where a value has long strings."""
MOST_OTHERS = 10_000
"""A MiB or two of a scheduler's garbage; a hundred thousand were 10 - 15 MiB. It waits for a collection of all objects.
CPython's collector, but for the incremental one of 3.14.0 - 3.14.4, has one only after a quarter as many objects have
grown old as there were at the last one. Moved objects do not count as grown old, so each move puts it off."""
FROZEN_AT_START = 1_000
"""CPython 3.12 freezes some four hundred objects of its own when it starts. The heap of a host has many more."""
_MIDDLE = 1
_call = methodcaller("__call__")


class Tenuring:
    """The objects that were made since the last collection or move, and whose they are.

    Thread-safe: a race makes it count too many objects as others, or moves them once more.

    ``most_others``: the objects of others that may be moved between two collections of all objects.
    """

    def __init__(self, most_others: int = MOST_OTHERS) -> None:
        self._most_others = most_others
        self._kept = 0
        self._others = 0
        self._collections = 0
        self._full_collections = 0

    @property
    def is_expected(self) -> bool:
        """Whether values have come to stay since the last move."""
        return self._kept > 0

    def forget(self) -> None:
        """Forget the values that have come to stay, in a forked child."""
        self._kept = 0

    def note(self, made: int, nbytes: int) -> None:
        """Note a value that stays: the objects that were made during its load, and its bytes."""
        self._notice_collections()
        self._kept += max(0, min(made, nbytes // BYTES_PER_OBJECT))

    def move(self) -> bool:
        """Move all objects to the oldest generation; False if a collection has to look at them instead."""
        self._notice_collections()
        kept, self._kept = self._kept, 0
        if not kept or not has_global_lock() or gc.get_freeze_count() > FROZEN_AT_START:
            return False
        others = max(0, gc.get_count()[0] - kept) + _middle_aged()
        if self._others + others > self._most_others:
            return False
        self._others += others
        any(map(_call, (gc.freeze, gc.unfreeze)))  # in one step: an interrupt in between would leave the heap frozen
        return True

    def _notice_collections(self) -> None:
        """Start again after any collection: it has looked at the objects that were made before."""
        counts = [generation["collections"] for generation in gc.get_stats()]
        if sum(counts) != self._collections:
            self._collections = sum(counts)
            self._kept = 0
        if counts[-1] != self._full_collections:
            self._full_collections = counts[-1]
            self._others = 0


def _middle_aged() -> int:
    """The objects of the middle generation. They have survived a collection, and no value's objects are among them."""
    return len(gc.get_objects(generation=_MIDDLE)) if gc.get_count()[_MIDDLE] else 0
