"""Frozen copies: values as compressed bytes, and the way back to equal object graphs.

Imports only `dagcache.concurrency`, `dagcache.reclaim` and `dagcache.errors`.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The freezer, imported on first use: most modules of this package do not need its imports."""
    if name == "PickleFreezer":
        from dagcache.freezing.pickle_freezer import PickleFreezer

        return PickleFreezer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
