"""The bytes that a cache accounts for, the growth of its process, and the memory that `clear` returns.

``python -m tools.scorecard.measures.footprint TASKS [MEBIBYTES]``: DAGs of so many tasks each.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

from dagcache import DagCache
from dagcache.sizing.memory import give_back, resident_bytes
from tools.scorecard.measures.graphs import source

MIB = 2**20


def footprint(tasks: int, nbytes: int) -> dict[str, Any]:
    """Warm up, fill an unbounded cache up to so many bytes, shrink it to a tenth, clear it; all sizes in bytes."""
    graphs = source("made-up", tasks, tasks)
    warm_up: DagCache[int, Any] = DagCache(max_bytes=0, **graphs.cache_arguments())
    for key in range(max(1, 200 // tasks)):
        warm_up.get_or_load(key, graphs.load)
    warm_up.clear()
    cache: DagCache[int, Any] = DagCache(max_bytes=0, **graphs.cache_arguments())
    before = _resident()
    key = 0
    while cache.stats().total_bytes < nbytes:
        cache.get_or_load(key, graphs.load)
        key += 1
    stats, full = cache.stats(), _resident()
    cache.resize(nbytes // 10)
    kept, shrunk = cache.stats().total_bytes, _resident()
    cache.clear()
    return {
        "versions": key,
        "accounted": stats.total_bytes,
        "grown": full - before,
        "kept": kept,
        "shrunk": shrunk - before,
        "left": _resident() - before,
    }


def _resident() -> int:
    """The resident memory without garbage, and without pages that the allocator keeps in reserve."""
    gc.collect()
    give_back()
    return resident_bytes()


if __name__ == "__main__":
    print(json.dumps(footprint(int(sys.argv[1]), int(sys.argv[2] if sys.argv[2:] else 64) * MIB)))  # noqa: T201
