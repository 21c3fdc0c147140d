"""An endpoint under two hundred slow clients and every malformed request, while Prometheus scrapes it.

``python -m tools.scorecard.measures.crowd SCRAPES``: milliseconds per scrape, and the server's threads. The server
has a separate process, as in Airflow; the clients share this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.scrape import scrape
from dagcache.metrics.server import MetricsServer
from tests.support.caches import MIB, fill, make_cache
from tests.unit.metrics.test_server import HALF, REQUESTS
from tools.scorecard.processes import ROOT

_CROWD = 200
_PATIENCE = 60.0


def serve() -> None:
    """Serve until stdin ends; prints the port."""
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    fill(cache, range(25))
    registry = CollectorRegistry()
    registry.register(CacheCollector([cache]))
    server = MetricsServer(registry, host="127.0.0.1", ports=(0,))
    assert server.start()
    print(server.port, flush=True)  # noqa: T201
    sys.stdin.read()
    server.close()


def crowd(scrapes: int) -> dict[str, Any]:
    """Scrape beside all other clients; the duration of each scrape."""
    command = [sys.executable, "-m", "tools.scorecard.measures.crowd", "serve"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        over = threading.Event()
        crowds = [threading.Thread(target=work, args=(port, over)) for work in (_dawdle, _be_strange)]
        for thread in crowds:
            thread.start()
        seconds, failed, threads = [], 0, 0
        for _ in range(scrapes):
            started = time.perf_counter()
            try:
                scrape(f"http://127.0.0.1:{port}/metrics", timeout=_PATIENCE)
            except (OSError, ValueError):
                failed += 1
            seconds.append(time.perf_counter() - started)
            threads = max(threads, _threads_of(server.pid))
        over.set()
        for thread in crowds:
            thread.join(_PATIENCE)
        server.stdin.close()
    seconds.sort()
    return {
        "scrapes": scrapes,
        "failed": failed,
        "median_ms": 1000 * seconds[len(seconds) // 2],
        "p99_ms": 1000 * seconds[len(seconds) * 99 // 100],
        "threads": threads,
        "requests": len(REQUESTS),
        "crowd": _CROWD,
    }


def _dawdle(port: int, over: threading.Event) -> None:
    """Two hundred connections, each with a byte now and then; a dropped one connects again."""
    clients: list[socket.socket] = []
    turn = 0
    while not over.is_set():
        if len(clients) < _CROWD:
            with contextlib.suppress(OSError):
                clients.append(socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE))
        turn = (turn + 1) % max(1, len(clients))
        try:
            clients[turn].sendall(HALF[:1])
        except (OSError, IndexError):
            if turn < len(clients):
                clients.pop(turn).close()
        over.wait(0.001)
    for client in clients:
        client.close()


def _be_strange(port: int, over: threading.Event) -> None:
    """Every strange request in turn."""
    while not over.is_set():
        for request, _ in REQUESTS.values():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(request)
                client.recv(65536)
            if over.wait(0.005):
                return


def _threads_of(pid: int) -> int:
    found = re.search(r"^Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        print(json.dumps(crowd(int(sys.argv[1]))))  # noqa: T201 - it is a command
    sys.stdout.flush()
    os._exit(0)  # a client that still waits is not worth waiting for
