"""Accounted bytes of loaded and of thawed copies, beside those from the allocators, shape by shape.

``python -m benchmarks.thawed [--rows FILE]`` in the environment of an Airflow home. Each shape gets a cache as a
scheduler has it, without a limit: its DAGs are loaded, then all live copies are given up, then all are thawed.
``--rows`` adds a file of serialised DAGs, gzipped JSON lines with ``data``. Needs glibc.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.unlike import unlike_dags
from dagcache.airflow import graphs
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.core.cache import DagCache
from dagcache.core.entry import ENTRY_OVERHEAD
from dagcache.core.loaded import Loaded
from dagcache.demo.synthetic import synthetic_dag
from dagcache.sizing.allocators import allocated_bytes

_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Bench:
    """Builds graphs as a scheduler's process does."""

    def __init__(self) -> None:
        importlib.import_module("airflow.jobs.scheduler_job_runner")
        module = importlib.import_module("airflow.serialization.serialized_objects")
        self._from_dict = module.DagSerialization.from_dict
        self.to_dict = module.DagSerialization.to_dict

    def compare(self, texts: list[str]) -> tuple[int, float, float]:
        """How many DAGs could be frozen; accounted over real, loaded and then thawed."""
        for _ in range(2):  # class layouts, interned strings and the freezer's proofs belong to the process
            held = [dag for text in texts[:50] if (dag := self._load(text).value)]
        del held
        freezer, shared = graphs.freezer()
        before = allocated_bytes()
        cache: DagCache[int, Any] = DagCache(max_bytes=0, ttl=0, freezer=freezer, shared=shared)
        for key, text in enumerate(texts):
            cache.get_or_load(key, lambda _, text=text: self._load(text))  # type: ignore[misc]
        for info in cache.entries():
            if not info.frozen_bytes:
                del cache[info.key]
        loaded = cache.stats().total_bytes / (allocated_bytes() - before)
        stats = cache.stats()
        cache.resize(stats.frozen_bytes + ENTRY_OVERHEAD * stats.entries)
        cache.resize(0)
        for key in cache:
            cache.get(key)
        thawed = cache.stats().total_bytes / (allocated_bytes() - before)
        cache.check_invariants()
        return len(cache), loaded, thawed

    def _load(self, text: str) -> Loaded[Any]:
        payload = json.loads(text)
        share_strings(payload)
        dag = self._from_dict(payload)
        share_immutables(dag)
        return Loaded(dag, serialized_bytes=len(text))


def shapes(bench: Bench) -> Iterator[tuple[str, list[str]]]:
    """Names, and serialised DAGs."""
    rng = random.Random(3)

    def synthetic(name: str, tasks: int) -> str:
        return json.dumps(bench.to_dict(synthetic_dag(name, tasks, rng, __file__)))

    yield "one DAG of 3,000 tasks", [synthetic("large", 3000)]
    yield "299 DAGs of 1 - 4 tasks", [synthetic(f"small_{number}", 1 + number % 4) for number in range(299)]
    yield "5 DAGs of 160 mapped tasks", [json.dumps(bench.to_dict(_mapped(number, 160))) for number in range(5)]
    yield "60 DAGs of extreme shapes", [json.dumps(payload) for payload in unlike_dags(60)]


def _mapped(number: int, tasks: int) -> Any:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG

    with DAG(f"mapped_{number}", schedule=None, start_date=_START) as dag:
        for task in range(tasks):
            BashOperator.partial(task_id=f"task_{task}").expand(bash_command=[f"echo {task}", f"echo {number}"])
    return dag


def _rows(bench: Callable[[str], Loaded[Any]], file: Path) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            data = json.loads(line)["data"]
            text = data if isinstance(data, str) else json.dumps(data)
            with suppress(Exception):  # of a provider that is not installed, for instance
                bench(text)
                yield text


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thawed", description=__doc__)
    parser.add_argument("--rows", type=Path, metavar="FILE", help="a file of serialised DAGs, gzipped JSON lines")
    chosen = parser.parse_args()
    bench = Bench()
    found = list(shapes(bench))
    if chosen.rows:
        found.append((chosen.rows.name, list(_rows(bench._load, chosen.rows))))  # noqa: SLF001 - of this file
    print(f"{'accounted over real, CPython ' + sys.version.split()[0]:<42}{'DAGs':>6}{'loaded':>9}{'thawed':>9}")
    for name, texts in found:
        count, loaded, thawed = bench.compare(texts)
        print(f"{name:<42}{count:>6}{loaded:>9.3f}{thawed:>9.3f}")


if __name__ == "__main__":
    main()
