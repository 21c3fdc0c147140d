"""Another budget for the cache of a process at work: written to a file by the benchmark, read by a thread in there.

The process also returns free memory to the operating system each time. So its resident memory is what is in use.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

VARIABLE = "DAGCACHE_BENCHMARK_BUDGET"
"""The environment variable that holds the path of the file."""
_POLL = 0.2  # seconds


def request(path: Path, nbytes: int) -> None:
    """Ask for a budget in bytes, 0 = unbounded. A second request for the same budget only returns free memory."""
    new = path.with_suffix(".new")
    new.write_text(f"{nbytes} {time.monotonic_ns()}")
    new.replace(path)


def install() -> None:
    """Follow the file that the environment names, if it names one."""
    path = os.environ.get(VARIABLE)
    if path:
        threading.Thread(target=_follow, args=(Path(path),), name="benchmark-budget", daemon=True).start()


def _follow(path: Path) -> None:
    done = ""
    while True:
        time.sleep(_POLL)
        asked = path.read_text() if path.exists() else ""
        if asked == done:
            continue
        done = asked
        _apply(int(asked.split()[0]))


def _apply(nbytes: int) -> None:
    from dagcache.core.cache import _caches
    from dagcache.sizing.memory import give_back

    for cache in list(_caches.values()):
        if cache.max_bytes != nbytes:
            cache.resize(nbytes)
    gc.collect()
    give_back()
