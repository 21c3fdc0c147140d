"""Release of dropped values: the census that proves that nothing refers to them, and pauses of the collector.

Imports only `dagcache.concurrency` and `dagcache.log_limits`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The breaker, imported on first use: code that needs only the pauses of the collector does not pay for it."""
    if name in ("GenericBreaker", "Outcome"):
        from dagcache.reclaim import breaker

        return getattr(breaker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
