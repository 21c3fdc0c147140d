"""Walks against the allocators' own accounts, for every way in which instances hold their attributes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.reducers import plain_reducer
from dagcache.sizing.walk import weigh
from tests.support.accounts import bytes_per_copy

_INSTANCES = 400

Filled = Callable[[type, int], Any]


def plain(kind: type, count: int) -> Any:
    """Attributes set one by one: values without a dict, from 3.11 on."""
    instance = kind()
    for number in range(count):
        setattr(instance, f"a{number}", float(number))
    return instance


def materialised(kind: type, count: int) -> Any:
    """The dict was read once, as pickle, copy and debuggers read it."""
    instance = plain(kind, count)
    assert len(instance.__dict__) == count
    return instance


def updated(kind: type, count: int) -> Any:
    """The dict was filled at once, as pickle's own way of unpickling fills it."""
    instance = kind()
    instance.__dict__.update(plain(kind, count).__dict__)
    return instance


def assigned(kind: type, count: int) -> Any:
    """The dict was made elsewhere, as a thaw by a reducer makes it."""
    instance = kind()
    instance.__dict__ = dict(plain(kind, count).__dict__)
    return instance


def dict_of_dicts(kind: type, count: int) -> Any:
    """The only attribute is a dict, which is not the instance's own."""
    instance = kind()
    instance.items = {f"{count} key {number}" * 2: None for number in range(count)}
    return instance


def with_slots(count: int, *more: str) -> type:
    """A class with so many slots."""
    return type("Slotted", (), {"__slots__": tuple(f"a{number}" for number in range(count)) + more})


def many(filled: Filled, kind: type, count: int) -> list[Any]:
    """So many that a class's first instances, which get more room than the later ones, do not matter."""
    return [filled(kind, count) for _ in range(_INSTANCES)]


def assert_weighed(make: Callable[[], object]) -> None:
    """Within 2 per cent of the growth of pymalloc's pools and of the heap."""
    for _ in range(2):
        make()
    assert weigh(make()).nbytes == pytest.approx(bytes_per_copy(make, 10), rel=0.02)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 12, 20, 29, 31, 40])
@pytest.mark.parametrize("filled", [plain, materialised, updated, assigned, dict_of_dicts])
def test_instances_weigh_what_the_allocators_handed_out(filled: Filled, count: int) -> None:
    """Inline values, dicts of their own, dicts over inline values, split and combined tables."""
    assert_weighed(partial(many, filled, type("Kind", (), {}), count))


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("filled", [plain, materialised, assigned])
def test_instances_with_weak_references_to_them_weigh_no_more(filled: Filled, count: int) -> None:
    """Most classes have room for them."""
    assert_weighed(partial(many, filled, type("Kind", (Exception,), {}), count))


@pytest.mark.parametrize("count", [1, 3, 12])
def test_slots_are_part_of_the_instance(count: int) -> None:
    """No dict, no values."""
    assert_weighed(partial(many, plain, with_slots(count), count))


@pytest.mark.parametrize("read", [False, True])
def test_slots_and_a_dict_are_both_weighed(read: bool) -> None:
    """The dict's keys are attribute names, though other referents stand before it."""

    def make_one(kind: type, count: int) -> Any:
        instance = plain(kind, count)
        instance.other = instance.another = None
        assert not read or len(instance.__dict__) == 2
        return instance

    assert_weighed(partial(many, make_one, with_slots(3, "__dict__"), 3))


class Task:
    """An instance that a reducer takes apart and gives a dict."""

    def __init__(self, number: int, attributes: int) -> None:
        self.task_id = f"task {number} of a graph"
        for index in range(attributes):
            setattr(self, f"a{index}", float(number * index))


def graph(tasks: int, attributes: int) -> list[Task]:
    """As many tasks."""
    return [Task(number, attributes) for number in range(tasks)]


@pytest.mark.parametrize("attributes", [2, 8, 20, 35])
@pytest.mark.parametrize("with_reducer", [True, False])
def test_thawed_instances_weigh_what_the_allocators_handed_out(attributes: int, with_reducer: bool) -> None:
    """Each attribute is set, by this package's reducer and in pickle's own way."""
    reduce = plain_reducer(Task)
    assert reduce is not None
    freezer = PickleFreezer(reducers={Task: reduce}) if with_reducer else PickleFreezer()
    assert_weighed(partial(freezer.thaw, freezer.freeze(graph(_INSTANCES, attributes)).data))


@pytest.mark.parametrize("attributes", [2, 8, 20, 35])
def test_instances_thawed_from_templates_weigh_what_the_allocators_handed_out(attributes: int) -> None:
    """Their dicts are copies of one."""
    freezer = PickleFreezer(alike=[Task])
    assert_weighed(partial(freezer.thaw, freezer.freeze(graph(_INSTANCES, attributes)).data))


@pytest.mark.parametrize("attributes", [8, 35])
def test_freezing_an_instance_adds_what_it_adds(attributes: int) -> None:
    """Pickling reads the dict, which from 3.13 on the collector does not show."""
    freezer = PickleFreezer()

    def make() -> list[Task]:
        made = graph(_INSTANCES, attributes)
        freezer.freeze(made)
        return made

    assert_weighed(make)
