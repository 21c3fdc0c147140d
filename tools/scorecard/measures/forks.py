"""Forks of a process with threads that keep a cache and its endpoint busy; every child must use the cache and end.

``python -m tools.scorecard.measures.forks NUMBER``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from dagcache import DagCache
from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.scrape import scrape
from dagcache.metrics.server import MetricsServer
from tests.support.caches import KIB, MIB, Weighted, stated_weight
from tests.support.children import LONGEST, fork, listening_ports, outcome

_THREADS = 3


def fork_under_load(number: int) -> dict[str, Any]:
    """How the children ended, and whether the port is free for the next one at once, though a child lives on."""
    cache: DagCache[Any, Any] = DagCache(max_bytes=MIB, sizer=stated_weight, name="busy")
    registry = CollectorRegistry()
    registry.register(CacheCollector([cache]))
    server = MetricsServer(registry, host="127.0.0.1", ports=(0,))
    assert server.start()
    port = server.port or 0
    over = threading.Event()
    failures: list[BaseException] = []

    def look_up(seed: int) -> None:
        try:
            turn = seed
            while not over.is_set():
                turn += 7
                cache.get_or_load(turn % 60, lambda key: Weighted(key, 60 * KIB))
                if turn % 11 == 0:
                    cache[turn % 60] = Weighted(turn, 60 * KIB)
                if turn % 500 < 7:
                    scrape(f"http://127.0.0.1:{port}/metrics", timeout=LONGEST)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look_up, args=(seed,)) for seed in range(_THREADS)]
    for thread in threads:
        thread.start()
    ends = [outcome(fork(partial(_use, cache, port))) for _ in range(number)]
    over.set()
    for thread in threads:
        thread.join(LONGEST)
    survivor = _fork_survivor()
    server.close()
    successor = MetricsServer(registry, host="127.0.0.1", ports=(port,))
    rebound = successor.start() and successor.port == port
    successor.close()
    os.kill(survivor, signal.SIGKILL)
    os.waitpid(survivor, 0)
    cache.check_invariants()
    return {
        "forks": number,
        "hung": ends.count("hung"),
        "failed": sum(end not in ("0", "hung") for end in ends),
        "rebound": rebound,
        "failures": [repr(failure) for failure in failures],
    }


def _use(cache: DagCache[Any, Any], port: int) -> None:
    """The work of a child: it finds an empty, working cache, and no endpoint."""
    assert threading.active_count() == 1
    assert len(cache) == 0  # which starts the clock's thread
    for key in range(40):
        assert cache.get_or_load(key, lambda key: Weighted(key, 60 * KIB)) == Weighted(key, 60 * KIB)
    assert cache.stats().loads == 40
    cache.check_invariants()
    assert port not in listening_ports()


def _fork_survivor() -> int:
    """A child that lives on, and is past what it does first."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"!")
        signal.alarm(60)
        signal.pause()
        os._exit(0)
    os.read(reading, 1)
    return child


if __name__ == "__main__":
    socket.setdefaulttimeout(LONGEST)
    print(json.dumps(fork_under_load(int(sys.argv[1]))))  # noqa: T201 - it is a command
