"""Each shape of the zoo: a thawed copy equals a load, shares no more, runs the same, and weighs what is accounted."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow import foreign, graphs
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.errors import FreezeError
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from dagcache.sizing.walk import weigh
from tests.in_airflow.parts import mutable_parts, shared_parts
from tests.in_airflow.stepping import ERROR, steps_of
from tests.in_airflow.test_example_dags import serialization
from tests.in_airflow.test_plugins import stock
from tests.in_airflow.test_private_copies import write_dag
from tests.in_airflow.zoo import SHAPES
from tests.in_airflow.zoo.depth import CHAINS, LEVELS, chain, chain_as_text
from tests.in_airflow.zoo.shape import MissingShapeError, deep_calls
from tests.support.accounts import assert_weighs_what_was_handed_out
from tests.support.caches import MIB, make_cache
from tests.support.lockstep import assert_is_a_load
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

KEPT_LIVE_ONLY = {"connection_as_value": "sqlalchemy.orm.state.InstanceState"}
"""The shapes without a frozen form, each with the class that has none."""
NEEDS_KUBERNETES = {"a_pod"}
NOT_TO_USE = {
    "airflow.partition_mappers.base.PartitionMapper",
    "airflow.partition_mappers.temporal._BaseTemporalMapper",
    "airflow.partition_mappers.wait_policy.WaitPolicy",
    "airflow.partition_mappers.window.Window",
    "airflow.timetables.base.Timetable",
    "airflow.timetables.interval._DataIntervalTimetable",
    "airflow.timetables.simple._TrivialTimetable",
    "airflow.timetables.trigger._TriggerTimetable",
}
"""Base classes: a DAG has instances of their subclasses."""
WEIGHTS = Path(__file__).with_name("zoo_weights.py")
each_shape = pytest.mark.parametrize("name", SHAPES)
each_frozen_shape = pytest.mark.parametrize("name", sorted(SHAPES.keys() - KEPT_LIVE_ONLY.keys()))


@cache
def text_of(name: str) -> str:
    """The row of a shape."""
    return json.dumps(serialization().to_dict(SHAPES[name].dag()))


def text_or_skip(name: str) -> str:
    """The row of a shape; skips if this version of Airflow does not have it."""
    try:
        return text_of(name)
    except MissingShapeError as error:
        pytest.skip(str(error))


def load(text: str) -> Any:
    """Airflow's own load."""
    return serialization().from_dict(json.loads(text))


def load_as_the_bag_does(text: str) -> Any:
    """With equal parts shared, and a note of the timetable for the freezer."""
    parsed = json.loads(text)
    share_strings(parsed)
    timetable = foreign.timetable_of(SimpleNamespace(data=parsed))
    dag = serialization().from_dict(parsed)
    foreign.note(dag, timetable)
    share_immutables(dag)
    return dag


def assert_equals_a_load(dag: Any, text: str) -> None:
    """In lock-step with what Airflow loads, but for the number of equal spans."""
    assert_is_a_load(dag, partial(load, text))


@pytest.fixture(scope="module")
def freezer() -> PickleFreezer:
    """As the bag has it."""
    return graphs.freezer()[0]


@pytest.fixture(scope="module")
def shared() -> frozenset[int]:
    """The ids of the objects that all graphs share."""
    found = graphs.freezer()[1]
    _held.append(found)
    return frozenset(map(id, found))


_held: list[object] = []


@pytest.fixture(scope="module", autouse=True)
def _only_our_objects() -> Iterator[None]:
    """Keep collections fast: they visit only what these tests make."""
    assert [name for name in SHAPES if _is_here(name)]  # builds all rows
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=[False, True], ids=["without links", "with links"])
def links(request: pytest.FixtureRequest) -> Iterator[None]:
    """Airflow loads links of plugins in the API server, and not in the scheduler."""
    kind = serialization()
    before = kind._load_operator_extra_links
    kind._load_operator_extra_links = request.param
    yield
    kind._load_operator_extra_links = before


# ---- the zoo is complete ----


def is_of_this_release() -> bool:
    """Whether Airflow is of the release that the zoo was written for."""
    version: str = import_module("airflow").__version__
    return version.startswith("3.3.")


def test_every_shape_can_be_built_with_the_release_that_the_zoo_is_written_for() -> None:
    """Other releases skip what they do not have. Pods need a package that Airflow does not."""
    if not is_of_this_release():
        pytest.skip("an earlier or later release of Airflow has other parts")
    missing = {name for name in SHAPES if not _is_here(name)}
    assert missing <= NEEDS_KUBERNETES


