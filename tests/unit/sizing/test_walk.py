"""Exact weights: the bytes from the allocators for a graph, each object once."""

from __future__ import annotations

import contextlib
import enum
import gc
import logging
import sys
import threading
import weakref
from collections import OrderedDict
from datetime import timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.sizing.walk import Weight, weigh
from tests.support.accounts import bytes_per_copy
from tests.support.graphs import SHARED, from_json, make_dag, make_json

SHARED_IDS = frozenset(map(id, SHARED))


def nbytes(value: object, **options: Any) -> int:
    """The weight in bytes of a walk that must reach the end."""
    weight = weigh(value, **options)
    assert weight.complete
    return weight.nbytes


class Plain:
    """A class with instances that may have any attribute."""

    def __init__(self, **attributes: object) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


class Colour(enum.Enum):
    """Members exist once per process."""

    RED = 1


@pytest.mark.parametrize("tasks", [20, 60, 200])
def test_a_loaded_dag_weighs_what_the_allocators_handed_out(tasks: int) -> None:
    """Within 4 per cent of the growth of pymalloc's pools and of the heap."""
    make = partial(make_dag, tasks, 3)
    assert nbytes(make(), shared=SHARED_IDS) == pytest.approx(bytes_per_copy(make, 10), rel=0.04)


@pytest.mark.parametrize("tasks", [20, 60, 200])
def test_a_thawed_dag_weighs_what_the_allocators_handed_out(tasks: int) -> None:
    """Thawing gives instances dicts that loading does not."""
    freezer = PickleFreezer(shared=SHARED)
    make = partial(freezer.thaw, freezer.freeze(make_dag(tasks, 3)).data)
    assert nbytes(make(), shared=SHARED_IDS) == pytest.approx(bytes_per_copy(make, 10), rel=0.04)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 32),  # 24, rounded to 16
        (bytes(10), 48),  # 33 + 10
        (bytes(479), 512),
        (bytes(495), 544),  # 528: over 512, so 8 bytes of malloc's come on top
        (10**6, 32),
        ([], 64),  # 40, and 16 in front
        ([None], 80),  # and a body of 8
        ([None] * 3, 96),
        ((None, None, None), 64 if sys.version_info < (3, 14) else 80),  # since 3.14 it keeps its hash
        (set(), 224),  # 200, and 16 in front; room for five is inside
    ],
)
def test_each_block_is_rounded_as_the_allocators_round(value: object, expected: int) -> None:
    """Sizes from the tables of obmalloc.c and the layouts of the objects."""
    assert nbytes(value) == expected


@pytest.mark.parametrize("value", [None, True, (), "", chr(97), b"", 0, -5, 256, ..., NotImplemented])
def test_what_the_interpreter_has_once_weighs_nothing(value: object) -> None:
    """Every graph refers to the same ones."""
    assert weigh(value) == Weight(0, 0, complete=True)


def test_an_object_counts_once_however_often_it_is_reached() -> None:
    """A second reference costs the list's slot only."""
    once = "some text that is not interned " * 3
    assert nbytes([once, once]) - nbytes([once, None]) == 0
    assert weigh([once, once]).nodes == 2


def test_cycles_end() -> None:
    """A graph that holds itself is as heavy as one that does not."""
    ring: list[object] = [None]
    plain = nbytes(ring)
    ring[0] = ring
    assert nbytes(ring) == plain
    ring.clear()


def test_depth_is_no_problem() -> None:
    """No recursion: a chain of 100,000 lists weighs 80 bytes each."""
    chain: list[Any] = []
    for _ in range(100_000):
        chain = [chain]
    assert nbytes(chain) == 100_000 * 80 + 64
    while chain:
        chain = chain.pop()


def test_str_keys_of_dicts_are_weighed() -> None:
    """The collector's view of a dict of str keys has only the values."""
    key = "a key that is not shared " * 2
    assert nbytes({key: None}) - nbytes({"": None}) == (sys.getsizeof(key) + 15) // 16 * 16


@pytest.mark.parametrize("make", [dict, OrderedDict])
def test_keys_are_weighed_once_where_they_are_values_too(make: type[dict[str, str]]) -> None:
    """Task ids are keys here, attributes there."""
    key = "a key that is not shared " * 2
    assert weigh(make({key: key})).nodes == 2


