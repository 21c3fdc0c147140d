"""Ten times as many DAGs as fit, in a process to which the kernel gives no more than its base and two budgets.

``python -m tools.scorecard.measures.overload KIND SOURCE BUDGET_MIB``. The kind is ``ours``, ``ours-without-gc`` (the
automatic collector off), ``unbroken`` (the same without taking victims apart) or ``by-count`` (the newest 512, as
Airflow's scheduler keeps). The limit is RLIMIT_DATA: of private writable memory, resident or not.
"""

from __future__ import annotations

import gc
import json
import logging
import re
import resource
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagcache import DagCache
from dagcache.sizing.memory import give_back, resident_bytes
from dagcache.sizing.walk import weigh
from tools.scorecard.measures.graphs import Source, source
from tools.scorecard.processes import MeasureError, measure

MIB = 2**20
OVERLOAD = 10
SWEEPS = 2
_COUNT = 512  # [scheduler] of Airflow 3.3: SCHEDULER_DAG_CACHE_SIZE


def overload(kind: str, graphs: Source, budget: int) -> dict[str, Any]:
    """Sweep, and report whether this process survived and how large it became."""
    weights = [weigh(graphs.load(key), shared=frozenset(map(id, graphs.shared))).nbytes for key in range(20)]
    keys = OVERLOAD * budget * len(weights) // sum(weights)
    look_up = _lookup(kind, graphs, budget)
    look_up(0)
    gc.collect()
    give_back()
    if kind in ("ours-without-gc", "unbroken"):
        gc.disable()
    base, data = resident_bytes(), status("VmData")
    reset_peak()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (data + 2 * budget, hard))
    done = 0
    survived = True
    try:
        for turn in range(SWEEPS * keys):
            look_up(turn % keys)
            done += 1
    except Exception as error:
        if not _is_for_want_of_memory(error):
            raise
        survived = False
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    return {"survived": survived, "lookups": done, "keys": keys, "base": base, "peak": status("VmHWM") - base}


def _is_for_want_of_memory(error: BaseException | None) -> bool:
    """Also as the interpreter says so sometimes, and as Airflow's loading wraps it."""
    if error is None:
        return False
    return isinstance(error, (MemoryError, SystemError)) or _is_for_want_of_memory(error.__cause__ or error.__context__)


def _lookup(kind: str, graphs: Source, budget: int) -> Callable[[int], object]:
    if kind == "by-count":
        return _newest(graphs)
    arguments = graphs.cache_arguments()
    if kind == "unbroken":
        arguments["breaker"] = None
    cache: DagCache[int, Any] = DagCache(max_bytes=budget, **arguments)
    return lambda key: cache.get_or_load(key, graphs.load)


def _newest(graphs: Source) -> Callable[[int], object]:
    kept: OrderedDict[int, Any] = OrderedDict()

    def look_up(key: int) -> object:
        if key not in kept:
            kept[key] = graphs.load(key)
            if len(kept) > _COUNT:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return kept[key]

    return look_up


def status(field: str) -> int:
    """A size from the kernel's account of this process, bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def reset_peak() -> None:
    """Let the peak of the resident memory count from now."""
    Path("/proc/self/clear_refs").write_text("5")


def in_a_process(kind: str, where_from: str, mebibytes: int) -> dict[str, Any]:
    """The report of `overload` from a separate process; a process that died did not survive."""
    try:
        return measure("overload", kind, where_from, mebibytes)
    except MeasureError as error:
        return {"survived": False, "lookups": 0, "keys": 0, "base": 0, "peak": 0, "died": str(error)}


def main(kind: str, where_from: str, mebibytes: int) -> None:
    """Print one JSON object."""
    logging.getLogger("dagcache").setLevel(logging.CRITICAL)  # without memory each step has a line
    print(json.dumps(overload(kind, source(where_from, 3 * mebibytes // 2, 6 * mebibytes), mebibytes * MIB)))  # noqa: T201 - it is a command


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