def test_the_zoo_has_every_timetable_mapper_window_and_policy_of_airflows() -> None:
    """Airflow's own classes, as far as a DAG can have instances of them."""
    if not is_of_this_release():
        pytest.skip("an earlier or later release of Airflow has other timetables")
    bases = {
        import_module("airflow.timetables.base").Timetable,
        import_module("airflow.partition_mappers.base").PartitionMapper,
        import_module("airflow.partition_mappers.window").Window,
        import_module("airflow.partition_mappers.wait_policy").WaitPolicy,
    }
    there = set()
    for package in ("airflow.timetables", "airflow.partition_mappers"):
        for module in iter_modules(import_module(package).__path__, f"{package}."):
            for kind in vars(import_module(module.name)).values():
                if isinstance(kind, type) and kind.__module__.startswith(package) and bases & {*kind.__mro__}:
                    there.add(f"{kind.__module__}.{kind.__qualname__}")
    met: set[str] = set()
    for name in SHAPES.keys() - NEEDS_KUBERNETES:
        parts = mutable_parts(load(text_of(name)).timetable).values()
        met |= {f"{type(part).__module__}.{type(part).__qualname__}" for part in parts}
    assert there - met == NOT_TO_USE


# ---- a thawed copy ----


@each_frozen_shape
def test_a_thawed_copy_is_what_airflow_loads(name: str, freezer: PickleFreezer, links: None) -> None:
    """And so is the loaded graph with shared parts, before and after it was frozen."""
    text = text_or_skip(name)
    ours = load_as_the_bag_does(text)
    assert_equals_a_load(ours, text)
    ours = load_as_the_bag_does(text)
    data = freezer.freeze(ours).data
    assert_equals_a_load(ours, text)
    assert_equals_a_load(freezer.thaw(data), text)


@each_frozen_shape
def test_two_thawed_copies_share_no_more_than_two_loads(name: str, freezer: PickleFreezer) -> None:
    """Nor does the graph share more with them that was frozen."""
    text = text_or_skip(name)
    ours = load_as_the_bag_does(text)
    data = freezer.freeze(ours).data
    one, other = mutable_parts(load(text)), mutable_parts(load(text))
    assert shared_parts([ours, freezer.thaw(data), freezer.thaw(data)], one.keys() & other.keys()) == []


@each_frozen_shape
def test_a_thawed_copy_can_be_taken_apart(name: str, freezer: PickleFreezer, no_collector: None) -> None:
    """Nothing is left to the collector, and the loaded one neither."""
    text = text_or_skip(name)
    breaker = GenericBreaker(graphs.freezer()[1])
    cell = [load_as_the_bag_does(text)]
    data = freezer.freeze(cell[0]).data
    gc.collect()
    for dag in (cell, [freezer.thaw(data)]):
        assert breaker.release(dag) is Outcome.FREED
    assert gc.collect() == 0


def test_exactly_these_shapes_are_kept_live_only(freezer: PickleFreezer) -> None:
    """All others freeze."""
    refused = {name: _refusal(name, freezer) for name in SHAPES if _is_here(name)}
    assert {name: cause for name, cause in refused.items() if cause} == KEPT_LIVE_ONLY


def _refusal(name: str, freezer: PickleFreezer) -> str:
    """The class that has no frozen form, or the reason; empty if the shape freezes."""
    try:
        freezer.freeze(load_as_the_bag_does(text_of(name)))
    except FreezeError as error:
        return str(error) if error.kind is None else f"{error.kind.__module__}.{error.kind.__qualname__}"
    return ""


# ---- depth ----


@pytest.mark.parametrize("levels", LEVELS)
def test_groups_freeze_at_each_depth_of_calls_at_which_airflow_loads_them(levels: int, freezer: PickleFreezer) -> None:
    """At the deepest one, and at the top of the stack."""
    text = text_of(f"{levels}_nested_groups")
    low, high = 0, sys.getrecursionlimit()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _loads_at(middle, text) else (low, middle)
    assert low > 0, "Airflow does not load them at all: the test shows nothing"
    for depth in (0, low):
        data = at_depth(depth, lambda: freezer.freeze(load_as_the_bag_does(text)).data)
        assert_equals_a_load(at_depth(depth, partial(freezer.thaw, data)), text)


