"""Frozen copies: a value as compressed bytes, and the way back to an equal object graph.

Imports only `dagcache.concurrency`, `dagcache.reclaim` and `dagcache.errors`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The freezer, imported when it is first asked for: what it imports is not needed by each of its neighbours."""
    if name == "PickleFreezer":
        from dagcache.freezing.pickle_freezer import PickleFreezer

        return PickleFreezer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
