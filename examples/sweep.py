"""Sweeps over 700 versions through three caches: the reason why a cache for schedulers counts bytes.

A scheduler looks up every active version in turn, again and again. A cache of the 512 most recently used versions has
always just dropped the next one. ``python -m examples.sweep`` shows this beside dagcache, each cache in a separate
process, with the same synthetic DAGs.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from dagcache import DagCache, Loaded
from dagcache.sizing.limits import format_bytes
from dagcache.sizing.memory import resident_bytes

VERSIONS = 700
LAPS = 4
TASKS = 40


class Dag:
    """A deserialised DAG: it refers to its tasks, and they refer to it."""

    def __init__(self, dag_id: str) -> None:
        self.dag_id = dag_id
        self.tasks: dict[str, Task] = {}


class Task:
    """One of its tasks."""

    def __init__(self, dag: Dag, encoded: dict[str, Any]) -> None:
        for name, value in encoded.items():
            setattr(self, check(name), decode(value))
        self.dag = dag


def check(name: str) -> str:
    """Validate a field's name, as deserialisers do."""
    if not name.isidentifier():
        raise ValueError(f"{name!r} is not a field of a task")
    return name


def decode(value: Any) -> Any:
    """Look into everything for encoded types, as deserialisers do."""
    if isinstance(value, dict):
        return {check(name): decode(item) for name, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, str) and value.startswith("__"):
        raise ValueError(f"{value!r} is of an unknown type")
    return value


def row(version: int) -> str:
    """The row of a version in the database."""
    tasks = [
        {
            "task_id": f"task_{number}",
            "command": f"run --version {version} --task {number}",
            "environment": {f"VARIABLE_{index}": f"{version}/{number}/{index}" for index in range(12)},
            "upstream": [f"task_{other}" for other in range(max(0, number - 3), number)],
            "template_of_it": {
                "path": f"s3://bucket/{version}/{number}",
                "parts": [[index, str(index)] for index in range(8)],
            },
            **{f"field_{index}": f"{number} {index}" for index in range(20)},
        }
        for number in range(TASKS + version % 21)
    ]
    return json.dumps({"dag_id": f"dag_{version}", "tasks": tasks})


def load(text: str) -> Dag:
    """Deserialise: the slow part."""
    encoded = json.loads(text)
    dag = Dag(encoded["dag_id"])
    for item in encoded["tasks"]:
        dag.tasks[item["task_id"]] = Task(dag, item)
    return dag


class CountingLRU:
    """A cache that counts entries."""

    def __init__(self, entries: int) -> None:
        self._held: OrderedDict[int, Dag] = OrderedDict()
        self._entries = entries

    def get_or_load(self, key: int, loader: Callable[[int], Loaded[Dag]]) -> Dag:
        """Look up a version, and keep the most recently used."""
        if key in self._held:
            self._held.move_to_end(key)
        else:
            self._held[key] = loader(key).value
            if len(self._held) > self._entries:
                self._held.popitem(last=False)
        return self._held[key]


CACHES: dict[str, Callable[[], Any]] = {
    "the 512 most recent": lambda: CountingLRU(512),
    "dagcache, 64 MiB": lambda: DagCache(max_bytes="64MiB", ttl=3600),
    "dagcache, 16 MiB": lambda: DagCache(max_bytes="16MiB", ttl=3600),
}


def sweep(name: str) -> None:
    """Sweep all versions a few times through one cache, and print a line per lap."""
    rows = [row(version) for version in range(VERSIONS)]
    cache = CACHES[name]()
    loads = 0

    def loader(version: int) -> Loaded[Dag]:
        nonlocal loads
        loads += 1
        return Loaded(load(rows[version]), serialized_bytes=len(rows[version]))

    gc.collect()
    base = resident_bytes()
    for lap in range(1, LAPS + 1):
        loads, frozen = 0, cache.stats().hits_frozen if isinstance(cache, DagCache) else 0
        started = time.perf_counter()
        for version in range(VERSIONS):
            assert cache.get_or_load(version, loader).dag_id == f"dag_{version}"
        seconds = time.perf_counter() - started
        thaws = cache.stats().hits_frozen - frozen if isinstance(cache, DagCache) else 0
        print(
            f"{name:<22}{lap:>4}{VERSIONS - loads - thaws:>8}{thaws:>8}{loads:>8}{seconds:>9.2f} s"
            f"{format_bytes(resident_bytes() - base):>13}",
            flush=True,
        )
    if isinstance(cache, DagCache):
        stats = cache.stats()
        print(
            f"{'':<22}accounted: live {format_bytes(stats.live_bytes)}, frozen {format_bytes(stats.frozen_bytes)},"
            f" overhead {format_bytes(stats.overhead_bytes)} of {format_bytes(stats.max_bytes)}"
        )


def main() -> None:
    """Run the caches one after another."""
    print(f"{VERSIONS} versions, every one looked up once per lap\n")
    print(f"{'cache':<22}{'lap':>4}{'live':>8}{'thawed':>8}{'loaded':>8}{'seconds':>11}{'RSS growth':>13}")
    context = multiprocessing.get_context("spawn")
    for name in CACHES:
        process = context.Process(target=sweep, args=(name,))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{name}: the sweep ended with {process.exitcode}")


if __name__ == "__main__":
    main()
