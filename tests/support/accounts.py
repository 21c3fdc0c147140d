"""The account of the interpreter's allocators, where it has no bytes of a debugger in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dagcache.sizing import allocators

NO_ACCOUNT = "the debug hooks of the interpreter's allocators add bytes to each block"

needs_account = pytest.mark.skipif(allocators.has_debug_hooks(), reason=NO_ACCOUNT)
"""For tests that audit a copy."""


def bytes_per_copy(make: Callable[[], object], copies: int = 1) -> float:
    """As `allocators.bytes_per_copy`; skips the test with a debugger's allocators (``-X dev``)."""
    if allocators.has_debug_hooks():
        pytest.skip(NO_ACCOUNT)
    return allocators.bytes_per_copy(make, copies)
