"""Times the loads and the thaws of some DAGs, in a process of its own with Airflow, for `dagcache advise`.

`main` reads serialised DAGs from the standard input, as JSON, one a line. The output is a `Timed` as JSON, or
``{"problem": TEXT}``. No database is read. The seconds are CPU seconds of this machine, Python and Airflow, without
collections. Those of a thaw include the disposal of a graph, as each thaw displaces one.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
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
_SWEEPS = 6
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
    """CPU seconds of a load of each of these DAGs, with freezing and weighing, all together: the median of the laps."""
    thaw_seconds: float
    """CPU seconds of a thaw and a disposal of each of these DAGs, all together: the median of the laps."""
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
        lookups = _Lookups(cache, texts, read)
        lookups.sweep(_laps(usable.numbers, 1))  # the cache learns weights and the dictionary
        numbers = [number for number in usable.numbers if cache.frozen_bytes((number, 1))]
        if not numbers:
            raise UntimedError(f"none of {len(texts)} DAGs can be loaded and frozen ({usable.error})")
        cache.clear()
        gc.collect()
        gc.disable()  # the collections of a scheduler depend on its other objects
        nbytes = sum(len(texts[number]) for number in numbers)
        timed = _timed(cache, lookups, numbers, max(1, min(-(-_KEYS // len(numbers)), round(_MOST_BYTES / nbytes))))
    del between
    return timed


def _timed(cache: DagCache[_Key, Any], lookups: _Lookups, numbers: list[int], versions: int) -> Timed:
    laps = _laps(numbers, versions)
    loads = lookups.sweep(laps)
    held = cache.stats()
    cache.resize(round(_ROOM * (held.frozen_bytes + held.overhead_bytes)))
    lookups.sweep(laps)
    before = cache.stats()
    thaws = [seconds for _ in range(_SWEEPS) for seconds in lookups.sweep(laps)]
    after = cache.stats()
    thawed = (after.hits_frozen - before.hits_frozen) / (_SWEEPS * len(laps) * len(laps[0]))
    if after.misses > before.misses or thawed < _LEAST_THAWED:
        loaded = after.misses - before.misses
        raise UntimedError(f"of the lookups that were to be thaws, {thawed:.0%} were, and {loaded} were loads")
    of_each = len(laps[0]) / len(numbers)
    return Timed(numbers, median(loads) / of_each, median(thaws) / of_each / thawed, thawed)


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


def _laps(numbers: Sequence[int], versions: int) -> list[list[_Key]]:
    """Keys of these DAGs and versions, from 1. Each lap has the same DAGs, and enough versions for a session."""
    each = min(versions, -(-RUNS_PER_LOOP // max(1, len(numbers))))
    starts = range(1, versions - each + 2, each)
    return [[(number, version) for version in range(start, start + each) for number in numbers] for start in starts]


class _Lookups:
    """Lookups in sessions of a scheduler's loop, which holds its DAGs until its end."""

    def __init__(self, cache: DagCache[_Key, Any], texts: Sequence[str], read: Callable[[str], Any]) -> None:
        self._cache = cache
        self._texts = texts
        self._read = read

    def sweep(self, laps: Sequence[Sequence[_Key]]) -> list[float]:
        """Look all keys up. CPU seconds of each lap."""
        spent = [self._lap(lap) for lap in laps]
        gc.collect()  # what was not taken apart
        return spent

    def _lap(self, keys: Sequence[_Key]) -> float:
        started = time.process_time()
        for first in range(0, len(keys), RUNS_PER_LOOP):
            session = keys[first : first + RUNS_PER_LOOP]
            held = [self._cache.get_or_load(key, self._load) for key in session]
            del held
            for _ in session:  # a call frees one at least
                self._cache.free_dropped()
        return time.process_time() - started

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
