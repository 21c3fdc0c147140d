"""The weight of one object graph by independent methods: our walk, pympler, and the allocators' own accounts.

For tests and for the command ``dagcache audit``. Slow: pympler takes about ten times as long as a walk, is recursive,
and changes the graph. Pympler is imported by the first audit.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from dagcache.sizing.allocators import NoAccountError, bytes_per_copy
from dagcache.sizing.walk import weigh

_ENOUGH_BYTES = 512 * 1024
_MOST_COPIES = 16
"""The copies that are measured: these bytes in all, one of a large value. They make other allocations count less."""

DEPTH_LIMIT = 100_000
"""Deeper than the interpreter can recurse. Pympler's own default of 100 ends sooner, without a warning."""


@dataclass(frozen=True)
class AuditResult:
    """The bytes of one graph, by method."""

    pympler_bytes: int | None
    """None if pympler failed on the graph."""
    walked_bytes: int
    estimated_bytes: int | None
    complete: bool
    """Whether walk and pympler saw all of the graph. Pympler does not where its nesting exceeds the recursion limit."""
    pympler_error: str = ""
    """The error that ended pympler, as ``type: message``; empty without one."""
    allocated_bytes: int | None = None
    """The growth of the allocators' accounts while a copy was made; None if not measured, or without an account."""

    @property
    def walk_error_ratio(self) -> float | None:
        """(walk - pympler) / pympler; None if pympler failed."""
        if self.pympler_bytes is None:
            return None
        return self.walked_bytes / max(1, self.pympler_bytes) - 1

    @property
    def estimate_error_ratio(self) -> float | None:
        """(estimate - walk) / walk: the walk is the better judge. None without an estimate."""
        if self.estimated_bytes is None:
            return None
        return self.estimated_bytes / max(1, self.walked_bytes) - 1

    @property
    def walk_allocation_error_ratio(self) -> float | None:
        """(walk - allocators) / allocators; None without the allocators' account."""
        if self.allocated_bytes is None:
            return None
        return self.walked_bytes / max(1, self.allocated_bytes) - 1


def audit_copy(
    make: Callable[[], object], *, shared: Iterable[object] = (), estimate: int | None = None
) -> AuditResult:
    """Compare all methods on throw-away copies of one value.

    ``make`` returns a new copy at each call, as a thaw or a load does. Up to 18 are alive at once, of large values
    three; the allocators' growth is a mean over all but two of them. ``shared`` are
    objects to leave out. ``estimate`` is an earlier answer to compare, in bytes. Not for processes whose other
    threads allocate, or write to the standard error stream: see `allocated_bytes`.

    Raises:
        Exception: an error of ``make`` or of the walk.

    """
    shared = tuple(shared)
    nbytes = weigh(make(), shared=frozenset(map(id, shared))).nbytes
    copies = min(_MOST_COPIES, max(1, _ENOUGH_BYTES // max(1, nbytes)))
    allocated: int | None = None
    with suppress(NoAccountError):
        allocated = round(bytes_per_copy(make, copies))
    return replace(audit(make(), shared=shared, estimate=estimate), allocated_bytes=allocated)


def audit(copy: object, *, shared: Iterable[object] = (), estimate: int | None = None) -> AuditResult:
    """Compare walk and pympler on one throw-away copy of a value.

    Give a copy that has no other user afterwards (freeze and thaw make one): pympler gives a ``__dict__`` to instances
    that had none, which makes them heavier. ``shared`` are objects to leave out; ``estimate`` is an earlier answer to
    compare, in bytes. An error of pympler's own (it fails on numpy views and on ``slice(1, 2, 0)``) is in the result.
    Thread-safe.

    Raises:
        Exception: an error of the walk.

    """
    shared = tuple(shared)
    walked = weigh(copy, shared=frozenset(map(id, shared)))
    sizer = _asizer()
    sizer.exclude_refs(*shared)
    nbytes, failure = None, ""
    try:
        nbytes = sizer.asizeof(copy)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    return AuditResult(
        pympler_bytes=nbytes,
        walked_bytes=walked.nbytes,
        estimated_bytes=estimate,
        complete=walked.complete and not failure and not sizer.missed,
        pympler_error=failure,
    )


def _asizer() -> Any:
    # One for each call: the functions of that module share one, which is not thread-safe.
    return importlib.import_module("pympler.asizeof").Asizer(limit=DEPTH_LIMIT)
