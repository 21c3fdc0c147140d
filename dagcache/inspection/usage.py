"""The usage report: the DAGs of a cache with their bytes and costs, and its largest entries."""

from __future__ import annotations

import heapq
import os
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from dagcache.core.cache import DagCache
from dagcache.stats import EntryInfo, FamilyCost

ORDERS = ("bytes", "loads", "load_seconds", "thaws", "thaw_seconds", "versions", "newer_versions")
"""The figures by which DAGs can be sorted, the largest first."""


def usage(cache: DagCache[Any, Any], top: int = 20, by: str = "bytes") -> dict[str, Any]:
    """The resident entries as JSON values: totals, and the ``top`` first DAGs by one of `ORDERS`, and largest entries.

    Bytes are those of the copies, live and frozen. A DAG is the family that ``version_of`` gives for a key. Its loads
    and thaws are those since the cache was created, also of versions that left. Takes no lock for long; a call takes
    some milliseconds per thousand entries.
    """
    entries = cache.entries()
    return {
        "component": cache.config.name,
        "pid": os.getpid(),
        "max_bytes": cache.max_bytes,
        "versions": len(entries),
        "bytes": sum(map(_weight, entries)),
        "by": by,
        "dags": heapq.nlargest(top, _by_dag(entries, cache.family_costs()), key=lambda dag: (dag[by], dag["bytes"])),
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


def _by_dag(entries: Iterable[EntryInfo[Any]], costs: Mapping[Hashable, FamilyCost]) -> Iterable[dict[str, Any]]:
    dags: dict[Hashable | None, dict[str, Any]] = {}
    for entry in entries:
        dag = dags.setdefault(entry.family, _new(entry.family))
        dag["versions"] += 1
        dag["live"] += entry.tier == "live"
        dag["bytes"] += _weight(entry)
        dag["hits"] += entry.hits
        idle = dag["idle_seconds"]
        dag["idle_seconds"] = round(entry.idle_seconds if idle is None else min(idle, entry.idle_seconds), 1)
    for family, cost in costs.items():
        dags.setdefault(family, _new(family)).update(asdict(cost))
    return dags.values()


def _new(family: Hashable | None) -> dict[str, Any]:
    name = None if family is None else str(family)
    held = {"dag_id": name, "versions": 0, "live": 0, "bytes": 0, "hits": 0, "idle_seconds": None}
    return held | asdict(FamilyCost(0, 0.0, 0, 0.0, 0))
