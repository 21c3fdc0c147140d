"""The sizes that `dagcache advise` predicts, against Airflow's own graphs: each DAG's live and frozen bytes.

``python -m benchmarks.predicted_sizes [--versions 150] [--home DIR] [--rows FILE] [--page FILE]`` weighs one version of
each DAG of a playground and of Airflow's examples, DAGs of the sizes that people have (`benchmarks.typical`) and of
extreme shapes (`benchmarks.unlike`). Constants are fitted to one half of the DAGs, without the extreme ones, and judged
on the others, beside the constants that `dagcache.advice.sizes` has. ``--rows`` adds a file of serialised DAGs: gzipped
JSON lines with ``data``. The adviser's constants of time come from `benchmarks.advice`.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import platform
import random
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scheduler import playground, run_json, write_between
from benchmarks.typical import payloads, task_counts
from benchmarks.unlike import unlike_dags
from dagcache.advice import sizes
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.database.loader import SerializedDagLoader
from dagcache.errors import FreezeError

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
}
"""The quantity to predict, and the features, beside a constant, of its fit."""
_UNLIKE, _TYPICAL, _LARGEST = 60, 150, 1_800
_TEACHING = 80
"""DAGs that both dictionaries of the compressor learn from beforehand."""


def built_in(name: str, found: sizes.Features) -> float:
    """The prediction of the adviser, bytes."""
    return float(getattr(sizes.size_of(found), f"{name}_bytes"))


# ---- graphs, in a scheduler's process ----


def graphs(database: Path, rows: Path | None) -> Rows:
    """Weights and costs of DAGs in a process of the scheduler's modules."""
    weigher = _Weigher()
    found = list(_payloads(database, rows))
    for _, payload in random.Random(1).sample(found, min(len(found), _TEACHING)):
        with suppress(FreezeError):
            weigher.weigh(payload)
    weighed: Rows = []
    for kind, payload in found:
        with suppress(FreezeError):  # such are kept live only
            weighed.append({"kind": kind, **weigher.weigh(payload)})
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

    def __init__(self) -> None:
        from dagcache.airflow import graphs as airflow_graphs
        from dagcache.freezing.zdict import Dictionary

        importlib.import_module("airflow.jobs.scheduler_job_runner")
        module: Any = importlib.import_module("airflow.serialization.serialized_objects")
        self._build: Any = module.DagSerialization.from_dict
        self._freezer, self._shared = airflow_graphs.freezer()
        self._dictionary = Dictionary()

    def weigh(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Features and bytes of one DAG.

        Raises:
            FreezeError: the DAG has no frozen form, or cannot be loaded.

        """
        from dagcache.reclaim.gc_pause import gc_paused
        from dagcache.sizing.walk import weigh

        text = json.dumps(payload)
        with gc_paused():
            parsed = json.loads(text)
            share_strings(parsed)
            try:
                dag = self._build(parsed)
            except Exception as error:
                raise FreezeError(f"cannot be loaded: {error}") from error
            share_immutables(dag)
        frozen = self._freezer.freeze(dag)
        thawed = weigh(self._freezer.thaw(frozen.data), shared=frozenset(map(id, self._shared)))
        found = sizes.features(json.loads(text), self._dictionary)
        return {
            "dag_id": payload["dag"]["dag_id"],
            "features": {name: getattr(found, name) for name in found.__dataclass_fields__},
            "live": thawed.nbytes,
            "frozen": len(frozen.data),
        }


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
