"""The time for which the collector stops all threads while most lookups thaw, and the time of disposal.

``python -m tools.scorecard.measures.pauses MODE SWEEPS [SOURCE [DAGS]]``. The mode is ``plain``, ``gc-freeze`` (with
`HeapFreeze`), ``gc-freeze-forks`` or ``without``. ``gc-freeze-forks`` adds a child every fifty lookups, between
gc.freeze and gc.unfreeze as in Airflow's LocalExecutor. With ``without`` each lookup builds its DAG, and none is kept.

All times are the thread's processor time: on a busy machine the wall clock measures the other processes.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from dagcache import DagCache
from dagcache.reclaim.breaker import Outcome
from dagcache.reclaim.gc_freeze import HeapFreeze
from tools.scorecard.measures.graphs import Source, source

_LIVE_BYTES = 60 * 1024  # for each DAG of some 400 KB
_NEW_EVERY = 20
_FORK_EVERY = 50


class Watch:
    """Measures the automatic collector and a breaker; seconds."""

    def __init__(self, breaker: Any) -> None:
        self._breaker = breaker
        self._started = 0.0
        self.collections: list[float] = []
        self.full = 0
        self.disposals: list[float] = []
        self.stopped = 0.0
        """All of both."""

    def collected(self, phase: str, facts: dict[str, Any]) -> None:
        """For `gc.callbacks`."""
        if phase == "start":
            self._started = time.thread_time()
        else:
            self.collections.append(time.thread_time() - self._started)
            self.stopped += self.collections[-1]
            self.full += facts["generation"] == 2

    def release(self, value_cell: list[object]) -> Outcome:
        """Pass on, and measure."""
        started = time.thread_time()
        outcome: Outcome = self._breaker.release(value_cell)
        self.disposals.append(time.thread_time() - started)
        self.stopped += self.disposals[-1]
        return outcome


def pauses(mode: str, turns: int, graphs: Source, keys: int) -> dict[str, Any]:
    """Sweep so many times over so many DAGs, few of which stay live, and a new one now and then; by processor time."""
    watch = Watch(graphs.breaker)
    cache: DagCache[int, Any] = DagCache(
        max_bytes=keys * _LIVE_BYTES, freezer=graphs.freezer, breaker=watch, shared=graphs.shared
    )
    heap = HeapFreeze() if mode.startswith("gc-freeze") else None
    loaded: list[int] = []

    def load(key: int) -> Any:
        loaded.append(key)
        return graphs.load(key)

    def look_up(key: int) -> None:
        if mode == "without":
            load(key)
        else:
            cache.get_or_load(key, load)
        if heap is not None and loaded:
            heap.after_load()
        loaded.clear()

    for key in range(keys):
        look_up(key)
    gc.callbacks.append(watch.collected)
    watch.disposals.clear()
    before, started = cache.stats(), time.thread_time()
    stopped: list[float] = []
    for turn in range(turns * keys):
        earlier = watch.stopped
        look_up(turn % keys if turn % _NEW_EVERY else keys + turn)
        stopped.append(watch.stopped - earlier)
        if mode == "gc-freeze-forks" and turn % _FORK_EVERY == 0:
            _fork()
    used = time.thread_time() - started
    gc.callbacks.remove(watch.collected)
    after = cache.stats()
    return {
        "seconds": used,
        "lookups": turns * keys,
        "thaws": after.hits_frozen - before.hits_frozen,
        "loads": after.loads - before.loads,
        "collections": len(watch.collections),
        "full": watch.full,
        "p99_ms": 1000 * _p99(stopped),
        "collection_p99_ms": 1000 * _p99(watch.collections),
        "worst_ms": 1000 * max(watch.collections, default=0.0),
        "share": sum(watch.collections) / used,
        "disposals": len(watch.disposals),
        "burial_p99_ms": 1000 * _p99(watch.disposals),
        "burial_share": sum(watch.disposals) / used,
    }


def _fork() -> None:
    gc.freeze()
    child = os.fork()
    if child == 0:
        os._exit(0)
    gc.unfreeze()
    os.waitpid(child, 0)


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100] if seconds else 0.0


def main(mode: str, turns: str, where_from: str = "made-up", keys: str = "200") -> None:
    """Print one JSON object."""
    print(json.dumps(pauses(mode, int(turns), source(where_from), int(keys))))  # noqa: T201 - it is a command


if __name__ == "__main__":
    main(*sys.argv[1:])
