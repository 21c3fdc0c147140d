"""Sizes of versions from a sample of payloads; the others are scaled by the length that the database reports.

Two versions of one DAG differ little, so one payload per DAG is enough. Reading all payloads of a large database would
take hours.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from dagcache.advice.history import Progress
from dagcache.advice.sizes import Size, features, size_of
from dagcache.advice.speed import Sample, Speed
from dagcache.database.loader import SerializedDagLoader, VersionRow
from dagcache.errors import LoadError
from dagcache.freezing.zdict import Dictionary

_Predict: TypeAlias = Callable[[dict[str, Any], Dictionary], Size]

_CHUNK = 250
_MOST_LENGTHS = 4_000
_MOST_PAYLOADS = 300
_BIGGEST = 50
_MOST_TIMED = 40
_MOST_TIMED_BYTES = 8 * 2**20
"""Of the serialised DAGs that are timed, all together."""
_MOST_BYTES_OF_ONE = 2**19
"""Of one of them: some 300 tasks."""


@dataclass(slots=True)
class Sampled:
    """The predicted sizes of the requested versions."""

    sizes: dict[UUID, Size] = field(default_factory=dict)
    read: int = 0
    """The number of payloads that were read."""
    damaged: int = 0
    """The number of payloads that could not be read."""
    measured: int = 0
    """The number of versions with a length from the database."""
    payload_bytes: dict[UUID, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    """DAGs that stand for all when loads and thaws are timed."""

    def at_speed(self, speed: Speed) -> None:
        """Scale all seconds."""
        self.sizes = {version: size.at_speed(speed.loads, speed.thaws) for version, size in self.sizes.items()}


def sample_sizes(
    loader: SerializedDagLoader,
    dags: dict[UUID, str],
    *,
    first: Collection[UUID],
    progress: Progress,
    airflow: str = "",
) -> Sampled:
    """Predict the sizes of versions. ``dags`` has the DAG of each version; the versions of ``first`` are read first.

    ``airflow``: as for `dagcache.advice.sizes.features`.

    Raises:
        LoadError: the database cannot be read, or none of the payloads.

    """
    found = Sampled()
    rows = _lengths(loader, _spread(dags, first, _MOST_LENGTHS), progress)
    found.measured = len(rows)
    found.payload_bytes = {row.id: row.payload_bytes for row in rows.values()}
    chosen = _choose(rows)
    samples = _Samples([row for row in chosen if row.id in first] or chosen, found.samples)
    known = _read(loader, chosen, partial(_predict, airflow), found, samples, progress)
    if not known:
        raise LoadError(
            f"{loader.database.name}: expected serialised DAGs; none of the {found.damaged} that were read is one"
        )
    _extend(found, dags, rows, known)
    return found


def _spread(dags: dict[UUID, str], first: Collection[UUID], most: int) -> list[UUID]:
    """A number of versions: one of each DAG, then those of ``first``, then others in a fixed random order."""
    one_each = {dag_id: version for version, dag_id in dags.items()}
    order = [version for version in dags if version not in first]
    random.Random(0).shuffle(order)
    chosen = dict.fromkeys([*one_each.values(), *(version for version in first if version in dags), *order])
    return list(chosen)[:most]


def _lengths(loader: SerializedDagLoader, versions: list[UUID], progress: Progress) -> dict[UUID, VersionRow]:
    rows: dict[UUID, VersionRow] = {}
    for start in range(0, len(versions), _CHUNK):
        progress("lengths", start, len(versions))
        with loader.database.load_errors():
            rows.update(loader.sizes(versions[start : start + _CHUNK]))
    return rows


def _choose(rows: dict[UUID, VersionRow]) -> list[VersionRow]:
    """The longest payloads, where an error has the largest effect, and one payload of as many DAGs as possible."""
    longest = sorted(rows.values(), key=lambda row: row.payload_bytes, reverse=True)[:_BIGGEST]
    by_dag = {row.dag_id: row for row in rows.values()}
    others = list(by_dag.values())
    random.Random(0).shuffle(others)
    chosen = {row.id: row for row in [*longest, *others]}
    return list(chosen.values())[:_MOST_PAYLOADS]


def _read(
    loader: SerializedDagLoader,
    rows: list[VersionRow],
    predict: _Predict,
    found: Sampled,
    samples: _Samples,
    progress: Progress,
) -> dict[UUID, Size]:
    known: dict[UUID, Size] = {}
    dictionary = Dictionary()
    early = []  # measured without a dictionary: a cache has one for all but its first values
    for done, row in enumerate(rows):
        progress("payloads", done, len(rows))
        if not dictionary.words:
            early.append(row)
        try:
            _measure(loader, row, predict, dictionary, known, samples)
        except (LoadError, ValueError):
            found.damaged += 1
        found.read += 1
    for row in early if dictionary.words else ():
        with suppress(LoadError, ValueError):  # counted already
            _measure(loader, row, predict, dictionary, known, samples)
    return known


def _predict(airflow: str, payload: dict[str, Any], dictionary: Dictionary) -> Size:
    return size_of(features(payload, dictionary, airflow=airflow))


def _measure(
    loader: SerializedDagLoader,
    row: VersionRow,
    predict: _Predict,
    dictionary: Dictionary,
    known: dict[UUID, Size],
    samples: _Samples,
) -> None:
    with loader.database.load_errors():
        payload = loader.load(row.id)
    if payload is None:
        return
    size = known[row.id] = predict(payload, dictionary)
    samples.offer(row, payload, size)


class _Samples:
    """Takes DAGs that are to be timed into a list, as they are read: some of all, at random, and no large ones."""

    def __init__(self, rows: list[VersionRow], found: list[Sample]) -> None:
        chosen = [row for row in rows if row.payload_bytes <= _MOST_BYTES_OF_ONE]  # compressed ones may be longer
        chosen.sort(key=lambda row: row.payload_bytes)
        del chosen[max(_MOST_TIMED, len(rows) - _BIGGEST) :]  # the longest were read because they are the longest
        random.Random(0).shuffle(chosen)
        self._wanted = {row.id for row in chosen[:_MOST_TIMED]}
        self._left = _MOST_TIMED_BYTES
        self._found = found

    def offer(self, row: VersionRow, payload: dict[str, Any], size: Size) -> None:
        """Take a DAG if it was chosen and there is room for it."""
        if row.id not in self._wanted:
            return
        self._wanted.remove(row.id)
        text = json.dumps(payload)
        if len(text) <= min(self._left, _MOST_BYTES_OF_ONE):
            self._left -= len(text)
            self._found.append(Sample(text, size))


def _extend(found: Sampled, dags: dict[UUID, str], rows: dict[UUID, VersionRow], known: dict[UUID, Size]) -> None:
    """Extend the sizes to all versions: by length within the DAG, else by length, else as other versions of the DAG."""
    of_dag = {rows[version].dag_id: version for version in known}
    typical = _Typical([(rows[version], size) for version, size in known.items()])
    per_dag: dict[str, Size] = {}
    for version, row in rows.items():
        like = of_dag.get(row.dag_id)
        if version in known:
            size = known[version]
        elif like is not None and rows[like].compressed == row.compressed and rows[like].payload_bytes:
            size = known[like].scaled(row.payload_bytes / rows[like].payload_bytes)
        else:
            size = typical.of(row)
        found.sizes[version] = per_dag[row.dag_id] = size
    for version, dag_id in dags.items():
        if version not in found.sizes:
            found.sizes[version] = per_dag.get(dag_id) or typical.mean


class _Typical:
    """The average size for a payload length."""

    def __init__(self, known: Iterable[tuple[VersionRow, Size]]) -> None:
        known = list(known)
        self.mean = _mean([size for _, size in known])
        self._by_kind: dict[bool, tuple[float, Size]] = {}
        for compressed in (False, True):
            chosen = [(row, size) for row, size in known if row.compressed == compressed and row.payload_bytes]
            if chosen:
                length = sum(row.payload_bytes for row, _ in chosen) / len(chosen)
                self._by_kind[compressed] = length, _mean([size for _, size in chosen])

    def of(self, row: VersionRow) -> Size:
        """The size by length, if the length is known and such lengths predict sizes."""
        if row.compressed not in self._by_kind or not row.payload_bytes:
            return self.mean
        length, size = self._by_kind[row.compressed]
        return size.scaled(row.payload_bytes / length)


def _mean(sizes: list[Size]) -> Size:
    count = len(sizes)
    return Size(
        sum(size.live_bytes for size in sizes) // count,
        sum(size.frozen_bytes for size in sizes) // count,
        sum(size.tasks for size in sizes) // count,
        sum(size.load_seconds for size in sizes) / count,
        sum(size.thaw_seconds for size in sizes) / count,
    )
