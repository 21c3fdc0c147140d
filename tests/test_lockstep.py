"""The comparison of graphs that other tests trust: it must fail on everything that a copy may get wrong."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable

import pytest

from tests.support.graphs import (
    SHARED,
    SHARED_DELAY,
    SHARED_DEPS,
    Dag,
    Group,
    Task,
    as_json,
    from_json,
    make_dag,
)
from tests.support.lockstep import assert_same_graph


def _first(dag: Dag) -> Task:
    return next(iter(dag.task_dict.values()))


def _reorder(dag: Dag) -> None:
    dag.task_dict = dict(reversed(dag.task_dict.items()))


def _copy_shared(dag: Dag) -> None:
    _first(dag).deps = copy.deepcopy(SHARED_DEPS)


def _strengthen_proxy(dag: Dag) -> None:
    task = _first(dag)
    task.task_group = task.task_group.__repr__.__self__  # type: ignore[attr-defined]


def _redirect_proxy(dag: Dag) -> None:
    task = _first(dag)
    other = next(group for group in _groups(dag) if group.group_id != task.task_group.group_id)
    task.task_group = weakref.proxy(other)


def _groups(dag: Dag) -> list[Group]:
    return [child for child in dag.task_group.children.values() if isinstance(child, Group)]


def _split_identity(dag: Dag) -> None:
    dag.task_group.children = dict(dag.task_group.children)
    task_id = next(iter(dag.task_dict))
    dag.task_dict[task_id] = copy.copy(dag.task_dict[task_id])


def _merge_identity(dag: Dag) -> None:
    one, other = list(dag.task_dict.values())[:2]
    one.outlets = other.outlets = []


def _empty_slot(dag: Dag) -> None:
    del dag.params["region"].description


def _change_value(dag: Dag) -> None:
    _first(dag).task_id += "x"


def _change_type(dag: Dag) -> None:
    dag.catchup = 0  # type: ignore[assignment]


def _add_to_set(dag: Dag) -> None:
    _first(dag).upstream_task_ids.add("another")


FLAWS = [
    _reorder,
    _copy_shared,
    _strengthen_proxy,
    _redirect_proxy,
    _split_identity,
    _merge_identity,
    _empty_slot,
    _change_value,
    _change_type,
    _add_to_set,
]


def test_equal_builds_are_the_same_graph() -> None:
    """Two DAGs of equal arguments are equal in every part, and share only what is shared."""
    assert_same_graph(make_dag(20, 1), make_dag(20, 1), SHARED)


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.__name__.strip("_"))
def test_a_flawed_copy_is_told_apart(flaw: Callable[[Dag], None]) -> None:
    """Each way in which a copy may differ is found."""
    flawed = make_dag(20, 1)
    flaw(flawed)
    with pytest.raises(AssertionError):
        assert_same_graph(make_dag(20, 1), flawed, SHARED)


def test_a_plain_pickle_is_told_apart() -> None:
    """Plain pickle strengthens proxies and copies singletons: it must not pass."""
    dag = make_dag(5, 1)
    with pytest.raises(AssertionError):
        assert_same_graph(dag, pickle.loads(pickle.dumps(dag)), SHARED)


def test_different_seeds_make_different_graphs() -> None:
    """The seed varies what the tests run on."""
    with pytest.raises(AssertionError):
        assert_same_graph(make_dag(5, 1), make_dag(5, 2), SHARED)


def test_json_gives_the_same_graph_back() -> None:
    """The slow way through text loses nothing."""
    dag = make_dag(40, 3)
    assert_same_graph(dag, from_json(as_json(dag)), SHARED)


def test_time_objects_are_compared_by_value() -> None:
    """Objects of C code are compared by what they say of themselves."""
    assert_same_graph([SHARED_DELAY], [SHARED_DELAY * 1])
    with pytest.raises(AssertionError):
        assert_same_graph([SHARED_DELAY], [SHARED_DELAY * 2])
