"""Objects that Airflow gives one caller are private here: `get_latest_version_of_dag`, in all states of a cache."""

from __future__ import annotations

import datetime as dt
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any
from uuid import UUID

import pytest

from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.parts import mutable_parts, shared_parts
from tests.in_airflow.support import BUNDLE, api_bag, install_anew
from tests.support.lockstep import assert_is_a_load

THREADS = 8
ROUNDS, USES = 10, 20
"""Of requests that meet, and of the cached properties in each; without private copies most rounds fail."""
MAPPED = ("mapped_group", "mapped_nested", "mapped_tasks")


def write_dag(dag: Any, session: Any) -> UUID:
    """Write a DAG as the DAG processor does, and return the id of its newest version."""
    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization import serialized_objects

    serialized_dag = getattr(serialized_objects, "SerializedDAG", None)  # until Airflow 3.1
    if serialized_dag is None:
        serialized_dag = import_module("airflow.serialization.definitions.dag").SerializedDAG
    lazy = serialized_objects.LazyDeserializedDAG.from_dag(dag)
    serialized_dag.bulk_write_to_db(BUNDLE, None, [lazy], session=session)
    SerializedDagModel.write_dag(lazy, bundle_name=BUNDLE, session=session)
    session.commit()
    version = DagVersion.get_latest_version(dag.dag_id, session=session)
    assert version is not None
    found: UUID = version.id
    return found


@pytest.fixture(scope="module")
def versions(make_database: MakeDatabase) -> Iterator[tuple[Any, dict[str, UUID]]]:
    """An engine of a database with DAGs of all shapes, and their versions."""
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    from tests.in_airflow.api_dags.shapes import all_shapes

    engine = create_engine(make_database("sqlite"))
    with Session(engine, expire_on_commit=False) as session:
        found = {dag.dag_id: write_dag(dag, session) for dag in all_shapes()}
    yield engine, found
    engine.dispose()


@pytest.fixture
def engine(versions: tuple[Any, dict[str, UUID]]) -> Any:
    """Of the module's one database: these tests do not depend on the backend."""
    return versions[0]


@pytest.fixture
def keys(versions: tuple[Any, dict[str, UUID]]) -> dict[str, UUID]:
    """The newest version of each DAG."""
    return versions[1]


class Asker:
    """Asks a bag as requests do, each with a session of its own: a session keeps the parsed rows that it has read."""

    def __init__(self, bag: Any, engine: Any) -> None:
        self.bag = bag
        self._engine = engine

    def latest(self, dag_id: str) -> Any:
        """The newest version of a DAG."""
        from sqlalchemy.orm import Session

        with Session(self._engine) as session:
            return self.bag.get_latest_version_of_dag(dag_id, session=session)

    def version(self, key: UUID) -> Any:
        """The object that all callers get for this version."""
        from sqlalchemy.orm import Session

        with Session(self._engine) as session:
            return self.bag._get_dag(key, session)  # `get_dag`, since Airflow 3.2


