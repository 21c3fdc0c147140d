"""The interpreter's global lock. The hit path and the census of references rely on it.

A free-threaded build can run with the lock, too. It then still counts references in another way.
"""

from __future__ import annotations

import sys


def has_global_lock() -> bool:
    """Whether one thread at a time runs Python code now. It may change from no to yes, never back."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def is_free_threaded() -> bool:
    """Whether this interpreter is built to run without the global lock, or runs without it."""
    return "t" in getattr(sys, "abiflags", "") or not has_global_lock()