def test_attribute_names_weigh_nothing() -> None:
    """They are interned: all instances of all graphs share them."""
    short, long = Plain(a=None), Plain(**{"a" * 400: None})
    assert abs(nbytes(short) - nbytes(long)) < 100


def test_attribute_names_weigh_nothing_in_dicts_of_instances_either() -> None:
    """Unpickling gives every instance a dict."""
    short, long = Plain(a=None), Plain(**{"a" * 400: None})
    assert short.__dict__.keys() != long.__dict__.keys()
    assert abs(nbytes(short) - nbytes(long)) < 100


def test_a_dict_that_is_an_attribute_is_not_taken_for_the_instances_own() -> None:
    """Its keys weigh something."""
    short, long = Plain(a=None, b={"": None}), Plain(a=None, b={"some key " * 50: None})
    assert nbytes(long) - nbytes(short) > 400


def instances(kind: type, count: int) -> list[Any]:
    """Five hundred instances with so many attributes."""
    made = []
    for _ in range(500):
        instance = kind()
        for number in range(count):
            setattr(instance, f"a{number}", None)
        made.append(instance)
    return made


@pytest.mark.parametrize("count", [1, 3, 6, 12, 20, 40])
def test_instances_weigh_what_the_allocators_handed_out(count: int) -> None:
    """Inline values, managed dicts, shared keys, own dicts: as this version of Python does it."""
    make = partial(instances, type("Kind", (), {}), count)
    assert bytes_per_copy(make, 10) == pytest.approx(nbytes(make()), rel=0.03)


def test_some_instances_of_a_class_may_have_dicts_and_others_not() -> None:
    """Only the others hold their values themselves."""
    kind = type("Kind", (), {})

    def make() -> list[Any]:
        made = instances(kind, 12)
        for instance in made[::2]:
            assert instance.__dict__
        return made

    assert bytes_per_copy(make, 10) == pytest.approx(nbytes(make()), rel=0.02)


def test_shared_objects_weigh_nothing_and_neither_does_what_only_they_reach() -> None:
    """They are given by identity."""
    common = [bytes(1000), [bytes(1000)]]
    assert nbytes([common], shared={id(common)}) == nbytes([None])


@pytest.mark.parametrize(
    "member",
    [
        int, Plain, sys, nbytes, len, logging.getLogger("x"), threading.Lock(), threading.RLock(),
        timezone(timedelta(hours=1)), Colour.RED, nbytes.__code__, threading.current_thread(),
        threading.local(), timezone.utc,
    ],
    ids=lambda member: type(member).__name__,
)  # fmt: skip
def test_a_walk_stops_at_what_belongs_to_the_process(member: object) -> None:
    """Types, modules, functions, code, loggers, locks, time zones, enumerations."""
    assert nbytes([member]) == nbytes([None])


def test_a_walk_stops_at_further_types_and_their_subclasses() -> None:
    """Sessions and engines, for instance."""

    class Session(Plain):
        pass

    held = [Session(text=bytes(5000))]
    assert nbytes(held) > 5000
    assert nbytes(held, stop_types=(Plain,)) == nbytes([None])


def test_weak_references_are_not_followed() -> None:
    """The graph does not hold their referents; a proxy weighs itself, dead or alive."""
    target = Plain(text=bytes(5000))
    proxy = weakref.proxy(target)
    alive = nbytes([proxy, weakref.ref(target)])
    assert alive < 500
    del target
    assert nbytes([proxy]) < alive


def test_a_walk_runs_no_code_of_the_objects() -> None:
    """No attribute is read (that could create a dict), nothing is compared or hashed."""

    class Touchy:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        def __hash__(self) -> int:
            raise AssertionError("hashed")

    assert nbytes([Touchy(), {"x": Touchy()}]) > 100


def test_a_walk_gives_no_instance_a_dict() -> None:
    """Afterwards the collector sees the same referents as before."""
    instance = Plain(a=1.5, b=2.5, c=3.5)
    before = list(map(type, gc.get_referents(instance)))
    weigh(instance)
    assert list(map(type, gc.get_referents(instance))) == before


