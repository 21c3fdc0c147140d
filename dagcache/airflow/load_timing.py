"""Times the loads and the thaws of some DAGs, in a process of its own with Airflow, for `dagcache advise`.

`main` reads serialised DAGs from the standard input, as JSON, one a line. The output is a `Timed` as JSON, or
``{"problem": TEXT}``. No database is read. The seconds are CPU seconds of this machine, Python and Airflow, without
collections. They include the disposal of the graphs that others displace.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from dagcache.airflow import graphs
from dagcache.airflow.settings import UNPROVEN_SHARE
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.config import CacheConfig
from dagcache.core.cache import DagCache
from dagcache.core.loaded import Loaded
from dagcache.traces.scheduler_loop import RUNS_PER_LOOP

_KEYS = 5 * RUNS_PER_LOOP
"""The versions of a sweep: a few DAGs are looked up under several keys."""
_MOST_BYTES = 8 * 2**20
"""Of the serialised DAGs of a sweep: a load takes some 0.2 us a byte."""
_SWEEPS = 4
_ROOM = 1.4
"""The budget of the thaws, in units of what the frozen copies take. DAGs that are held take up to a quarter of it."""
_LEAST_THAWED = 0.5
"""The least share of the lookups that thaw in sweeps that are to count."""

_Key: TypeAlias = tuple[int, int]
"""The number of a DAG, and the number of its version."""


@dataclass(frozen=True, slots=True)
class Timed:
    """The measured time."""

    dags: list[int]
    """The DAGs that were timed, by their places in the input, from 0. The others cannot be loaded or frozen."""
    load_seconds: float
    """CPU seconds of a load and a disposal of each of these DAGs, all together."""
    thaw_seconds: float
    """CPU seconds of a thaw and a disposal of each of these DAGs, all together."""
    thawed: float
    """The share of the lookups that thawed while thaws were timed. The others found a DAG live, and do not count."""


class UntimedError(Exception):
    """No DAG could be timed."""


def time_all(texts: Sequence[str]) -> Timed:
    """Load and thaw serialised DAGs. Disables this process's garbage collector.

    Raises:
        UntimedError: no DAG can be loaded and frozen; the message names the last error's type.

    """
    read = _reader()
    usable = _Usable(read, texts)
    between = _every_other(usable.dags)  # the heap of a process at work has other objects, and holes between them
    freezer, shared = graphs.freezer()
    config = CacheConfig(max_bytes=0, unproven_share=UNPROVEN_SHARE)
    with DagCache[_Key, Any](config, freezer=freezer, shared=shared) as cache:
        laps = _Laps(cache, texts, read)
        laps.sweep((number, 0) for number in usable.numbers)  # the cache learns weights and the dictionary
        numbers = [number for number in usable.numbers if cache.frozen_bytes((number, 0))]
        if not numbers:
            raise UntimedError(f"none of {len(texts)} DAGs can be loaded and frozen ({usable.error})")
        nbytes = sum(len(texts[number]) for number in numbers)
        versions = max(1, min(-(-_KEYS // len(numbers)), _MOST_BYTES // nbytes))
        keys = [(number, version) for version in range(1, versions + 1) for number in numbers]
        cache.clear()
        gc.collect()
        gc.disable()  # the collections of a scheduler depend on its other objects
        loads = laps.sweep(keys)
        held = cache.stats()
        cache.resize(round(_ROOM * (held.frozen_bytes + held.overhead_bytes)))
        laps.sweep(keys)
        before = cache.stats()
        thaws = sum(laps.sweep(keys) for _ in range(_SWEEPS))
        after = cache.stats()
    del between
    sweeps = (after.hits_frozen - before.hits_frozen) / len(keys)
    if after.misses > before.misses or sweeps < _LEAST_THAWED * _SWEEPS:
        raise UntimedError(f"the cache thawed {sweeps / _SWEEPS:.0%} of the lookups that were to be thaws")
    return Timed(numbers, loads / versions, thaws / sweeps / versions, sweeps / _SWEEPS)


class _Usable:
    """The DAGs that this Airflow can load."""

    def __init__(self, read: Callable[[str], Any], texts: Sequence[str]) -> None:
        self.numbers: list[int] = []
        self.dags: list[Any] = []
        self.error = "no frozen form"
        for number, text in enumerate(texts):
            self._try(number, read, text)

    def _try(self, number: int, read: Callable[[str], Any], text: str) -> None:
        try:
            self.dags.append(read(text))
            self.numbers.append(number)
        except Exception as error:  # of a plugin's code, or of another version's DAG
            self.error = type(error).__name__


class _Laps:
    """Lookups in sessions of a scheduler's loop, which holds its DAGs until its end."""

    def __init__(self, cache: DagCache[_Key, Any], texts: Sequence[str], read: Callable[[str], Any]) -> None:
        self._cache = cache
        self._texts = texts
        self._read = read

    def sweep(self, keys: Iterable[_Key]) -> float:
        """Look all keys up; CPU seconds."""
        started = time.process_time()
        waiting = iter(keys)
        while session := list(islice(waiting, RUNS_PER_LOOP)):
            held = [self._cache.get_or_load(key, self._load) for key in session]
            del held
        spent = time.process_time() - started
        gc.collect()  # what was not taken apart
        return spent

    def _load(self, key: _Key) -> Loaded[Any]:
        text = self._texts[key[0]]
        return Loaded(self._read(text), serialized_bytes=len(text))


def _reader() -> Callable[[str], Any]:
    """The load of a DAG as a scheduler's bag does it, without its query."""
    module: Any = importlib.import_module("airflow.serialization.serialized_objects")
    serialization = getattr(module, "DagSerialization", None) or module.SerializedDAG
    serialization._load_operator_extra_links = False  # noqa: SLF001 - as the bag's rows set it

    def read(text: str) -> Any:
        data = json.loads(text)
        share_strings(data)
        dag = serialization.from_dict(data)
        share_immutables(dag)
        return dag

    return read


def _every_other(dags: list[Any]) -> list[Any]:
    """Half of the DAGs, chosen at random; takes all from the list."""
    held = dags.copy()
    dags.clear()
    random.Random(1).shuffle(held)
    del held[::2]
    return held


def main() -> int:
    """Time the DAGs of the standard input. Only the answer goes to the standard output."""
    answers = os.fdopen(os.dup(1), "w")  # other processes do not inherit it
    os.dup2(2, 1)  # importing Airflow, and the code of plugins, may write
    with suppress(OSError):  # if memory runs out, the kernel is to end this process, and not a scheduler
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        answer = asdict(time_all(sys.stdin.read().splitlines()))
    except UntimedError as error:
        answer = {"problem": str(error)}
    except Exception as error:  # its message may quote a secret
        answer = {"problem": f"{type(error).__name__} in the process that times them with Airflow"}
    with answers:
        answers.write(json.dumps(answer))
    return 0
