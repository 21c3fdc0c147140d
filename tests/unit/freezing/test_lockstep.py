"""The comparison of graphs that other tests trust: it must fail on everything that a copy may get wrong."""

from __future__ import annotations

import collections
import copy
import enum
import pickle
import re
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


def _reorder_attributes(dag: Dag) -> None:
    task = _first(dag)
    task.__dict__["task_id"] = task.__dict__.pop("task_id")


def _retype_set(dag: Dag) -> None:
    _first(dag).upstream_task_ids = frozenset(_first(dag).upstream_task_ids)  # type: ignore[assignment]


def _change_sign_of_zero(dag: Dag) -> None:
    _first(dag).template_dict["factor"] = -_first(dag).template_dict["factor"]


def _rename_element(dag: Dag) -> None:
    dag.tags.remove("synthetic")
    dag.tags.add("organic")


def _split_shared_list(dag: Dag) -> None:
    dag.default_args["lists"] = [[], []]


def _replace_singleton(dag: Dag) -> None:
    dag.timezone = copy.copy(dag.timezone)


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
    _reorder_attributes,
    _retype_set,
    _change_sign_of_zero,
    _rename_element,
    _split_shared_list,
    _replace_singleton,
]


def _example() -> Dag:
    dag = make_dag(20, 1)
    _first(dag).template_dict["factor"] = 0.0
    dag.default_args["lists"] = [[]] * 2
    return dag


def test_equal_builds_are_the_same_graph() -> None:
    """Two DAGs of equal arguments are equal in every part, and have only shared objects in common."""
    assert_same_graph(_example(), _example(), SHARED)


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.__name__.strip("_"))
def test_a_flawed_copy_is_told_apart(flaw: Callable[[Dag], None]) -> None:
    """Each way in which a copy may differ is found."""
    flawed = _example()
    flaw(flawed)
    with pytest.raises(AssertionError):
        assert_same_graph(_example(), flawed, SHARED)


def test_a_plain_pickle_is_told_apart() -> None:
    """Plain pickle strengthens proxies and copies singletons: it must not pass."""
    dag = make_dag(5, 1)
    with pytest.raises(AssertionError):
        assert_same_graph(dag, pickle.loads(pickle.dumps(dag)), SHARED)


def test_different_seeds_make_different_graphs() -> None:
    """The seed varies the graphs of the tests."""
    with pytest.raises(AssertionError):
        assert_same_graph(make_dag(5, 1), make_dag(5, 2), SHARED)


def test_json_gives_the_same_graph_back() -> None:
    """The slow way through text loses nothing."""
    dag = make_dag(40, 3)
    assert_same_graph(dag, from_json(as_json(dag)), SHARED)


def test_time_objects_are_compared_by_value() -> None:
    """Objects of C code are compared by their reduced form."""
    assert_same_graph([SHARED_DELAY], [SHARED_DELAY * 1])
    with pytest.raises(AssertionError):
        assert_same_graph([SHARED_DELAY], [SHARED_DELAY * 2])


class Colour(enum.Enum):
    """One of each per process."""

    RED = "red"


class Name(str):
    """A string with attributes."""

    __slots__ = ("origin",)


class Ring:
    """Hashes by its address."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Ring({self.number})"


COLLIDING = (0, 32)
"""Small integers that compete for one slot of a table: the first to be added comes first."""


@pytest.mark.parametrize("kind", [set, frozenset])
def test_the_order_of_a_set_is_compared(kind: type) -> None:
    """Two equal sets that iterate differently are not the same."""
    one, other = kind(COLLIDING), kind(reversed(COLLIDING))
    assert one == other
    assert list(one) != list(other)
    assert_same_graph(one, kind(COLLIDING))
    with pytest.raises(AssertionError):
        assert_same_graph(one, other)


def test_a_set_of_what_hashes_by_its_address_has_no_order() -> None:
    """Two loads would not have the same, either; but the elements are compared."""
    one, other = {Ring(number) for number in range(30)}, {Ring(number) for number in range(30)}
    assert_same_graph(one, other)
    next(iter(other)).number = 77
    with pytest.raises(AssertionError):
        assert_same_graph(one, other)


def test_a_copied_member_of_an_enumeration_is_told_apart() -> None:
    """Code asks for it by identity."""
    copied = object.__new__(Colour)
    copied.__dict__.update(Colour.RED.__dict__)
    assert_same_graph([Colour.RED], [Colour.RED])
    with pytest.raises(AssertionError):
        assert_same_graph([Colour.RED], [copied])


def _name(text: str, origin: str) -> Name:
    name = Name(text)
    name.origin = origin  # type: ignore[attr-defined]
    return name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_name("a", "x"), _name("b", "x")),
        (_name("a", "x"), _name("a", "y")),
        (collections.deque([1]), collections.deque([2])),
        (collections.deque([1], 3), collections.deque([1], 4)),
        (collections.defaultdict(list), collections.defaultdict(dict)),
        (collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
        (re.compile("a"), re.compile("b")),
        (bytearray(b"a"), bytearray(b"b")),
        (KeyError("a"), KeyError("b")),
        (float("nan"), 0.0),
        ((1,), [1]),
        ({1: 2}, collections.OrderedDict({1: 2})),
        (1, True),
        (1, 1.0),
    ],
    ids=repr,
)
def test_a_difference_in_content_or_type_is_found(one: object, other: object) -> None:
    """Of subclasses of builtin types, and of objects written in C."""
    assert_same_graph([one], [copy.copy(one)])
    with pytest.raises(AssertionError):
        assert_same_graph([one], [other])


def test_a_weak_proxy_is_not_taken_for_its_referent() -> None:
    """It forwards everything but its type."""
    one, other = Ring(1), Ring(1)
    assert_same_graph([one, weakref.proxy(one)], [other, weakref.proxy(other)])
    with pytest.raises(AssertionError):
        assert_same_graph([one, weakref.proxy(one)], [other, other])


@pytest.mark.parametrize("part", [["a list"], {"a": "dict"}, {"a set"}, Ring(1)], ids=repr)
def test_a_part_that_both_graphs_have_is_told_apart(part: object) -> None:
    """Unless it is declared as shared, a change in one graph changes the other."""
    assert_same_graph([part], [part], [part])
    with pytest.raises(AssertionError, match="not copied"):
        assert_same_graph([part], [part])


def test_methods_of_objects_in_c_are_compared_by_what_they_are_bound_to() -> None:
    """There is a new one each time that it is asked for."""
    one, other = [1], [1]
    assert_same_graph([bytes.fromhex], [bytes.fromhex])
    with pytest.raises(AssertionError):
        assert_same_graph([one.append], [other.append])
