"""The sizes that `dagcache advise` predicts, against Airflow's own graphs: each DAG's live and frozen bytes, its times.

``python -m benchmarks.predicted_sizes [--versions 150] [--home DIR] [--rows FILE] [--page FILE]`` weighs one version of
each DAG of a playground and of Airflow's examples, DAGs of the sizes that people have (`benchmarks.typical`) and of
extreme shapes (`benchmarks.unlike`). Constants are fitted to one half of the DAGs, without the extreme ones, and judged
on the others, beside the constants that `dagcache.advice.sizes` has. ``--rows`` adds a file of serialised DAGs: gzipped
JSON lines with ``data``. Times are CPU seconds of this thread, in units of the machine of the constants. They are in a
heap with fewer holes than that of a scheduler, and those of loads are without the query for the row and without
collections: the adviser's constants of time are those of `benchmarks.advice`.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import platform
import random
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.probe_process import ProbeProcess
from benchmarks.scheduler import playground, run_json, write_between
from benchmarks.typical import payloads, task_counts
from benchmarks.unlike import unlike_dags
from dagcache.advice import sizes
from dagcache.advice.working_set import RUNS_PER_LOOP
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.database.loader import SerializedDagLoader
from dagcache.errors import FreezeError
from dagcache.reclaim.gc_pause import gc_relaxed

Rows = list[dict[str, Any]]
_MARKER = "--graphs-of"
_KINDS = {
    "generated": "a playground's",
    "examples": "Airflow's examples",
    "typical": "of the sizes that people have",
    "unlike": "extreme shapes",
    "rows": "of the file",
}
_TERMS = {
    "live": ("tasks", "mapped", "shadow_bytes"),
    "frozen": ("mapped", "deflated_bytes"),
    "load": ("shadow_bytes",),
    "thaw": ("shadow_bytes",),
}
"""The quantity to predict, and the features, beside a constant, of its fit."""
_LAPS = 3
_SPEED_STEPS = 5
_UNLIKE, _TYPICAL, _LARGEST = 60, 150, 1_800
_TEACHING = 80
"""DAGs that both dictionaries of the compressor learn from beforehand."""


def built_in(name: str, found: sizes.Features) -> float:
    """The prediction of the adviser: bytes, or seconds."""
    return float(
        getattr(sizes.Speed().size(found), {"load": "load_seconds", "thaw": "thaw_seconds"}.get(name, f"{name}_bytes"))
    )


# ---- graphs, in a scheduler's process ----


def graphs(database: Path, rows: Path | None) -> Rows:
    """Weights and costs of DAGs in a process of the scheduler's modules."""
    with ProbeProcess() as probe:
        return _weighed(_Weigher(probe), database, rows)


def _weighed(weigher: _Weigher, database: Path, rows: Path | None) -> Rows:
    found = list(_payloads(database, rows))
    for _, payload in random.Random(1).sample(found, min(len(found), _TEACHING)):
        with suppress(FreezeError):
            weigher.weigh(payload)
    weighed: Rows = []
    frozen: list[bytes] = []
    for kind, payload in found:
        with suppress(FreezeError):  # such are kept live only
            row, data = weigher.weigh(payload)
            weighed.append({"kind": kind, **row})
            frozen.append(data)
    for row, seconds in zip(weighed, weigher.thaws(frozen), strict=True):
        row["thaw"] = seconds
    return weighed


