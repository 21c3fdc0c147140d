"""The host's garbage while threads keep thawing.

``python -m tools.scorecard.measures.host_garbage THREADS SECONDS``: so many threads look up DAGs, most of them
by a thaw, and one more thread makes cyclic garbage.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from typing import Any

from dagcache import DagCache
from tools.scorecard.measures.graphs import Source, source

_KEYS = 50
_LIVE_BYTES = 60 * 1024  # for each DAG of some 400 KB


class Garbage:
    """A cycle."""

    alive = 0

    def __init__(self) -> None:
        self.itself = self
        Garbage.alive += 1

    def __del__(self) -> None:
        Garbage.alive -= 1


def pile_up(threads: int, seconds: float, graphs: Source) -> dict[str, Any]:
    """The most garbage that was alive at one time, and how often the collector ran."""
    cache: DagCache[int, Any] = DagCache(
        max_bytes=_KEYS * _LIVE_BYTES, freezer=graphs.freezer, breaker=graphs.breaker, shared=graphs.shared
    )
    for key in range(_KEYS):
        cache.get_or_load(key, graphs.load)
    stop = threading.Event()

    def keep_thawing(first: int) -> None:
        key = first
        while not stop.is_set():
            cache.get_or_load(key % _KEYS, graphs.load)
            key += 1

    workers = [threading.Thread(target=keep_thawing, args=(7 * number,)) for number in range(threads)]
    collections = [0]

    def count(phase: str, _: dict[str, Any]) -> None:
        collections[0] += phase == "start"

    gc.callbacks.append(count)
    before = cache.stats()
    for worker in workers:
        worker.start()
    most = made = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        Garbage()
        made += 1
        most = max(most, Garbage.alive)
    stop.set()
    for worker in workers:
        worker.join()
    gc.callbacks.remove(count)
    thaws = cache.stats().hits_frozen - before.hits_frozen
    return {"thaws": thaws, "collections": collections[0], "garbage": made, "most_alive": most}


if __name__ == "__main__":
    print(json.dumps(pile_up(int(sys.argv[1]), float(sys.argv[2]), source("made-up, known"))))  # noqa: T201