def _loads_at(depth: int, text: str) -> bool:
    try:
        at_depth(depth, lambda: load_as_the_bag_does(text))
    except Exception as error:
        if not isinstance(error, RecursionError) and not isinstance(error.__cause__, RecursionError):
            raise
        return False
    return True


def at_depth(depth: int, call: Callable[[], Any]) -> Any:
    """The result of a call so many calls deeper."""
    return call() if depth == 0 else at_depth(depth - 1, call)


@pytest.mark.soak
@pytest.mark.parametrize("tasks", CHAINS)
def test_long_chains_are_what_airflow_loads_and_weigh_what_was_handed_out(
    tasks: int, freezer: PickleFreezer, shared: frozenset[int]
) -> None:
    """Loaded and thawed."""
    text = chain_as_text(tasks, serialization().to_dict)
    ours = load_as_the_bag_does(text)
    assert len(ours.task_dict) == tasks
    data = freezer.freeze(ours).data
    assert_equals_a_load(ours, text)
    assert_equals_a_load(freezer.thaw(data), text)
    assert_weighs_what_was_handed_out(lambda: freezer.thaw(data), shared)


def test_the_rows_of_long_chains_are_what_airflow_writes() -> None:
    """They are made from that of a short one."""
    for tasks in (3, 11):
        with deep_calls():
            written = json.loads(json.dumps(serialization().to_dict(chain(tasks))))
        assert json.loads(chain_as_text(tasks, serialization().to_dict)) == written


# ---- weights ----


def test_every_graph_weighs_what_the_allocators_handed_out() -> None:
    """Loaded and thawed. In a process of its own: the work of other tests changes what a copy takes."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(WEIGHTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{len(SHAPES)} shapes" in done.stdout


def test_all_shapes_together_are_accounted_with_what_they_weigh(freezer: PickleFreezer) -> None:
    """In one cache, which estimates some weights, as time allows: within a tenth, over shapes that differ much."""
    shared = graphs.freezer()[1]
    cache, _ = make_cache(max_bytes=64 * MIB, ttl=0, freezer=freezer, shared=shared, sizer=None)
    names = [*filter(_is_here, SHAPES)]
    for name in names * 2:
        cache.get_or_load(name, lambda name: load_as_the_bag_does(text_of(name)))
        cache.check_invariants()
    ids = frozenset(map(id, shared))
    walked = sum(weigh(cache.get(name), shared=ids).nbytes for name in names)
    stats = cache.stats()
    assert stats.live_entries == len(names)
    assert abs(stats.live_bytes - walked) < 0.1 * walked, f"{stats.live_bytes} accounted, {walked} walked"
    cache.clear()


def _is_here(name: str) -> bool:
    try:
        text_of(name)
    except MissingShapeError:
        return False
    return True


# ---- runs ----


@pytest.fixture(scope="module")
def engine(sqlite_engine: Any) -> Any:
    """Of a database of this module's own: runs do not depend on the backend."""
    return sqlite_engine


def written(name: str, session: Any) -> Any:
    """The version of a shape in the database; skips if an older Airflow cannot write it."""
    with deep_calls():  # Airflow writes no row of 280 nested groups without
        try:
            return write_dag(SHAPES[name].dag(), session)
        except TypeError as error:
            if is_of_this_release():
                raise
            session.rollback()
            pytest.skip(f"{name}: {error}")


@pytest.mark.usefixtures("airflows_database")
@pytest.mark.parametrize("name", [shape.name for shape in SHAPES.values() if shape.steps])
def test_a_run_takes_the_same_steps_with_a_thawed_copy(name: str, bag: Any, session: Any) -> None:
    """The states of its tasks after each step of a scheduler, and of the run."""
    text_or_skip(name)
    shape = SHAPES[name]
    version = written(name, session)
    bag._get_dag(version, session)
    stats = bag.dagcache.stats()
    assert stats.unfrozen == (name in KEPT_LIVE_ONLY)
    bag.dagcache.resize(stats.frozen_bytes + stats.overhead_bytes or 1)
    served = bag._get_dag(version, session)
    assert bag.dagcache.stats().hits_frozen == 1 - (name in KEPT_LIVE_ONLY)
    session.expire_all()
    expected = steps_of(stock(version, session), shape.steps, session)
    assert len(expected) > 1, "the run makes no step: the test shows nothing"
    assert expected[-1][0] != ERROR or not is_of_this_release(), expected[-1]
    assert steps_of(served, shape.steps, session) == expected
