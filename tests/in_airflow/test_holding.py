"""Airflow's own graphs: while a caller holds any part, the DAG stays whole; once it is dropped, it is freed."""

from __future__ import annotations

import gc
import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.airflow import graphs
from tests.in_airflow.test_example_dags import serialization, use
from tests.support.caches import KIB, make_cache
from tests.support.holders import HOLDERS
from tests.support.lockstep import assert_same_graph, in_common

pytestmark = pytest.mark.usefixtures("no_collector")


_LOOKS = 130


def _make() -> Any:
    """A DAG with groups, and tasks that are mapped over what others return."""
    sdk = importlib.import_module("airflow.sdk")

    @sdk.task
    def produce() -> list[int]:
        return [1, 2]

    @sdk.task
    def consume(number: int) -> int:
        return number

    with sdk.DAG("held", schedule=None, params={"region": "eu"}) as dag:
        first = produce()
        with sdk.TaskGroup("outer"), sdk.TaskGroup("inner"):
            consume.expand(number=first)
        with sdk.TaskGroup("other"):
            consume.override(task_id="again").expand(number=produce.override(task_id="more")())
    return dag


@pytest.fixture(scope="module")
def text() -> str:
    """As in the database."""
    return json.dumps(serialization().to_dict(_make()))


@pytest.fixture(autouse=True, scope="module")
def _only_our_objects(text: str) -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def loader(text: str) -> Callable[[object], Any]:
    """Airflow's own way from JSON to a graph."""
    return lambda _: serialization().from_dict(json.loads(text))


def make_graph_cache() -> tuple[DagCache[Any, Any], Any]:
    """As a component of Airflow has it, but for the clock and the sizes."""
    freezer, shared = graphs.freezer()
    return make_cache(max_bytes=1000 * KIB, ttl=100, freezer=freezer, shared=shared, sizer=lambda _: 100 * KIB)


def alive(dag_id: str, kind: Any) -> int:
    """The DAGs of a test in memory. Those of a test before it may be, too: the traceback of a failure holds them."""
    return sum(type(item) is kind and item.dag_id == dag_id for item in gc.get_objects())


WAYS: dict[str, Callable[[DagCache[Any, Any], Any], object]] = {
    "EXPIRED": lambda cache, clock: (clock.advance(1000), cache.expire()),
    "demoted": lambda cache, _: cache.resize(50 * KIB),
    "STALE": lambda cache, _: cache.invalidate("a"),
}


_OF_HASHABLE_GROUPS = ("a weak set", "a weak table of keys")


@pytest.mark.parametrize(("way", "thawed"), [("EXPIRED", False), ("demoted", True), ("STALE", True)])
@pytest.mark.parametrize("name", HOLDERS)
def test_a_dag_of_which_a_part_is_held_stays_whole(text: str, name: str, way: str, thawed: bool) -> None:
    """Until the part is dropped; then nothing is left of it."""
    load = loader(text)
    cache, clock = make_graph_cache()
    if thawed:
        cache.get_or_load("a", load)
        cache.resize(50 * KIB)
        cache.resize(1000 * KIB)
    dag: Any = cache.get_or_load("a", load)
    if name in _OF_HASHABLE_GROUPS and type(dag.task_group).__hash__ is None:
        pytest.skip("in this Airflow task groups are not hashable: nothing can hold them so")
    held, dag_of = HOLDERS[name](dag)
    del dag
    WAYS[way](cache, clock)
    for _ in range(_LOOKS):
        assert cache.stats().waiting_bytes == 100 * KIB
    fresh = load(None)
    found = dag_of(held)
    fresh.last_loaded = found.last_loaded
    assert_same_graph(found, fresh, in_common(fresh, load(None)))
    del held, found
    for _ in range(_LOOKS):
        if not cache.stats().waiting_bytes:
            break
    assert cache.stats().waiting_bytes == 0


def test_a_dag_with_a_renamed_task_leaves_as_any_other(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing holds authors to the names that groups know their tasks by."""
    dag = _make()
    dag.task_dict["produce"].task_id = "renamed"
    text = json.dumps(serialization().to_dict(dag))
    del dag
    cache, _ = make_graph_cache()
    cache.get_or_load("a", loader(text))
    cache.resize(50 * KIB)
    cache.get_or_load("a", lambda _: None)
    cache.clear()
    cache.stats()
    assert (cache.stats().waiting_bytes, cache.stats().unbroken_cycles) == (0, 0)
    assert caplog.records == []


def test_twenty_dags_held_at_a_time_do_not_leak_without_the_collector(text: str) -> None:
    """As a scheduler holds the DAGs of the runs that it examines, with the collector off by the host's wish."""
    cache, _ = make_graph_cache()
    load = loader(text.replace('"held"', '"twenty"'))
    kind = type(load(None))
    gc.collect()
    for _ in range(6):
        for first in range(0, 60, 20):
            held = [cache.get_or_load(key, load) for key in range(first, first + 20)]
            for dag in held:
                use(dag)
            del held, dag
    gc.collect(0)
    cache.clear()
    for _ in range(20):
        cache.stats()
    assert cache.stats().waiting_bytes == 0
    assert alive("twenty", kind) == 0


def test_freezes_of_the_heap_beside_lookups_leave_no_garbage(text: str) -> None:
    """As the LocalExecutor freezes and unfreezes around its forks."""
    cache, _ = make_graph_cache()
    load = loader(text.replace('"held"', '"frozen"'))
    kind = type(load(None))
    gc.collect()
    gc.enable()
    for turn in range(400):
        cache.get_or_load(turn % 40, load)
        if turn % 40 == 0:
            gc.freeze()
            gc.unfreeze()
    gc.disable()
    for _ in range(20):
        cache.stats()
    live = cache.stats().live_entries
    assert cache.stats().waiting_bytes == 0
    assert alive("frozen", kind) == live > 0
    gc.freeze()