@pytest.mark.parametrize("sizeof", [lambda self: 1 / 0, lambda self: "much", lambda self: -5, lambda self: 5.5])
def test_an_object_that_cannot_tell_its_size_is_guessed(sizeof: Any) -> None:
    """The others of its type, and the rest of the graph, are weighed as ever."""
    kind = type("Kind", (), {"__sizeof__": sizeof})
    graph = [bytes(5000), kind()]
    assert 5000 < nbytes(graph) < 5500


def test_an_objects_own_size_is_believed() -> None:
    """Extension types report the memory that they hold outside of Python's."""

    class Buffer:
        def __sizeof__(self) -> int:
            return 10_000

    assert 10_000 <= nbytes(Buffer()) < 10_400  # the first instance of a class has room for 29 attributes


def test_the_limit_ends_a_walk_with_a_lower_bound() -> None:
    """The result says that it is none of the whole."""
    graph = [[float(i)] for i in range(10_000)]
    whole = weigh(graph)
    part = weigh(graph, node_limit=5000)
    assert not part.complete
    assert part.nodes < whole.nodes
    assert 0 < part.nbytes < whole.nbytes
    assert weigh(graph, node_limit=whole.nodes) == whole


def test_many_edges_are_taken_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The referents of all nodes at once could take more memory than the graph."""
    longest = 0
    real = gc.get_referents

    def spy(*objects: object) -> list[Any]:
        nonlocal longest
        longest = max(longest, len(objects))
        return real(*objects)

    monkeypatch.setattr(gc, "get_referents", spy)
    assert weigh([[None] for _ in range(20_000)]).nodes == 20_001
    assert 1 < longest < 20_000


def test_walking_twice_gives_the_same() -> None:
    """Nothing is left behind that weighs."""
    dag = make_dag(10, 1)
    assert weigh(dag, shared=SHARED_IDS) == weigh(dag, shared=SHARED_IDS)


def test_a_larger_dag_weighs_more() -> None:
    """About 53 objects and 5 KB per task."""
    small, large = (weigh(make_dag(tasks, 1), shared=SHARED_IDS) for tasks in (20, 120))
    assert 40 < (large.nodes - small.nodes) / 100 < 70
    assert 4000 < (large.nbytes - small.nbytes) / 100 < 8000


def naive(value: Any, seen: set[int]) -> tuple[int, int]:
    """The textbook's recursive walk over JSON values: a sum of getsizeof and a count."""
    if id(value) in seen:
        return 0, 0
    seen.add(id(value))
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    inner = [naive(item, seen) for item in items] if isinstance(items, list) else []
    return sys.getsizeof(value) + sum(size for size, _ in inner), 1 + sum(count for _, count in inner)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=40,
)


@given(json_values)
def test_any_json_value_weighs_its_naive_size_and_some_rounding(value: object) -> None:
    """Never less than the objects but the interpreter's own, never more than 40 bytes of rounding each."""
    size, count = naive(value, set())
    weight = weigh(value)
    assert weight.complete
    assert weight.nodes <= count
    singletons = (count - weight.nodes) * 80
    assert size - singletons <= weight.nbytes <= size + 40 * count


def test_a_graph_that_another_thread_changes_is_still_weighed() -> None:
    """Dicts and lists may grow under the walk; it neither fails nor runs endlessly."""
    graph: dict[str, Any] = {f"key{i}": [float(i)] for i in range(2000)}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            graph[f"new{number % 5000}"] = [{"x": number}]
            graph.pop(f"new{(number * 7) % 5000}", None)

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    with contextlib.ExitStack() as stack:
        stack.callback(sys.setswitchinterval, interval)
        stack.callback(thread.join)
        stack.callback(stop.set)
        sys.setswitchinterval(1e-6)
        thread.start()
        weights = [weigh(graph) for _ in range(30)]
    assert all(weight.nbytes > 2000 * 100 for weight in weights)


def test_json_and_dag_builders_agree_on_the_weight() -> None:
    """Two copies of one text weigh the same: no copy owns the shared objects."""
    import json

    text = json.dumps(make_json(15, 2))
    first, second = from_json(text), from_json(text)
    assert nbytes(first, shared=SHARED_IDS) == pytest.approx(nbytes(second, shared=SHARED_IDS), rel=0.01)
