"""A great many evictions of values of all sizes: nothing may grow.

``python -m tools.scorecard.measures.evictions NUMBER`` prints the resident memory and the lengths of everything that
the cache remembers, after a fifth of the evictions and after all of them.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from dagcache import DagCache
from dagcache.core.waits import WAITS
from dagcache.sizing.memory import resident_bytes

BUDGET = 2**16
_KINDS = 64


def evict(number: int) -> dict[str, Any]:
    """Admit small values under new keys, now and then under old ones, until so many have left."""
    rng = random.Random(1)
    cache: DagCache[int, Any] = DagCache(max_bytes=BUDGET, version_of=lambda key: (key % 500, key), ttl=3600)
    key = 0
    halves: list[dict[str, Any]] = []
    for goal in (number // 5, number):
        while (gone := _gone(cache)) < goal:
            for _ in range(min(1000, goal - gone)):
                key += 1
                again = rng.random() < 0.1
                wanted = max(0, key - rng.randrange(3000)) if again else key
                cache.get_or_load(wanted, _load)
        halves.append({"resident": resident_bytes(), "evictions": _gone(cache), **remembered(cache)})
    cache.check_invariants()
    return {"early": halves[0], "late": halves[1], "demotions": cache.stats().demotions}


def _load(key: int) -> Any:
    """Ten bytes to some kilobytes, of several shapes."""
    length = 1 + (key * 7919) % _KINDS
    if key % 3:
        return {"key": key, "words": [f"{key}-{place}" for place in range(length)]}
    return "x" * length * length


def _gone(cache: DagCache[int, Any]) -> int:
    return sum(cache.stats().evictions.values())


def remembered(cache: DagCache[int, Any]) -> dict[str, int]:
    """How long each list is that a cache keeps beside its entries, and how many entries there are."""
    store = cache._store
    return {
        "entries": len(store.entries),
        "ghosts": len(store._ghosts),
        "families": len(store._version_index._families),
        "deadlines": len(store._deadlines),
        "flights": len(cache._flights) + len(WAITS),
        "waiting": len(cache._disposer._room or ()) + len(cache._disposer._due),
        "deferred": len(cache._section._deferred),
    }


if __name__ == "__main__":
    print(json.dumps(evict(int(sys.argv[1]))))  # noqa: T201 - it is a command
