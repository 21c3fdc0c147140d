"""Sharing between the tasks of one DAG, and none between two DAGs."""

from __future__ import annotations

from typing import Any

import pytest

from dagcache.airflow import bag as bag_module
from dagcache.airflow import graphs
from tests.in_airflow.support import write

PARAMS = {"day": "2026-01-01", "limit": 100}


@pytest.fixture(autouse=True)
def _immutable() -> None:
    if not graphs.classes_of_parameters():
        pytest.skip("this version of Airflow has no immutable parameters")


def params_of(bag: Any, version: Any, session: Any) -> list[Any]:
    """The parameters of each task, as the bag has them."""
    return [task.params for task in bag._get_dag(version, session).tasks]


def test_tasks_share_the_parameters_that_airflow_copied_into_each(bag: Any, session: Any) -> None:
    """Loaded, and thawed again."""
    version = write(session, "shared", params=PARAMS)
    loaded = params_of(bag, version, session)
    before = bag.dagcache.stats()
    bag.dagcache.resize(before.live_bytes + before.frozen_bytes)  # less than is used: the live copy has to go
    thawed = params_of(bag, version, session)
    assert bag.dagcache.stats().hits_frozen == 1
    for found in (loaded, thawed):
        assert len(found) == 3
        assert len({id(params) for params in found}) == 1
        assert dict(found[0].dump()) == PARAMS
    assert loaded[0] is not thawed[0]


def test_two_dags_share_no_parameters(bag: Any, session: Any) -> None:
    one, other = (params_of(bag, write(session, name, params=PARAMS), session)[0] for name in ("one", "other"))
    one.get_param("limit").value = 7
    assert other["limit"] == 100


def test_merging_into_parameters_leaves_the_tasks_alone(bag: Any, session: Any) -> None:
    """Airflow's way to change parameters makes new ones."""
    found = params_of(bag, write(session, "merged", params=PARAMS), session)
    assert found[0].deep_merge({"limit": 7})["limit"] == 7
    assert [params["limit"] for params in found] == [100, 100, 100]


def test_a_fault_in_sharing_costs_memory_and_not_the_dag(
    bag: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The DAG is served as Airflow built it."""

    def fail(dag: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(bag_module, "share_immutables", fail)
    assert len(params_of(bag, write(session, "unshared", params=PARAMS), session)) == 3
    assert bag.dagcache.stats().loads == 1
