"""The usage report: the DAGs and the entries of a cache that take the most bytes."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable
from typing import Any

from dagcache.core.cache import DagCache
from dagcache.stats import EntryInfo


def usage(cache: DagCache[Any, Any], top: int = 20) -> dict[str, Any]:
    """The resident entries as JSON values: totals, and the ``top`` largest DAGs and entries, largest first.

    Bytes are those of the copies, live and frozen. A DAG is the family that ``version_of`` gives for a key. Takes no
    lock; a call takes some milliseconds per thousand entries.
    """
    entries = cache.entries()
    return {
        "component": cache.config.name,
        "pid": os.getpid(),
        "max_bytes": cache.max_bytes,
        "versions": len(entries),
        "bytes": sum(map(_weight, entries)),
        "dags": heapq.nlargest(top, _by_dag(entries), key=lambda dag: dag["bytes"]),
        "entries": [_described(entry) for entry in heapq.nlargest(top, entries, key=_weight)],
    }


def _weight(entry: EntryInfo[Any]) -> int:
    return entry.live_bytes + entry.frozen_bytes


def _described(entry: EntryInfo[Any]) -> dict[str, Any]:
    return {
        "key": str(entry.key),
        "dag_id": None if entry.family is None else str(entry.family),
        "version": None if entry.family is None else entry.order,
        "tier": entry.tier,
        "bytes": _weight(entry),
        "live_bytes": entry.live_bytes,
        "frozen_bytes": entry.frozen_bytes,
        "serialized_bytes": entry.serialized_bytes,
        "idle_seconds": round(entry.idle_seconds, 1),
        "hits": entry.hits,
        "load_seconds": entry.load_seconds,
    }


def _by_dag(entries: Iterable[EntryInfo[Any]]) -> Iterable[dict[str, Any]]:
    dags: dict[str | None, dict[str, Any]] = {}
    for entry in entries:
        name = None if entry.family is None else str(entry.family)
        if name not in dags:
            new = {"dag_id": name, "versions": 0, "live": 0, "bytes": 0, "hits": 0, "idle_seconds": entry.idle_seconds}
            dags[name] = new
        dag = dags[name]
        dag["versions"] += 1
        dag["live"] += entry.tier == "live"
        dag["bytes"] += _weight(entry)
        dag["hits"] += entry.hits
        dag["idle_seconds"] = round(min(dag["idle_seconds"], entry.idle_seconds), 1)
    return dags.values()
