"""The version of the installed dagcache."""

from __future__ import annotations

import functools
from importlib.metadata import version

UNKNOWN = "unknown"
"""The version of a copy that no installer has registered: a vendored one, or one on PYTHONPATH."""


@functools.cache
def own_version() -> str:
    """The version of the installed distribution, or `UNKNOWN`. Never raises."""
    try:
        found: object = version("dagcache")
    except Exception:  # no metadata, or a damaged file
        return UNKNOWN
    return found if isinstance(found, str) and found else UNKNOWN
