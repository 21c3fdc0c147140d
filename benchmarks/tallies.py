"""The tallies of a measured process: SQL statements, collections, the cache's own work, and the CPU seconds of these.

The process counts into a file that is mapped into its memory, and the benchmark reads that file. The counting is
installed by an `airflow_local_settings.py` in the throw-away home, so it is the same with any cache or none:
``install`` runs in the process that is measured, all else in the benchmark.
"""

from __future__ import annotations

import functools
import gc
import importlib
import mmap
import os
import struct
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

VARIABLE = "DAGCACHE_BENCHMARK_TALLIES"
"""The environment's variable that holds the file's path."""


@dataclass(frozen=True)
class Tallies:
    """Counts since the process began."""

    statements: float = 0.0
    young: float = 0.0
    """Collections of generation 0; the next two: of 1, and full ones."""
    middle: float = 0.0
    full: float = 0.0
    young_seconds: float = 0.0
    middle_seconds: float = 0.0
    full_seconds: float = 0.0
    collected: float = 0.0
    """Objects that the collector freed."""
    thawing_seconds: float = 0.0
    """In the cache's own work, without Airflow's part of a load. The next two as well."""
    disposing_seconds: float = 0.0
    preparing_seconds: float = 0.0
    """Freezing and weighing."""
    found_by_collector: float = 0.0
    """Values that left the cache, waited for their holders, and were freed by a collection."""

    @property
    def own_seconds(self) -> float:
        """The cache's own work."""
        return self.thawing_seconds + self.disposing_seconds + self.preparing_seconds

    def since(self, earlier: Tallies) -> Tallies:
        """The difference of the counts."""
        return Tallies(*(mine - its for mine, its in zip(astuple(self), astuple(earlier), strict=True)))


_FORM = f"{len(fields(Tallies))}d"
_PLACES = {field.name: place for place, field in enumerate(fields(Tallies))}
_STATEMENTS, _COLLECTED, _FOUND = (_PLACES[name] for name in ("statements", "collected", "found_by_collector"))
_COLLECTIONS, _SECONDS = _PLACES["young"], _PLACES["young_seconds"]
"""The first of three each, by generation."""
_OWN_WORK = (
    ("thawing_seconds", "dagcache.freezing.pickle_freezer", "PickleFreezer", "thaw"),
    ("disposing_seconds", "dagcache.core.disposal", "Disposer", "dispose"),
    ("preparing_seconds", "dagcache.freezing.pickle_freezer", "PickleFreezer", "freeze"),
    ("preparing_seconds", "dagcache.sizing.estimate", "LearnedSizer", "size"),
    ("preparing_seconds", "dagcache.core.reweighing", "Reweighing", "look_at"),
)
"""The methods that are timed. None of them calls another one."""


def new_file(path: Path) -> None:
    """Make a file of zeros for a process to count into."""
    path.write_bytes(bytes(struct.calcsize(_FORM)))


def read(path: Path) -> Tallies:
    """The counts so far."""
    return Tallies(*struct.unpack(_FORM, path.read_bytes()))


def mapped(path: str) -> memoryview[float]:
    """The numbers of a file, in memory: what is written to one is in the other."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("d")


def install() -> None:
    """Count in this process, if the environment names a file."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    counted = mapped(path)
    began, died_before = 0.0, 0
    rooms: list[Any] = []

    def died() -> int:
        return sum(room.died for room in rooms)

    def collected(phase: str, info: dict[str, int]) -> None:
        nonlocal began, died_before
        if phase == "start":
            began, died_before = time.thread_time(), died()
        else:
            counted[_FOUND] += died() - died_before
            counted[_COLLECTIONS + info["generation"]] += 1
            counted[_SECONDS + info["generation"]] += time.thread_time() - began
            counted[_COLLECTED] += info["collected"]

    def executed(*_: Any) -> None:
        counted[_STATEMENTS] += 1

    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    gc.callbacks.append(collected)
    event.listen(Engine, "before_cursor_execute", executed)
    if os.environ.get("AIRFLOW__DAGCACHE__MODE") != "off":  # a process without the cache does not import it
        time_own_work(counted)
        note_instances(importlib.import_module("dagcache.reclaim.waiting_room").WaitingRoom, rooms)


def time_own_work(counted: memoryview[float] | list[float]) -> None:
    """Add the CPU seconds of the cache's own work to the places of their tallies, from now on."""
    for tally, module, kind, method in _OWN_WORK:
        time_calls(counted, _PLACES[tally], getattr(importlib.import_module(module), kind), method)


def note_instances(kind: Any, made: list[Any]) -> None:
    """Add each new instance of a class to a list, from now on."""
    initialise = kind.__init__

    @functools.wraps(initialise)
    def noted(instance: Any, *arguments: Any, **named: Any) -> None:
        initialise(instance, *arguments, **named)
        made.append(instance)

    kind.__init__ = noted


def time_calls(counted: memoryview[float] | list[float], place: int, kind: Any, method: str) -> None:
    """Add the CPU seconds of each call of a class's method to a number, from now on."""
    timed = getattr(kind, method)

    @functools.wraps(timed)
    def with_time(*arguments: Any, **named: Any) -> Any:
        start = time.thread_time()
        try:
            return timed(*arguments, **named)
        finally:
            counted[place] += time.thread_time() - start

    setattr(kind, method, with_time)
