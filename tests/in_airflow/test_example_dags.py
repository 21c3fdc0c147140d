"""Every example DAG that Airflow and its standard provider ship: a thawed graph equals Airflow's own."""

from __future__ import annotations

import datetime as dt
import gc
import importlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dagcache.airflow import graphs
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from tests.support.lockstep import assert_same_graph, in_common, reachable

FOLDERS = ("airflow.example_dags", "airflow.providers.standard.example_dags")


def serialization() -> Any:
    """The class that serialises DAGs in this version of Airflow."""
    module = importlib.import_module("airflow.serialization.serialized_objects")
    return getattr(module, "DagSerialization", None) or module.SerializedDAG


def dag_bag_class() -> Any:
    """The class that parses DAG files in this version of Airflow."""
    try:
        return importlib.import_module("airflow.dag_processing.dagbag").DagBag
    except ModuleNotFoundError:
        return importlib.import_module("airflow.models.dagbag").DagBag


def as_json(dag: Any) -> str | None:
    """The row in the database; None if Airflow cannot serialise the DAG here."""
    try:
        return json.dumps(serialization().to_dict(dag))
    except Exception:
        return None


@pytest.fixture(scope="module")
def payloads() -> dict[str, str]:
    """The JSON of all example DAGs by their ids."""
    found: dict[str, str] = {}
    refused: list[str] = []
    for name in FOLDERS:
        folder = str(Path(str(importlib.import_module(name).__file__)).parent)
        bag = dag_bag_class()(folder)
        for dag_id, dag in bag.dags.items():
            text = as_json(dag)
            if text is None:
                refused.append(dag_id)
            else:
                found[dag_id] = text
    assert len(found) > 60
    assert len(refused) <= 4, refused  # their classes are plugins, which are not loaded here
    return found


@pytest.fixture(params=[False, True], ids=["without links", "with links"])
def loads(request: pytest.FixtureRequest) -> Any:
    """Airflow's own way from JSON to a graph, as the scheduler uses it and as the API server does."""
    kind = serialization()
    before = kind._load_operator_extra_links
    kind._load_operator_extra_links = request.param
    yield lambda text: kind.from_dict(json.loads(text))
    kind._load_operator_extra_links = before


def test_thawed_graphs_are_what_airflow_loads(payloads: dict[str, str], loads: Any) -> None:
    """Part by part: types, values, order, identities, weak proxies, and objects that all graphs share."""
    freezer, _ = graphs.freezer()
    for dag_id, text in payloads.items():
        fresh, again = loads(text), loads(text)
        thawed = freezer.thaw(freezer.freeze(fresh).data)
        try:
            assert_same_graph(fresh, thawed, shared=in_common(fresh, again))
        except AssertionError as difference:
            raise AssertionError(f"{dag_id}: {difference}") from None


def test_graphs_with_shared_parts_are_what_airflow_loads(payloads: dict[str, str]) -> None:
    """And so are their thawed copies: nothing but the number of equal strings and spans differs."""
    freezer, _ = graphs.freezer()
    load = serialization().from_dict
    for dag_id, text in payloads.items():
        fresh, again, parsed = load(json.loads(text)), load(json.loads(text)), json.loads(text)
        share_strings(parsed)
        ours = load(parsed)
        share_immutables(ours)
        ours.last_loaded = fresh.last_loaded  # the moment of the load
        thawed = freezer.thaw(freezer.freeze(ours).data)
        try:
            assert_same_graph(fresh, ours, in_common(fresh, again), (dt.timedelta,))
            assert_same_graph(fresh, thawed, in_common(fresh, again), (dt.timedelta,))
            assert_same_graph(ours, thawed, in_common(fresh, again))
        except AssertionError as difference:
            raise AssertionError(f"{dag_id}: {difference}") from None


def test_graphs_that_nobody_holds_are_taken_apart(payloads: dict[str, str], loads: Any) -> None:
    """Only shared objects remain, and they stay whole."""
    freezer, shared = graphs.freezer()
    breaker = GenericBreaker(shared)
    before = [len(reachable(item)) for item in shared]
    frozen = [freezer.freeze(loads(text)).data for text in payloads.values()]
    gc.collect()
    gc.disable()
    try:
        for data in frozen:
            cell = [freezer.thaw(data)]
            assert breaker.release(cell) is Outcome.FREED
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert [len(reachable(item)) for item in shared] == before


def test_graphs_that_a_scheduler_has_used_are_taken_apart(payloads: dict[str, str], loads: Any) -> None:
    """Airflow's caches of method results settle on tasks and make each of them refer to itself."""
    freezer, shared = graphs.freezer()
    breaker = GenericBreaker(shared)
    frozen = [freezer.freeze(loads(text)).data for text in payloads.values()]
    gc.collect()
    gc.disable()
    try:
        for data in frozen:
            cell: list[Any] = [freezer.thaw(data)]
            use(cell[0])
            assert breaker.release(cell) is Outcome.FREED
        assert gc.collect() == 0
    finally:
        gc.enable()


def use(dag: Any) -> None:
    """As when the scheduler creates a run."""
    for task in dag.task_dict.values():
        with suppress(Exception):  # most tasks are not mapped
            task.get_parse_time_mapped_ti_count()


@pytest.mark.parametrize("part", ["the DAG", "a task", "the tasks", "the root group"])
def test_graphs_of_which_a_part_is_held_stay_whole(payloads: dict[str, str], loads: Any, part: str) -> None:
    """A scheduler keeps the DAG of a run, an executor a task."""
    freezer, shared = graphs.freezer()
    breaker = GenericBreaker(shared)
    for text in payloads.values():
        dag: Any = freezer.thaw(freezer.freeze(loads(text)).data)
        parts = {
            "the DAG": lambda dag=dag: dag,
            "a task": lambda dag=dag: next(iter(dag.task_dict.values())),
            "the tasks": lambda dag=dag: dag.task_dict,
            "the root group": lambda dag=dag: dag.task_group,
        }
        if not dag.task_dict:
            continue
        held = parts[part]()
        cell = [dag]
        del dag, parts
        assert breaker.release(cell) is Outcome.HELD
        whole = held if part != "the DAG" else held.task_dict
        assert whole
        del held, whole
