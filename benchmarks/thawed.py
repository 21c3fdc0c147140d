"""Accounted bytes of loaded and of thawed copies, beside those from the allocators, shape by shape.

``python -m benchmarks.thawed [--rows FILE] [--page FILE]``. Each shape gets a cache as a
scheduler has it, without a limit: its DAGs are loaded, then all live copies are given up, then all are thawed.
``--rows`` adds a file of serialised DAGs, gzipped JSON lines with ``data``. Needs glibc.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.scheduler import made_with, playground, run_json, write_between
from benchmarks.unlike import unlike_dags
from dagcache.airflow import graphs
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.core.cache import DagCache
from dagcache.core.entry import ENTRY_OVERHEAD
from dagcache.core.loaded import Loaded
from dagcache.demo.synthetic import synthetic_dag
from dagcache.errors import FreezeError
from dagcache.freezing.zdict import VALUES
from dagcache.sizing.allocators import allocated_bytes

_MARKER = "--shapes"
_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Bench:
    """Builds graphs as a scheduler's process does."""

    def __init__(self) -> None:
        importlib.import_module("airflow.jobs.scheduler_job_runner")
        module = importlib.import_module("airflow.serialization.serialized_objects")
        self._from_dict = module.DagSerialization.from_dict
        self.to_dict = module.DagSerialization.to_dict

    def compare(self, texts: list[str]) -> dict[str, float]:
        """How many DAGs could be frozen; accounted over real, loaded and then thawed."""
        for _ in range(2):  # class layouts, interned strings and the freezer's proofs belong to the process
            held = [dag for text in texts[:50] if (dag := self.load(text).value)]
        freezer, shared = graphs.freezer()
        with suppress(FreezeError):
            for dag in islice(cycle(held), VALUES + 1):  # its dictionary and its compressor are no part of a value
                freezer.freeze(dag)
        del held, dag
        before = allocated_bytes()
        cache: DagCache[int, Any] = DagCache(max_bytes=0, ttl=0, freezer=freezer, shared=shared)
        for key, text in enumerate(texts):
            cache.get_or_load(key, lambda _, text=text: self.load(text))  # type: ignore[misc]
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
        return {"dags": len(cache), "loaded": loaded, "thawed": thawed}

    def load(self, text: str) -> Loaded[Any]:
        """A DAG from its serialised text, as a scheduler's bag loads it."""
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


def measured(rows: Path | None) -> list[dict[str, Any]]:
    """Of each shape its DAGs, and accounted over real bytes. In the environment of an Airflow home."""
    bench = Bench()
    found = list(shapes(bench))
    if rows:
        found.append((rows.name, list(_rows(bench.load, rows))))
    return [{"shape": name, **bench.compare(texts)} for name, texts in found]


def table(found: list[dict[str, Any]]) -> str:
    """A line for each shape."""
    lines = ["| accounted over real | DAGs | loaded copies | thawed copies |", "|---" * 4 + "|"]
    lines += (f"| {row['shape']} | {row['dags']} | {row['loaded']:.3f} | {row['thawed']:.3f} |" for row in found)
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thawed", description=__doc__)
    parser.add_argument("--rows", type=Path, metavar="FILE", help="a file of serialised DAGs, gzipped JSON lines")
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the marks of this page")
    parser.add_argument(_MARKER, action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.shapes:
        for row in measured(chosen.rows):
            print(json.dumps(row))
        return
    with playground(chosen.home, 5) as home:
        more = () if chosen.rows is None else ("--rows", str(chosen.rows.resolve()))
        text = table(run_json(home, {"mode": "off"}, "benchmarks.thawed", _MARKER, *more))
    print(text)
    if chosen.page:
        write_between(chosen.page, "thawed", f"Made by `python -m benchmarks.thawed`: {made_with()}.\n\n{text}")


if __name__ == "__main__":
    main()
