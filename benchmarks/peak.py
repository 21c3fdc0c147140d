"""The bytes that the cache of a measured process accounts, and the most at any time, read every 20 ms by the process.

It reads the ledger itself. A scrape would expire and dispose first, and so often that memory would come back earlier
than in a scheduler which is scraped every 15 seconds.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tallies import mapped, note_instances

VARIABLE = "DAGCACHE_BENCHMARK_PEAK"
"""The environment's variable that holds the file's path."""
_BETWEEN_LOOKS = 0.02  # seconds; a loop takes five times as long
_FORM = "3d"
_NOW, _MOST, _LOOKS = range(3)


class Peak(NamedTuple):
    """Of the accounted bytes."""

    now: float
    most: float
    """Since the start, or since the last `begin`."""
    looks: int


def new_file(path: Path) -> None:
    """Make a file for a process to write to."""
    path.write_bytes(bytes(struct.calcsize(_FORM)))


def read(path: Path) -> Peak:
    """The figures so far."""
    now, most, looks = struct.unpack(_FORM, path.read_bytes())
    return Peak(now, most, int(looks))


def begin(path: Path) -> None:
    """Forget the most so far."""
    with path.open("r+b") as file:
        file.write(bytes(struct.calcsize(_FORM)))


def install() -> None:
    """Read in this process, if the environment names a file and there is a cache."""
    path = os.environ.get(VARIABLE)
    if not path or os.environ.get("AIRFLOW__DAGCACHE__MODE") == "off":
        return
    from dagcache.core.cache import DagCache

    figures = mapped(path)
    caches: list[Any] = []
    note_instances(DagCache, caches)
    threading.Thread(target=_look, args=(caches, figures), daemon=True).start()


def _look(caches: list[Any], figures: memoryview[float]) -> None:
    from tests.support import probe

    while True:
        accounted = sum(probe.resident_bytes(cache) + probe.waiting(cache)[1] for cache in list(caches))
        figures[_NOW] = accounted
        figures[_MOST] = max(figures[_MOST], accounted)
        figures[_LOOKS] += 1
        time.sleep(_BETWEEN_LOOKS)
