"""Where measurements have their DAGs from: made-up ones, or Airflow's own serialisation of generated ones."""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim.breaker import CycleBreaker, GenericBreaker
from tests.support.graphs import SHARED, from_json, make_json

_TEXTS = 20


@dataclass(frozen=True, slots=True)
class Source:
    """DAGs that are loaded from texts, and the arguments of a cache for them."""

    load: Callable[[int], Any]
    """A new graph for a key: 20 kinds, in turn."""
    freezer: PickleFreezer
    breaker: CycleBreaker
    shared: tuple[object, ...]

    def cache_arguments(self) -> dict[str, Any]:
        """For `DagCache`."""
        return {"freezer": self.freezer, "breaker": self.breaker, "shared": self.shared}


def source(kind: str, fewest: int = 30, most: int = 120) -> Source:
    """Graphs of so many tasks, ``"made-up"`` or ``"airflow"``."""
    sizes = [fewest + (most - fewest) * number // (_TEXTS - 1) for number in range(_TEXTS)]
    if kind == "airflow":
        return _airflow(sizes)
    return _made_up(sizes)


def _made_up(sizes: list[int]) -> Source:
    texts = [json.dumps(make_json(size, seed)) for seed, size in enumerate(sizes)]
    return Source(
        load=lambda key: from_json(texts[key % _TEXTS]),
        freezer=PickleFreezer(shared=SHARED),
        breaker=GenericBreaker(SHARED),
        shared=SHARED,
    )


def _airflow(sizes: list[int]) -> Source:
    from dagcache.demo.playground import environment

    home = tempfile.mkdtemp(prefix="airflow")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ.update(environment(Path(home), examples=False, mode="off"))
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    from dagcache.airflow import graphs
    from dagcache.airflow.sharing import share_immutables, share_strings
    from dagcache.demo.synthetic import synthetic_dag

    read: Any = vars(SerializedDagModel)["dag"].fget
    texts = []
    for seed, size in enumerate(sizes):
        dag = synthetic_dag(f"generated_{seed}", size, random.Random(seed), "/dags/generated.py")
        texts.append(json.dumps(LazyDeserializedDAG.from_dag(dag).data))

    def load(key: int) -> Any:
        row = _Row(json.loads(texts[key % _TEXTS]))
        share_strings(row.data)
        dag = read(row)
        share_immutables(dag)
        return dag

    freezer, shared = graphs.freezer()
    return Source(load=load, freezer=freezer, breaker=GenericBreaker(shared), shared=tuple(shared))


class _Row:
    """The fields that Airflow's own reading of a row uses."""

    load_op_links = False

    def __init__(self, data: Any) -> None:
        self.data = data
