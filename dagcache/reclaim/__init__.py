"""Release of dropped values: the census that proves that nothing refers to them, and pauses of the collector.

Imports only `dagcache.concurrency` and `dagcache.log_limits`.
"""

from __future__ import annotations

from dagcache.reclaim.breaker import GenericBreaker as GenericBreaker
from dagcache.reclaim.breaker import Outcome as Outcome
