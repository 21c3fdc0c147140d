"""A byte-budgeted, memory-aware cache of deserialised DAG versions.

``DagCache(max_bytes="512MiB", ttl=3600).get_or_load(version_id, loader)``
"""

from __future__ import annotations

from dagcache.cache import DagCache
from dagcache.clock import CoarseClock
from dagcache.config import CacheConfig
from dagcache.errors import (
    ConfigError,
    DagCacheError,
    FreezeError,
    OversizeError,
    RecursiveLoadError,
    ThawError,
)
from dagcache.intake import Loaded
from dagcache.sizing.limits import ByteLimit
from dagcache.stats import CacheStats, EntryInfo, Rejection, RemovalCause

__all__ = [
    "ByteLimit",
    "CacheConfig",
    "CacheStats",
    "CoarseClock",
    "ConfigError",
    "DagCache",
    "DagCacheError",
    "EntryInfo",
    "FreezeError",
    "Loaded",
    "OversizeError",
    "RecursiveLoadError",
    "Rejection",
    "RemovalCause",
    "ThawError",
]
