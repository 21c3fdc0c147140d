"""A second opinion on weights, by pympler: slow, recursive, and it changes what it weighs."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dagcache.sizing.walk import weigh

DEPTH_LIMIT = 100_000
"""Deeper than the interpreter can recurse: pympler's own default of 100 ends sooner, and says nothing."""


@dataclass(frozen=True)
class AuditResult:
    """What one graph weighs, in bytes, by each way of weighing it."""

    pympler_bytes: int | None
    """None if pympler failed on the graph."""
    walked_bytes: int
    estimated_bytes: int | None
    complete: bool
    """Whether both saw all of the graph; pympler does not where that is nested deeper than it can recurse."""
    pympler_error: str = ""
    """The error that ended pympler, as ``type: message``; empty without one."""

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


def audit(copy: object, *, shared: Iterable[object] = (), estimate: int | None = None) -> AuditResult:
    """Weigh a throw-away copy of a value by walk and by pympler, and compare.

    Give a copy that has no other user afterwards (freeze and thaw make one): pympler gives a ``__dict__`` to instances
    that had none, which makes them heavier. ``shared`` are objects to leave out; ``estimate`` is an earlier answer to
    compare, in bytes. An error of pympler's own (it fails on numpy views and on ``slice(1, 2, 0)``) is in the result.
    Thread-safe.

    Raises:
        ImportError: pympler is not installed.
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
    try:
        asizeof = importlib.import_module("pympler.asizeof")
    except ImportError as error:
        raise ImportError("an audit needs pympler: pip install 'dagcache[audit]'") from error
    # One of its own per call: the functions of that module share one, which is not thread-safe.
    return asizeof.Asizer(limit=DEPTH_LIMIT)