@pytest.fixture
def make_bag(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Builds an API server's bag with other settings: ``make_bag(frozen=False)``."""
    made: list[Any] = []

    def make(**settings: object) -> Any:
        install_anew("api_server", monkeypatch, **settings)
        made.append(api_bag())
        return made[-1]

    yield make
    for bag in made:
        bag._component.close()


@pytest.fixture
def stock(engine: Any) -> Callable[[str], Any]:
    """Airflow's own load of a DAG's newest version, in a session of its own."""
    from airflow.models.dagbag import DBDagBag

    return Asker(DBDagBag(), engine).latest


def _cold(ask: Asker, _keys: dict[str, UUID]) -> None:
    """Nothing was asked for."""
    assert len(ask.bag.dagcache) == 0


def _live(ask: Asker, keys: dict[str, UUID]) -> None:
    """The graphs that `get_dag` shares are there."""
    assert all(map(ask.version, keys.values()))
    assert {entry.tier for entry in ask.bag.dagcache.entries()} == {"live"}


def _frozen(ask: Asker, keys: dict[str, UUID]) -> None:
    """Only the frozen copies are there."""
    _live(ask, keys)
    cache = ask.bag.dagcache
    before = cache.stats()
    cache.resize(before.frozen_bytes + before.overhead_bytes)
    assert {entry.tier for entry in cache.entries()} == {"frozen"}


STATES: dict[str, tuple[Callable[[Asker, dict[str, UUID]], None], dict[str, Any]]] = {
    "cold": (_cold, {}),
    "live and frozen": (_live, {}),
    "frozen only": (_frozen, {}),
    "live only": (_live, {"frozen": False}),
    "nothing is kept": (_cold, {"max_bytes": "1KiB"}),
}
in_each_state = pytest.mark.parametrize("state", STATES)


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def ask(state: str, make_bag: Callable[..., Any], keys: dict[str, UUID], engine: Any) -> Asker:
    """Asks an API server's bag that is in one of the `STATES`."""
    prepare, settings = STATES[state]
    made = Asker(make_bag(**settings), engine)
    prepare(made, keys)
    return made


def allowed(stock: Callable[[str], Any], dag_id: str) -> set[int]:
    """The objects that two of Airflow's own loads share: they exist once per process."""
    one, other = mutable_parts(stock(dag_id)), mutable_parts(stock(dag_id))
    return one.keys() & other.keys()


# ---- no sharing ----


def test_the_walk_finds_what_two_callers_share(stock: Callable[[str], Any]) -> None:
    """One graph twice: all of it, the children of a mapped group and the sets of edges among it."""
    dag = stock("mapped_group")
    found = {id(part) for part in shared_parts([dag, dag], allowed(stock, "mapped_group"))}
    group = dag.task_group.children["grp"]
    parts = (dag, dag.task_dict, dag.tasks[0], dag.timetable, group, group.children, group.upstream_task_ids)
    assert {id(part) for part in parts} <= found


@in_each_state
def test_each_caller_of_the_newest_version_has_a_graph_of_its_own(
    ask: Asker, keys: dict[str, UUID], stock: Callable[[str], Any]
) -> None:
    """No mutable part of it is another caller's, nor of the graph that `get_dag` shares."""
    for dag_id, key in keys.items():
        exempt = allowed(stock, dag_id)
        held = [ask.latest(dag_id) for _ in range(2)]
        held += [ask.version(key), ask.latest(dag_id)]
        assert shared_parts(held, exempt) == [], dag_id
        ask.bag.dagcache.check_invariants()


@in_each_state
def test_each_of_eight_threads_has_a_graph_of_its_own(ask: Asker, stock: Callable[[str], Any]) -> None:
    """They ask for the same DAG at once."""
    for dag_id in ("mapped_group", "nested_groups", "larger"):
        exempt = allowed(stock, dag_id)
        held = at_once(THREADS, partial(ask.latest, dag_id))
        assert len(held) == THREADS
        assert shared_parts(held, exempt) == [], dag_id
        ask.bag.dagcache.check_invariants()


@in_each_state
def test_the_graph_of_each_caller_is_what_airflow_loads(
    ask: Asker, keys: dict[str, UUID], stock: Callable[[str], Any]
) -> None:
    """In lock-step, but for the number of equal strings and spans."""
    for dag_id in keys:
        for _ in range(2):
            mine = ask.latest(dag_id)
            assert_is_stocks(mine, stock, dag_id)


# ---- what one caller does, the next does not see ----


@in_each_state
@pytest.mark.parametrize("dag_id", MAPPED)
def test_a_partial_subset_of_one_copy_leaves_the_next_ones_graph_intact(
    ask: Asker, stock: Callable[[str], Any], dag_id: str
) -> None:
    """Airflow's `partial_subset` empties mapped groups of the DAG that it is asked for a part of."""
    for _ in range(2):
        mine = ask.latest(dag_id)
        for task_id in list(mine.task_dict):
            mine.partial_subset([task_id], include_upstream=True, include_downstream=True)
        assert_is_stocks(ask.latest(dag_id), stock, dag_id)


@in_each_state
def test_a_partial_subset_of_a_private_copy_leaves_the_shared_graph_intact(
    ask: Asker, keys: dict[str, UUID], stock: Callable[[str], Any]
) -> None:
    """Runs are looked up by version."""
    mine = ask.latest("mapped_group")
    mine.partial_subset(["before"])
    assert_is_stocks(ask.version(keys["mapped_group"]), stock, "mapped_group")


@in_each_state
def test_damage_to_the_shared_graph_lasts_no_longer_than_in_airflow(
    ask: Asker, keys: dict[str, UUID], stock: Callable[[str], Any]
) -> None:
    """Clearing tasks of a run damages what `get_dag` shares; the next lookup of the newest version renews it."""
    for dag_id in MAPPED:
        shared = ask.version(keys[dag_id])
        for task_id in list(shared.task_dict):
            shared.partial_subset([task_id])
        ask.latest(dag_id)
        assert_is_stocks(ask.version(keys[dag_id]), stock, dag_id)


@in_each_state
def test_any_change_of_a_copy_stays_its_callers_own(ask: Asker) -> None:
    """Of a DAG, a task, a group, a default."""
    mine = ask.latest("parameters")
    before = sorted(mine.tags)
    mine.tags.add("mine")
    mine.default_args["retries"] = 77
    mine.get_task("one").downstream_task_ids.clear()
    mine.get_task("one").template_fields_renderers["mine"] = "sql"
    mine.task_group.children.clear()
    other = ask.latest("parameters")
    assert sorted(other.tags) == before
    assert other.default_args["retries"] == 3
    assert other.get_task("one").downstream_task_ids == {"two"}
    assert "mine" not in other.get_task("one").template_fields_renderers
    assert set(other.task_group.children) == {"one", "two"}


@in_each_state
def test_the_attributes_of_a_copy_can_be_walked_while_another_request_adds_to_its_own(ask: Asker) -> None:
    """`GET /dags/{id}/details` walks them, and most methods of a DAG add cached properties."""
    mine = ask.latest("nested_groups")
    walk = iter(mine.__dict__.items())
    next(walk)
    use(ask.latest("nested_groups"))
    assert len(list(walk)) > 20


@in_each_state
def test_requests_that_meet_do_not_disturb_each_other(ask: Asker, quick_switches: None) -> None:
    """Some walk the attributes while others add cached properties, after all of them have got their DAG."""

    def walk(dag: Any, others_are_done: threading.Event) -> None:
        while not others_are_done.is_set():
            assert [name for name, value in dag.__dict__.items() if value is not None]

    def change(dag: Any) -> None:
        for _ in range(USES):
            use(dag)

    for _ in range(ROUNDS):
        met, done = threading.Barrier(4), threading.Event()

        def request(do: Callable[[Any], None], met: threading.Barrier = met) -> None:
            dag = ask.latest("nested_groups")
            met.wait()
            do(dag)

        with ThreadPoolExecutor(4) as pool:
            walkers = [pool.submit(request, partial(walk, others_are_done=done)) for _ in range(2)]
            changers = [pool.submit(request, change) for _ in range(2)]
            try:
                for future in changers:
                    future.result()
            finally:
                done.set()
            for future in walkers:
                future.result()
    ask.bag.dagcache.check_invariants()


@in_each_state
def test_the_time_of_loading_moves_on_as_it_does_in_airflow(ask: Asker) -> None:
    """`last_parsed` in a DAG's details."""
    for _ in range(3):
        before = dt.datetime.now(dt.timezone.utc)
        dag = ask.latest("setups")
        assert before <= dag.last_loaded <= dt.datetime.now(dt.timezone.utc)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of a timetable that Airflow takes for a plugin's."""
    from airflow import plugins_manager

    from tests.in_airflow.api_plugins.counting_timetable import CountingTimetable

    known = {f"{CountingTimetable.__module__}.{CountingTimetable.__qualname__}": CountingTimetable}
    if hasattr(plugins_manager, "get_timetables_plugins"):
        monkeypatch.setattr(plugins_manager, "get_timetables_plugins", lambda: known)
    else:  # until Airflow 3.1
        plugins_manager.initialize_timetables_plugins()
        monkeypatch.setattr(plugins_manager, "timetable_classes", known)
    return CountingTimetable


@in_each_state
def test_the_state_of_a_plugins_timetable_is_not_shared(ask: Asker, engine: Any, plugin: Any) -> None:
    """Each request has one that was never asked, as Airflow's decoder makes them."""
    from airflow.sdk import DAG
    from sqlalchemy.orm import Session

    begin = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
    with Session(engine) as session:
        write_dag(DAG("own_timetable", schedule=plugin(), start_date=begin), session)
    for _ in range(3):
        dag = ask.latest("own_timetable")
        assert type(dag.timetable) is plugin
        assert dag.timetable.given == 0
        dag.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=None)
        assert dag.timetable.given == 1
    ask.bag.dagcache.check_invariants()


# ---- where Airflow shares, so does the cache ----


@pytest.mark.parametrize("state", ["live and frozen", "live only"])
def test_lookups_by_version_share_one_graph(ask: Asker, keys: dict[str, UUID]) -> None:
    """As in Airflow: a cache saves by sharing."""
    for dag_id, key in keys.items():
        assert ask.version(key) is ask.version(key), dag_id


def at_once(threads: int, call: Callable[[], Any]) -> list[Any]:
    """The results of several threads that begin together."""
    barrier = threading.Barrier(threads)

    def run() -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(threads) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(threads)]]


def use(dag: Any) -> None:
    """Have a DAG add to its own attributes."""
    kind = type(dag)
    cached = [name for base in kind.__mro__ for name, value in vars(base).items() if hasattr(value, "attrname")]
    assert cached, f"{kind} has no cached property"
    for name in cached:
        dag.__dict__.pop(name, None)
        getattr(dag, name)


def assert_is_stocks(mine: Any, stock: Callable[[str], Any], dag_id: str) -> None:
    """A graph that was used for nothing yet, beside what Airflow loads."""
    try:
        assert_is_a_load(mine, partial(stock, dag_id))
    except AssertionError as difference:
        raise AssertionError(f"{dag_id}: {difference}") from None
