"""The account of the interpreter's allocators, where it has no bytes of a debugger in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dagcache.sizing import allocators
from dagcache.sizing.walk import weigh

NO_ACCOUNT = "the debug hooks of the interpreter's allocators add bytes to each block"

_COPIES = 3
_SPREAD = 3 * 1024
"""Bytes: dicts and tables of the process that grow while copies are made."""
_READINGS = 3
"""At most: the first that agrees is enough."""

needs_account = pytest.mark.skipif(allocators.has_debug_hooks(), reason=NO_ACCOUNT)
"""For tests that audit a copy."""


def bytes_per_copy(make: Callable[[], object], copies: int = 1) -> float:
    """As `allocators.bytes_per_copy`; skips the test with a debugger's allocators (``-X dev``)."""
    if allocators.has_debug_hooks():
        pytest.skip(NO_ACCOUNT)
    return allocators.bytes_per_copy(make, copies)


def assert_weighs_what_was_handed_out(make: Callable[[], object], shared: frozenset[int]) -> None:
    """The exact walk of one graph beside the mean of some. A reading also counts what other threads do meanwhile."""
    walked = weigh(make(), shared=shared).nbytes
    readings: list[float] = []
    try:
        while len(readings) < _READINGS:
            readings.append(bytes_per_copy(make, _COPIES))
            if abs(walked - readings[-1]) < 0.01 * readings[-1] + _SPREAD:
                return
    except allocators.NoAccountError as error:
        pytest.skip(str(error))
    pytest.fail(f"{walked} bytes walked, {readings} handed out")
