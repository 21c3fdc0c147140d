"""Many instances that differ in few attributes: pickled as copies of one, and not different for it."""

from __future__ import annotations

import datetime as dt
import pickletools
import sys
import weakref
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.freezing.pickle_freezer import PickleFreezer
from tests.support.lockstep import assert_same_graph

ZONE = SimpleNamespace(name="Etc/UTC")


class Task:
    """A node of a graph; its whole state is its ``__dict__``."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Graph:
    """The container of the tasks."""

    def __init__(self, *tasks: Task) -> None:
        self.tasks = dict(enumerate(tasks))


class Zone(dt.tzinfo):
    """A time zone with a reference to a task."""

    task: Task


class Reducing(Task):
    """A class that has a say in how it is pickled."""

    def __reduce__(self) -> Any:
        return Reducing, ()


class Name(str):
    """A string of another class."""

    __slots__ = ()


FREEZER = PickleFreezer([ZONE], alike=[Task])


def thawed(value: object) -> Any:
    """The value again."""
    return FREEZER.thaw(FREEZER.freeze(value).data)


def opcodes(value: object, freezer: PickleFreezer) -> int:
    """How many steps it takes to unpickle the value's frozen form."""
    pickled = zlib.decompress(freezer.freeze(value).data[14:], -15)
    return sum(1 for _ in pickletools.genops(pickled))


ATTRIBUTES = st.dictionaries(
    st.sampled_from(["name", "owner", "retries", "delay", "env", "zone", "group"]),
    st.one_of(
        st.integers(),
        st.text(max_size=3),
        st.none(),
        st.floats(allow_nan=False),
        st.lists(st.integers(), max_size=2),
        st.just(ZONE),
        st.timedeltas(),
    ),
)


@given(st.lists(ATTRIBUTES, max_size=6))
def test_whatever_the_attributes_are_the_same_graph_comes_back(layouts: list[dict[str, Any]]) -> None:
    """Any attributes in any order, equal or not: values, order, identities."""
    graph = Graph(*(Task(**attributes) for attributes in layouts))
    for task in graph.tasks.values():
        task.__dict__["graph"] = graph
    assert_same_graph(graph, thawed(graph), [ZONE])


def test_the_instances_do_not_share_what_can_change() -> None:
    """Each has a list of its own, though all lists were equal; and a dict of its own."""
    copy = thawed(Graph(Task(name="a", friends=[]), Task(name="a", friends=[])))
    copy.tasks[0].friends.append("b")
    copy.tasks[0].name = "changed"
    assert copy.tasks[1].friends == []
    assert copy.tasks[1].name == "a"


def test_what_is_one_object_stays_one_and_what_is_merely_equal_stays_two() -> None:
    """A list that two share, and two moments that are equal."""
    friends: list[str] = []
    one, other = Task(at=dt.timedelta(1), friends=friends), Task(at=dt.timedelta(1), friends=friends)
    graph = Graph(one, other)
    copy = thawed(graph)
    assert copy.tasks[0].friends is copy.tasks[1].friends
    assert copy.tasks[0].at is not copy.tasks[1].at
    assert_same_graph(graph, copy)


def by_a_zone(*tasks: Task) -> Zone:
    """A zone with a reference to a task: a template takes zones for values without references."""
    zone = Zone()  # type: ignore[abstract]
    zone.task = tasks[0]
    return zone


@pytest.mark.parametrize(
    "way", [lambda *tasks: tasks[0], lambda *tasks: list(tasks), lambda *tasks: tasks, weakref.proxy, by_a_zone]
)
def test_a_way_to_the_others_that_leads_over_the_first_is_no_harm(way: Any) -> None:
    """While the first is being pickled its template is not complete: the others must not be copies of it."""
    first, second, third = (Task(before=None, name=name, after=None) for name in ("first", "second", "third"))
    for one, other in ((first, second), (second, third), (third, first)):
        one.__dict__["before"] = way(other)
    graph = Graph(first, second, third)
    assert_same_graph(graph, thawed(graph))


def test_a_value_that_is_itself_one_of_the_instances() -> None:
    """The root may be a task, which refers to itself."""
    task = Task(name="root", others=[Task(name="other", others=None)])
    task.__dict__["itself"] = task
    assert_same_graph(task, thawed(task))


def test_a_tuple_of_instances_that_refer_to_it() -> None:
    """A tuple is known to pickle only after its items."""
    one, other = Task(name="one"), Task(name="other")
    pair = (one, other)
    for task in pair:
        task.__dict__["pair"] = pair
    assert_same_graph(pair, thawed(pair))


def test_what_instances_have_in_common_is_unpickled_once() -> None:
    """Thirty attributes, one of them different: far fewer steps than in plain pickle."""
    common = {f"attribute_{number}": f"value {number}" for number in range(30)}
    graph = Graph(*(Task(**common, number=number) for number in range(100)))
    assert opcodes(graph, PickleFreezer(alike=[Task])) < opcodes(graph, PickleFreezer()) / 3
    assert_same_graph(graph, thawed(graph))


def test_a_class_with_a_say_in_how_it_is_pickled_keeps_it() -> None:
    """It is left to pickle, as `dict_setter` has it."""
    freezer = PickleFreezer(alike=[Reducing])
    assert freezer.thaw(freezer.freeze(Reducing(name="lost")).data).__dict__ == {}


def test_dumps_have_nothing_in_common() -> None:
    """The instances of one value say nothing about those of the next."""
    for number in range(3):
        graph = Graph(Task(number=number, name="a"), Task(number=number, name="b"))
        assert_same_graph(graph, thawed(graph))


def test_names_of_attributes_are_the_processs_own_in_each_copy() -> None:
    """As those of attributes that are set one by one: a thawed value has no strings of its own for them."""
    names = [sys.intern(f"a_name_in_no_code_{number}") for number in range(20)]
    data = FREEZER.freeze(Graph(*(Task(**dict.fromkeys(names, number)) for number in range(3)))).data
    copies: list[Any] = [FREEZER.thaw(data) for _ in range(2)]
    found = [name for graph in copies for task in graph.tasks.values() for name in vars(task)]
    assert len(found) == 2 * 3 * len(names)
    assert all(sys.intern(name) is name for name in found)


def test_names_that_are_no_plain_strings_come_back() -> None:
    """A dict of attributes may have them, if it was filled by other means than attributes."""
    task = Task()
    attributes: dict[Any, Any] = vars(task)
    attributes.update({7: "number", Name("text"): "derived", "plain": 1})
    copy = thawed(Graph(task)).tasks[0]
    assert list(vars(copy)) == [7, "text", "plain"]
    assert [type(name) for name in vars(copy)] == [int, Name, str]
