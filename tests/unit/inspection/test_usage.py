"""The usage report: the order of entries and DAGs, and the fields of each."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from dagcache import DagCache, Loaded
from dagcache.inspection.usage import ORDERS, usage
from tests.support.caches import KIB, Weighted, make_cache


def test_the_biggest_entries_come_first_with_their_dag_and_version(cache: DagCache[Any, Any]) -> None:
    """As many as are asked for; bytes are those of the copies, live and frozen."""
    reported = usage(cache, 3)
    infos = {info.key: info for info in cache.entries()}
    assert [(entry["dag_id"], entry["version"], entry["key"]) for entry in reported["entries"]] == [
        ("report", 7, "3"),
        ("etl", 2, "2"),
        ("etl", 1, "1"),
    ]
    assert reported["entries"][0]["bytes"] == infos[3].live_bytes + infos[3].frozen_bytes > 60 * KIB
    assert (reported["component"], reported["pid"], reported["versions"]) == ("scheduler", os.getpid(), 4)
    assert reported["bytes"] == sum(info.live_bytes + info.frozen_bytes for info in infos.values())


def test_versions_of_one_dag_are_added_up(cache: DagCache[Any, Any]) -> None:
    """Many small versions of one DAG fill a cache, too; idle is the least, for one that is in use keeps it there."""
    etl, report, unknown = usage(cache)["dags"]
    assert (etl["dag_id"], etl["versions"], etl["live"], etl["idle_seconds"]) == ("etl", 2, 2, 0.0)
    assert (report["dag_id"], report["versions"], report["idle_seconds"]) == ("report", 1, 20.0)
    assert (unknown["dag_id"], unknown["versions"]) == (None, 1)


def test_a_version_that_is_frozen_only_is_named_as_well() -> None:
    """Names are kept with the entry, not read from the live graph."""
    cache, _ = make_cache(max_bytes=150 * KIB, version_of=lambda key: (f"dag_{key}", key))
    for key in range(4):
        cache.get_or_load(key, lambda key: Weighted(key, 100 * KIB))
    reported = {entry["tier"]: entry["dag_id"] for entry in usage(cache)["entries"]}
    assert reported.keys() == {"live", "frozen"}
    assert all(reported.values())


def test_an_answer_is_json_of_plain_values(cache: DagCache[Any, Any]) -> None:
    assert json.loads(json.dumps(usage(cache))) == usage(cache)


def test_costs_are_those_of_all_versions_since_the_start(cache: DagCache[Any, Any]) -> None:
    """Also of a DAG without a resident version; assigned values cost nothing."""
    for order in (1, 2, 3):
        cache.get_or_load(10 + order, lambda key: Loaded(Weighted(key), version=("churn", key)))
        del cache[10 + order]
    found = {dag["dag_id"]: dag for dag in usage(cache)["dags"]}
    assert (found["churn"]["loads"], found["churn"]["newer_versions"], found["churn"]["versions"]) == (3, 2, 0)
    assert found["churn"]["idle_seconds"] is None
    assert found["etl"]["loads"] == 0
    cache.check_invariants()


@pytest.mark.parametrize("by", ORDERS)
def test_dags_are_sorted_by_the_figure_that_is_asked_for(cache: DagCache[Any, Any], by: str) -> None:
    """The largest first."""
    cache.get_or_load(20, lambda key: Loaded(Weighted(key), version=("churn", 1)))
    figures = [dag[by] for dag in usage(cache, by=by)["dags"]]
    assert figures == sorted(figures, reverse=True)
    assert figures[0] > 0 or by in ("thaws", "thaw_seconds", "newer_versions")
