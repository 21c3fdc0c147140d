"""A process of its own that churns cyclic graphs through a small cache with the automatic collector off.

``python -m tests.support.churn ADMISSIONS [nobreaker]`` prints one line of JSON: RSS in bytes after a fifth of the
admissions and after all of them, and the cache's own figures.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

from dagcache import DagCache
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.sizing.memory import resident_bytes
from tests.support.graphs import SHARED, make_dag

BUDGET = 4 * 2**20


def main(admissions: int, **arguments: Any) -> dict[str, Any]:
    """Admit so many graphs, each under a new key."""
    freezer = PickleFreezer(shared=SHARED)
    patterns = [freezer.freeze(make_dag(tasks, seed=tasks)).data for tasks in range(5, 45)]
    cache: DagCache[int, object] = DagCache(max_bytes=BUDGET, freezer=freezer, shared=SHARED, **arguments)
    gc.collect()
    gc.disable()
    early = 0
    for number in range(admissions):
        cache[number] = freezer.thaw(patterns[number % len(patterns)])
        if number == admissions // 5:
            early = resident_bytes()
    stats = cache.stats()
    return {
        "early": early,
        "late": resident_bytes(),
        "demotions": stats.demotions,
        "entries": stats.entries,
        "rejected": sum(stats.rejections.values()),
        "unbroken": stats.unbroken_cycles,
        "passed": admissions - stats.demotions - stats.live_entries - sum(stats.rejections.values()),
        "total": stats.total_bytes,
    }


if __name__ == "__main__":
    without: dict[str, Any] = {"breaker": None} if "nobreaker" in sys.argv[2:] else {}
    print(json.dumps(main(int(sys.argv[1]), **without)))  # noqa: T201 - it is a command