def _payloads(database: Path, rows: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    with SerializedDagLoader(f"sqlite:///{database}") as loader:
        newest = {row.dag_id: row.id for row in loader.versions(sizes=False)}
        for dag_id, each in newest.items():
            payload = loader.load(each)
            if payload is not None:
                yield ("generated" if dag_id.startswith("generated") else "examples"), payload
    for payload in payloads(task_counts(_TYPICAL, largest=_LARGEST), seed=1):
        yield "typical", payload
    for payload in unlike_dags(_UNLIKE):
        yield "unlike", payload
    if rows is not None:
        with gzip.open(rows) as lines:
            for line in lines:
                yield "rows", json.loads(line)["data"]


class _Weigher:
    """Weighs as the scheduler's cache does, in which most live copies are thawed ones."""

    def __init__(self, probe: ProbeProcess) -> None:
        from dagcache.airflow import graphs as airflow_graphs
        from dagcache.freezing.zdict import Dictionary

        importlib.import_module("airflow.jobs.scheduler_job_runner")
        module: Any = importlib.import_module("airflow.serialization.serialized_objects")
        self._build: Any = module.DagSerialization.from_dict
        self._freezer, self._shared = airflow_graphs.freezer()
        self._dictionary = Dictionary()
        self._probe = probe

    def weigh(self, payload: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Features, bytes and load seconds of one DAG, and its frozen form.

        Raises:
            FreezeError: the DAG has no frozen form, or cannot be loaded.

        """
        from dagcache.reclaim.gc_pause import gc_paused
        from dagcache.sizing.walk import weigh

        text = json.dumps(payload)
        slowness = self._probe.slowness(_SPEED_STEPS)
        started = time.thread_time()
        with gc_paused():
            parsed = json.loads(text)
            share_strings(parsed)
            try:
                dag = self._build(parsed)
            except Exception as error:
                raise FreezeError(f"cannot be loaded: {error}") from error
            share_immutables(dag)
        load = time.thread_time() - started
        frozen = self._freezer.freeze(dag)
        thawed = weigh(self._freezer.thaw(frozen.data), shared=frozenset(map(id, self._shared)))
        found = sizes.features(json.loads(text), self._dictionary)
        row = {
            "dag_id": payload["dag"]["dag_id"],
            "features": {name: getattr(found, name) for name in found.__dataclass_fields__},
            "live": thawed.nbytes,
            "frozen": len(frozen.data),
            "load": load / slowness,
        }
        return row, frozen.data

    def thaws(self, frozen: Sequence[bytes]) -> list[float]:
        """The median seconds to thaw each, as a sweep does: each once in a lap, with the DAGs of a loop held."""
        laps = [[0.0] * len(frozen) for _ in range(_LAPS)]
        for lap in laps:
            held: deque[object] = deque(maxlen=RUNS_PER_LOOP)
            for first in range(0, len(frozen), RUNS_PER_LOOP):
                slowness = self._probe.slowness(_SPEED_STEPS)
                for number, data in enumerate(frozen[first : first + RUNS_PER_LOOP], first):
                    with gc_relaxed():
                        started = time.thread_time()
                        held.append(self._freezer.thaw(data))
                        lap[number] = (time.thread_time() - started) / slowness
        return [statistics.median(times) for times in zip(*laps, strict=True)]


# ---- predictions ----


def judge(rows: Rows) -> list[tuple[str, str, int, float, float, float, float]]:
    """Print fitted constants and their errors; the errors of those that are built in, name by name and kind by kind."""
    coin = random.Random(1)
    learnt = np.array([row["kind"] != "unlike" and coin.random() < 0.5 for row in rows])
    found = []
    for name, terms in _TERMS.items():
        truth = np.array([row[name] for row in rows], float)
        table = np.array([[1.0, *(row["features"][term] for term in terms)] for row in rows])
        factors = np.linalg.lstsq(table[learnt] / truth[learnt][:, None], np.ones(learnt.sum()), rcond=None)[0]
        print(f"{name}: fitted {', '.join(f'{each:.4g}' for each in factors)} for 1, {', '.join(terms)}")
        for line in _errors(rows, ~learnt, table @ factors, truth):
            print("  ", *line)
        predicted = np.array([built_in(name, sizes.Features(**row["features"])) for row in rows])
        found += [(name, *line) for line in _errors(rows, ~learnt, predicted, truth)]
    return found


def _errors(
    rows: Rows, unseen: Any, predicted: Any, truth: Any
) -> Iterator[tuple[str, int, float, float, float, float]]:
    """Of each kind: how many, the error of the total, the median of errors, the 90th percentile, the worst."""
    for kind in _KINDS:
        chosen = np.array([row["kind"] == kind for row in rows]) & unseen
        if chosen.any():
            error = np.abs(predicted[chosen] / truth[chosen] - 1)
            total = predicted[chosen].sum() / truth[chosen].sum() - 1
            yield kind, int(chosen.sum()), total, float(np.median(error)), float(np.quantile(error, 0.9)), error.max()


def table(found: list[tuple[str, str, int, float, float, float, float]]) -> str:
    """The errors of the bytes, by what is predicted and by the kind of DAGs."""
    lines = ["| | DAGs | total | median | 90th percentile | worst |", "|---" * 6 + "|"]
    for name, kind, count, total, *errors in found:
        if name in ("live", "frozen"):
            parts = " | ".join(f"{error:.1%}" for error in errors)
            lines.append(f"| {name}, {_KINDS[kind]} | {count} | {total:+.1%} | {parts} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicted_sizes", description=__doc__)
    parser.add_argument("--versions", type=int, default=150, help="of the playground (default: 150)")
    parser.add_argument("--home", type=Path, help="an existing playground, instead of a new one")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="a file of more DAGs")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures between the marks of this page")
    parser.add_argument(_MARKER, type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.graphs_of:
        for line in graphs(chosen.graphs_of, chosen.rows):
            print(json.dumps(line))
        return
    with playground(chosen.home, chosen.versions) as home:
        more = () if chosen.rows is None else ("--rows", str(chosen.rows.resolve()))
        rows = run_json(home, {"mode": "off"}, "benchmarks.predicted_sizes", _MARKER, str(home / "airflow.db"), *more)
    found = judge(rows)
    for errors in found:
        print("built in:", *errors)
    text = table(found)
    print(text)
    if chosen.page:
        made_by = (
            f"Made by `python -m benchmarks.predicted_sizes`: apache-airflow {version('apache-airflow-core')}, CPython"
            f" {platform.python_version()}. DAGs that had no part in fitting the constants."
        )
        write_between(chosen.page, "predicted-sizes", f"{made_by}\n\n{text}")


if __name__ == "__main__":
    main()
