"""Release of a cyclic value when the cache drops it, instead of at a later collection.

`GenericBreaker` does for one value what the garbage collector does for the whole heap. A census (`census`) finds the
parts that nothing outside of the value can reach. If the value is among them, its cycles are broken (`taking_apart`),
and reference counting frees it at once. On any doubt the value is left to the collector.
"""

from __future__ import annotations

import enum
import functools
import gc
from collections.abc import Iterable
from typing import Protocol

from dagcache.log_limits import report
from dagcache.reclaim.census import Census
from dagcache.reclaim.closed_types import ClosedTypes
from dagcache.reclaim.entered_types import is_entered
from dagcache.reclaim.gc_pause import gc_paused
from dagcache.reclaim.reference_counts import EXACT_COUNTS
from dagcache.reclaim.releases import release, revoke_references_to
from dagcache.reclaim.taking_apart import runs_code, take_apart


class Outcome(enum.Enum):
    """The result of releasing a value that has left the cache."""

    FREED = "freed"
    """Only parts that others hold are left: the value had no cycles, or they were broken."""
    HELD = "held"
    """Something holds the value, or a part from which it can be reached: untouched. It may be free later."""
    SKIPPED = "skipped"
    """Left to the collector: it has finalisers, is too large, or its references cannot be counted."""


class CycleBreaker(Protocol):
    """Takes values apart. Called outside all locks, by several threads at once."""

    def release(self, value_cell: list[object]) -> Outcome:
        """Free the value in a one-element list, the caller's only reference to it. Never raises.

        The list is empty afterwards, unless the outcome is HELD: then the value is in it again.
        """
        ...


class GenericBreaker:
    """Takes apart any value that nothing outside can reach. Needs no knowledge of its classes.

    ``shared``: objects that many values refer to. They are not entered, and the breaker holds them.
    ``node_limit``: a value of more parts (containers and instances) than this is left to the collector.

    Classes, modules, functions, enum members, loggers, time zones, and objects of C code that is not known here
    (frames, generators, files) are never entered. A held part that leads back to the value keeps all of it (HELD).
    Other held parts, such as a list of strings, stay whole, and the rest is freed (FREED). Without exact reference
    counts, as on free-threaded interpreters, every value that the collector tracks is SKIPPED. Thread-safe.
    """

    def __init__(self, shared: Iterable[object] = (), node_limit: int = 200_000) -> None:
        self._census = Census(shared, node_limit)
        self._closed = ClosedTypes()

    def release(self, value_cell: list[object]) -> Outcome:
        """Free the value if it has no holder. Never raises; an unexpected error is logged."""
        outcome = Outcome.SKIPPED
        try:
            if not gc.is_tracked(value_cell[0]):
                outcome = Outcome.FREED
            elif EXACT_COUNTS:
                with gc_paused():
                    outcome = release(functools.partial(self._release, value_cell))
        except Exception as error:
            report_failure(error)
        finally:
            if outcome is not Outcome.HELD:
                value_cell.clear()
        return outcome

    def _release(self, value_cell: list[object]) -> Outcome:
        kind = type(value_cell[0])
        if not is_entered[kind]:
            return Outcome.SKIPPED
        closed = self._closed.of(kind)
        parts = self._census.free_parts(value_cell, closed) if closed else ()
        learns = parts == ()
        if learns:
            parts = self._census.free_parts(value_cell, frozenset())
        if parts == ():
            return Outcome.HELD
        if parts is None or runs_code(parts):
            return Outcome.SKIPPED
        if learns:
            self._closed.learn(kind, parts)
        revoke_references_to(parts)
        return Outcome.FREED if take_apart(parts) else Outcome.SKIPPED


def report_failure(error: Exception) -> None:
    """Log a value that could not be taken apart, at most once a minute: a fault may strike at every lookup."""
    report("take apart", "a value could not be taken apart and is left to the collector", error=error)
