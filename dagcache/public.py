"""All public names, imported. `dagcache` imports this module at the first access to one of them."""

from __future__ import annotations

from dagcache.config import CacheConfig as CacheConfig
from dagcache.core.cache import DagCache as DagCache
from dagcache.core.loaded import Loaded as Loaded
from dagcache.errors import ConfigError as ConfigError
from dagcache.errors import DagCacheError as DagCacheError
from dagcache.errors import FreezeError as FreezeError
from dagcache.errors import LoadError as LoadError
from dagcache.errors import OversizeError as OversizeError
from dagcache.errors import RecursiveLoadError as RecursiveLoadError
from dagcache.errors import ThawError as ThawError
from dagcache.sizing.limits import ByteLimit as ByteLimit
from dagcache.stats import CacheStats as CacheStats
from dagcache.stats import EntryInfo as EntryInfo
from dagcache.stats import Rejection as Rejection
from dagcache.stats import RemovalCause as RemovalCause
