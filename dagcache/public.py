"""All public names, imported: what `dagcache` looks into when it is first asked for one."""

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
