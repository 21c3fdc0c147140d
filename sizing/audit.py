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

    pympler_bytes: int
    walked_bytes: int
    estimated_bytes: int | None
    complete: bool
    """Whether both saw all of the graph; pympler does not where that is nested deeper than it can recurse."""

    @property
    def walk_error_ratio(self) -> float:
        """(walk - pympler) / pympler."""
        return self.walked_bytes / max(1, self.pympler_bytes) - 1

    @property
    def estimate_error_ratio(self) -> float | None:
        """(estimate - walk) / walk: the walk is the better judge. None without an estimate."""
        if self.estimated_bytes is None:
            return None
        return self.estimated_bytes / max(1, self.walked_bytes) - 1


def audit(copy: object, *, shared: Iterable[object] = (), estimate: int | None = None) -> AuditResult:
    """Weigh a throw-away copy of a value by walk and by pympler, and compare.

    Give a copy that nobody uses afterwards (freeze and thaw make one): pympler gives a ``__dict__`` to
    instances that had none, which makes them heavier. ``shared`` are objects to leave out; ``estimate`` is
    what the value was thought to weigh, in bytes. Thread-safe. Raises ImportError without pympler.
    """
    shared = tuple(shared)
    walked = weigh(copy, shared=frozenset(map(id, shared)))
    sizer = _asizer()
    sizer.exclude_refs(*shared)
    return AuditResult(
        pympler_bytes=sizer.asizeof(copy),
        walked_bytes=walked.nbytes,
        estimated_bytes=estimate,
        complete=walked.complete and not sizer.missed,
    )


def _asizer() -> Any:
    try:
        asizeof = importlib.import_module("pympler.asizeof")
    except ImportError as error:
        raise ImportError("an audit needs pympler: pip install 'dagcache[audit]'") from error
    # One of its own per call: the functions of that module share one, which is not thread-safe.
    return asizeof.Asizer(limit=DEPTH_LIMIT)
