"""Memory of evicted values: the census that proves that nothing refers to them, and the pauses of the collector.

Imports only `dagcache.concurrency` and `dagcache.log_limits`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The breaker, imported when it is first asked for: its own module imports a neighbour of it."""
    if name in ("GenericBreaker", "Outcome"):
        from dagcache.reclaim import breaker

        return getattr(breaker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
