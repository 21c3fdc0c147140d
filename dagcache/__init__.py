"""A byte-budgeted, memory-aware cache of deserialised DAG versions.

``DagCache(max_bytes="512MiB", ttl=3600).get_or_load(version_id, loader)``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__: str

if TYPE_CHECKING:
    from dagcache.public import (
        ByteLimit,
        CacheConfig,
        CacheStats,
        ConfigError,
        DagCache,
        DagCacheError,
        EntryInfo,
        FreezeError,
        Loaded,
        LoadError,
        OversizeError,
        RecursiveLoadError,
        Rejection,
        RemovalCause,
        ThawError,
    )

__all__ = [
    "ByteLimit",
    "CacheConfig",
    "CacheStats",
    "ConfigError",
    "DagCache",
    "DagCacheError",
    "EntryInfo",
    "FreezeError",
    "LoadError",
    "Loaded",
    "OversizeError",
    "RecursiveLoadError",
    "Rejection",
    "RemovalCause",
    "ThawError",
]


def __getattr__(name: str) -> Any:
    """Import the public names when one of them is first asked for.

    Airflow imports this package in every process, through an entry point: those that run tasks need none of it.
    """
    if name == "__version__":
        from dagcache.own_version import own_version

        return own_version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dagcache import public

    globals().update({public_name: getattr(public, public_name) for public_name in __all__})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
