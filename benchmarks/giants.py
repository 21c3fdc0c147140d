"""The first load of giant DAGs: Airflow's own load beside ours, with the freeze and the weighing that ours adds.

``python -m benchmarks.giants [--tasks 300,3000,20000,60000] [--turns 3] [--page FILE]``. Each first load, Airflow's and
ours, has a separate process, of the scheduler's modules, that has seen DAGs of usual sizes: a second load in a process
reuses its memory. Ours is a miss of a cache: load, freeze, weigh, admit. DAGs of fewer than 3,000 tasks are loaded and
held one after the other, 3,000 tasks in all, as at the start of a process, and seconds are the mean: a single load of
some milliseconds would have all of a collection or none. Ours has laps of rare collections, as a component has. Seconds
are of this thread's CPU; the cache's weight is beside an exact walk of the same graph.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scheduler import made_with, playground, run_json, write_between
from dagcache.core.cache import DagCache
from dagcache.core.loaded import Loaded
from dagcache.reclaim.gc_lap import allow_laps
from dagcache.reclaim.gc_pause import gc_relaxed
from dagcache.sizing.walk import weigh

_MARKERS = {"stock": "--stock", "ours": "--ours"}
_BLOCK = 100  # tasks of which the giants are made
_USUAL = 40  # DAGs of usual sizes that come before, so that the cache has its dictionary and its model
_IN_ALL = 3000  # tasks that a process loads at least
_ID = re.compile(r"\b(task|stage)_(\d+)")


def payload(tasks: int, seed: int = 3) -> dict[str, Any]:
    """A serialised DAG of as many tasks: copies of a block with ids of their own."""
    from dagcache.demo.synthetic import synthetic_dag

    module = importlib.import_module("airflow.serialization.serialized_objects")
    block = synthetic_dag("giant", min(tasks, _BLOCK), random.Random(seed), "/dags/giant.py")
    whole: dict[str, Any] = json.loads(json.dumps(module.DagSerialization.to_dict(block)))
    parts = json.dumps([whole["dag"]["tasks"], whole["dag"]["task_group"]["children"]])
    for number in range(1, tasks // _BLOCK):
        own_tasks, own_children = json.loads(_ID.sub(rf"\1_{number}_\2", parts))
        whole["dag"]["tasks"] += own_tasks
        whole["dag"]["task_group"]["children"] |= own_children
    return whole


class Rival:
    """Loads as Airflow does, and as a scheduler's bag with a cache does."""

    def __init__(self) -> None:
        from dagcache.airflow import graphs, sharing

        importlib.import_module("airflow.jobs.scheduler_job_runner")
        module = importlib.import_module("airflow.serialization.serialized_objects")
        self._from_dict: Callable[[Any], Any] = module.DagSerialization.from_dict
        self._sharing = sharing
        freezer, shared = graphs.freezer()
        self._shared_ids = frozenset(map(id, shared))
        self._cache: DagCache[int, Any] = DagCache(max_bytes="8GiB", freezer=freezer, shared=shared)
        self._loading = 0.0
        for number in range(_USUAL):
            self.ours(-number - 1, json.dumps(payload(random.Random(number).randint(5, 300), seed=number)))
        self._cache.clear()

    def stock(self, texts: list[str]) -> float:
        """CPU seconds of Airflow's own loads, with all graphs held."""
        started = time.thread_time()
        held = [self._from_dict(json.loads(text)) for text in texts]
        seconds = time.thread_time() - started
        del held
        return seconds

    def ours(self, key: int, text: str) -> dict[str, float]:
        """CPU seconds of a miss, of its load alone and of an exact walk; and the cache's weight over that walk's."""

        def load(_: int) -> Loaded[Any]:
            started = time.thread_time()
            parsed = json.loads(text)
            self._sharing.share_strings(parsed)
            with gc_relaxed():
                dag = self._from_dict(parsed)
                self._sharing.share_immutables(dag)
            self._loading = time.thread_time() - started
            return Loaded(dag, len(text), (float(len(dag.task_dict)),))

        started = time.thread_time()
        dag = self._cache.get_or_load(key, load)
        seconds = time.thread_time() - started
        entry = next(each for each in self._cache.entries() if each.key == key)
        started = time.thread_time()
        exact = weigh(dag, shared=self._shared_ids, node_limit=10**9).nbytes
        walking = time.thread_time() - started
        return {
            "miss": seconds,
            "load": self._loading,
            "rest": seconds - self._loading,
            "walk": walking,
            "weight_over_walk": entry.live_bytes / exact,
        }


def measure(tasks: int, whose: str) -> dict[str, float]:
    """The mean figures of the first loads in this process."""
    rival = Rival()
    texts = [json.dumps(payload(tasks, seed)) for seed in range(3, 3 + max(1, _IN_ALL // tasks))]
    if whose == "stock":
        return {"stock": rival.stock(texts) / len(texts)}
    allow_laps()
    every = [rival.ours(number, text) for number, text in enumerate(texts)]
    return {name: statistics.mean(each[name] for each in every) for name in every[0]}


def table(rows: list[dict[str, float]]) -> str:
    """A row for each size: medians over the turns."""
    lines = [
        "| tasks | Airflow's load | our load | freeze, weigh, admit | over Airflow's | exact walk | weight over it |",
        "|---" * 7 + "|",
    ]
    for tasks in dict.fromkeys(int(row["tasks"]) for row in rows):
        turns = [row for row in rows if row["tasks"] == tasks]
        each = {name: statistics.median(row[name] for row in turns) for name in turns[0]}
        ratio = statistics.median(row["miss"] / row["stock"] for row in turns)
        stock, load, rest, walk = (f"{each[name]:.3f} s" for name in ("stock", "load", "rest", "walk"))
        weight = f"{each['weight_over_walk']:.3f}"
        lines.append(f"| {tasks:,} | {stock} | {load} | {rest} | **{ratio:.2f}** | {walk} | {weight} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.giants", description=__doc__)
    parser.add_argument("--tasks", default="300,3000,20000,60000", help="numbers of tasks, comma-separated")
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument("--turns", type=int, default=3, help="first loads of each size (default: 3)")
    for marker in _MARKERS.values():
        parser.add_argument(marker, type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    for whose in _MARKERS:
        if tasks := getattr(chosen, whose):
            print(json.dumps(measure(tasks, whose)), flush=True)
            return
    rows: list[dict[str, float]] = []
    with playground(chosen.home, 10) as home:
        for tasks in chosen.tasks.split(","):
            for _ in range(chosen.turns):
                rows.append({"tasks": float(tasks)})
                for marker in _MARKERS.values():
                    rows[-1] |= run_json(home, {"mode": "off"}, "benchmarks.giants", marker, tasks)[-1]
                print(rows[-1], file=sys.stderr, flush=True)
    text = table(rows)
    print(text)
    if chosen.page:
        made_by = (
            f"Made by `make bench`: {made_with()}. First loads of processes, {chosen.turns} of each; medians,"
            " CPU seconds."
        )
        write_between(chosen.page, "giants", f"{made_by}\n\n{text}")


if __name__ == "__main__":
    main()
