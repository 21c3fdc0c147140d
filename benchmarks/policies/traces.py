"""Traces of lookups, and how they are built and merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KB = 1024
SMALLEST, LARGEST = 20 * KB, 100 * 1024 * KB


@dataclass(frozen=True)
class Trace:
    """Lookups in order of time.

    `keys` are dense ids of DAG versions, ascending with age within a family (`families`: the DAG of
    each lookup); `sizes` are bytes of the live graph, `costs` the seconds that a load at this lookup
    would take; `working_set` is the reference for budgets, in bytes.
    """

    name: str
    times: Floats
    keys: Ints
    families: Ints
    sizes: Ints
    costs: Floats
    working_set: float

    def __len__(self) -> int:
        return len(self.keys)

    def requests(self) -> Iterator[tuple[int, int, float, float]]:
        """Iterate over key, bytes, cost in seconds and time of each lookup, the arguments of `Cache.request`."""
        columns = (self.keys, self.sizes, self.costs, self.times)
        return zip(*(column.tolist() for column in columns), strict=True)


def graph_sizes(rng: np.random.Generator, count: int, median: float = 600 * KB, sigma: float = 1.5) -> Ints:
    """Bytes of deserialised DAGs: lognormal, clipped to 20 KB - 100 MB."""
    return np.clip(rng.lognormal(np.log(median), sigma, count), SMALLEST, LARGEST).astype(np.int64)


def next_version_size(rng: np.random.Generator, size: int) -> int:
    """A new version differs a little from the one before."""
    return int(np.clip(size * rng.lognormal(0, 0.08), SMALLEST, LARGEST))


def build(
    name: str,
    times: npt.ArrayLike,
    keys: npt.ArrayLike,
    *,
    family_of: npt.ArrayLike,
    size_of: npt.ArrayLike,
    working_set: float,
    rng: np.random.Generator,
    unit: bool = False,
) -> Trace:
    """Sort lookups by time, renumber the keys densely and draw the cost of a load at each.

    Serialised JSON is an eighth of the graph; a load takes 2 ms + 0.1 ms per KB of it, times a noise
    of 20 %. With `unit` every size and cost is 1.
    """
    moments = np.asarray(times, np.float64)
    order = np.argsort(moments, kind="stable")
    seen, dense = np.unique(np.asarray(keys, np.int64)[order], return_inverse=True)
    sizes = np.asarray(size_of, np.int64)[seen][dense]
    load_seconds = 0.002 + 0.0001 * sizes / KB / 8
    costs = np.ones(len(sizes)) if unit else load_seconds * rng.lognormal(0, 0.2, len(sizes))
    families = np.asarray(family_of, np.int64)[seen][dense]
    return Trace(name, moments[order], dense.astype(np.int64), families, sizes, costs, float(working_set))


def merge(name: str, traces: Sequence[Trace]) -> Trace:
    """Interleave independent traces in one process; their keys stay distinct."""
    times = np.concatenate([trace.times for trace in traces])
    order = np.argsort(times, kind="stable")
    keys = np.concatenate(_shifted([trace.keys for trace in traces]))
    families = np.concatenate(_shifted([trace.families for trace in traces]))
    sizes = np.concatenate([trace.sizes for trace in traces])
    costs = np.concatenate([trace.costs for trace in traces])
    working_set = sum(trace.working_set for trace in traces)
    return Trace(name, times[order], keys[order], families[order], sizes[order], costs[order], working_set)


def _shifted(columns: Sequence[Ints]) -> list[Ints]:
    shifted, offset = [], 0
    for column in columns:
        shifted.append(column + offset)
        offset += int(column.max()) + 1
    return shifted
