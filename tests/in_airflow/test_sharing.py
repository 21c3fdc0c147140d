"""Parameters of tasks: shared by no two tasks, because a caller may change them."""

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


def test_a_change_of_one_tasks_parameter_shows_at_no_other_task(bag: Any, session: Any) -> None:
    """Loaded, and thawed again: each task has parameters of its own, as Airflow builds them."""
    version = write(session, "changed", params=PARAMS)
    for frozen in (0, 1):
        first, *others = params_of(bag, version, session)
        assert bag.dagcache.stats().hits_frozen == frozen
        first.get_param("limit").value = 7
        first.get_param("limit").schema["maximum"] = 7
        assert [dict(params.dump()) for params in others] == [PARAMS, PARAMS]
        assert [params.get_param("limit").schema for params in others] == [{}, {}]
        before = bag.dagcache.stats()
        bag.dagcache.resize(before.live_bytes + before.frozen_bytes)  # less than is used: the live copy has to go
        del first, others


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
