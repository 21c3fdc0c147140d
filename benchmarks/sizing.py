"""Accuracy and cost of weighing: ``python -m benchmarks.sizing [--json FILE]``.

The true weight is the growth of the bytes from CPython's and the C library's allocators, while further copies of
the same graph are built and held. Costs are ratios of sums within one run. Needs glibc.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.sizing.allocators import bytes_per_copy
from dagcache.sizing.audit import audit
from dagcache.sizing.estimate import LearnedSizer
from dagcache.sizing.walk import Weight, weigh
from tests.support.graphs import SHARED, as_json, from_json, make_dag

_COPIES = 3
_TRAINING = 30
_ROUNDS = 4
_SHARED_IDS = frozenset(map(id, SHARED))


@dataclass
class Method:
    """One way of weighing: its result, the true weight, and its seconds."""

    name: str
    said: list[float] = field(default_factory=list)
    true: list[float] = field(default_factory=list)
    seconds: float = 0.0
    loading: float = 0.0
    freezing: float = 0.0

    def add(self, said: float, seconds: float, true: float, load: float, freeze: float) -> None:
        """Record one graph."""
        self.said.append(said)
        self.true.append(true)
        self.seconds += seconds
        self.loading += load
        self.freezing += freeze

    def summary(self) -> dict[str, Any]:
        """Errors and costs as ratios."""
        errors = sorted(abs(said / true - 1) for said, true in zip(self.said, self.true, strict=True))
        return {
            "method": self.name,
            "graphs": len(errors),
            "total_error": sum(self.said) / sum(self.true) - 1,
            "median_error": statistics.median(errors),
            "p90_error": errors[int(0.9 * len(errors))],
            "max_error": errors[-1],
            "cost_of_load": self.seconds / self.loading,
            "cost_of_freeze": self.seconds / self.freezing,
        }


@contextmanager
def _timed() -> Iterator[list[float]]:
    spent = [0.0]
    start = time.perf_counter()
    yield spent
    spent[0] = time.perf_counter() - start


@dataclass(frozen=True)
class Sample:
    """One graph: how to make it, its weight, and the seconds to make and to freeze it."""

    text: str
    features: tuple[float, ...]
    true: float
    load: float
    freeze: float


def run(graphs: int) -> dict[str, Any]:
    """Weigh so many graphs of 2 to some hundred tasks in every way."""
    walk, thawed, pympler = Method("walk"), Method("walk, of thawed copies"), Method("pympler")
    freezer = PickleFreezer(shared=SHARED)
    rng = random.Random(7)
    samples = []
    tasks = 0
    for number in range(graphs):
        size = 2 + int(rng.lognormvariate(3, 1))
        tasks += size
        text = as_json(make_dag(size, number, groups=rng.randrange(1, 2 + size // 5)))
        truth = bytes_per_copy(partial(from_json, text), _COPIES)
        with _timed() as load:
            graph = from_json(text)
        with _timed() as freeze:
            frozen = freezer.freeze(graph)
        times = (load[0], freeze[0])
        samples.append(Sample(text, (*frozen.features, float(len(text))), truth, *times))
        walk.add(*_timed_walk(graph), truth, *times)
        thaw = partial(freezer.thaw, frozen.data)
        thawed.add(*_timed_walk(thaw()), bytes_per_copy(thaw, _COPIES), *times)
        copy = from_json(text)
        with _timed() as spent:
            result = audit(copy, shared=SHARED)
        assert result.pympler_bytes is not None, result.pympler_error
        pympler.add(result.pympler_bytes, spent[0], truth, *times)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {graphs} graphs", end="", file=sys.stderr)
    methods = [walk, thawed, *_learned(samples), pympler]
    return {
        "python": platform.python_version(),
        "graphs": graphs,
        "bytes_per_task": sum(walk.true) / tasks,
        "methods": [each.summary() for each in methods],
    }


def _learned(samples: list[Sample]) -> Iterator[Method]:
    """Each set of features in a separate sizer, over several rounds, without the walks of training."""
    for name, count in (("learned: pickle", 2), ("learned: pickle + JSON length", 3)):
        method = Method(name)
        sizer = LearnedSizer(walk=_walk)
        for number, sample in enumerate(samples * _ROUNDS):
            graph = from_json(sample.text)
            sized = sizer.size(graph, sample.features[:count], load_seconds=sample.load)
            if number >= _TRAINING:
                method.add(sized.nbytes, sized.seconds, sample.true, sample.load, sample.freeze)
        yield method


def _timed_walk(graph: object) -> tuple[int, float]:
    with _timed() as spent:
        weight = _walk(graph)
    return weight.nbytes, spent[0]


def _walk(graph: object) -> Weight:
    return weigh(graph, shared=_SHARED_IDS)


def main() -> None:
    """Print the table; write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--graphs", type=int, default=240)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = run(max(options.graphs, _TRAINING + 1))
    print(f"\nPython {results['python']}: {results['graphs']} graphs, {results['bytes_per_task']:.0f} B a task")
    print(f"{'':30} {'total':>7} {'median':>7} {'p90':>7} {'max':>7} {'of load':>8} {'of freeze':>9}")
    for row in results["methods"]:
        errors = [f"{row[name]:7.2%}" for name in ("median_error", "p90_error", "max_error")]
        costs = f"{row['cost_of_load']:8.1%} {row['cost_of_freeze']:9.1%}"
        print(f"{row['method']:30} {row['total_error']:+7.2%}", *errors, costs)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
