"""Release of evicted values: free ones go at once, held ones are not touched."""

from __future__ import annotations

import collections
import contextlib
import enum
import functools
import gc
import logging
import random
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim import breaker as breaker_module
from dagcache.reclaim import census
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from dagcache.reclaim.entered_types import is_entered
from dagcache.reclaim.reference_counts import held_parts
from dagcache.reclaim.taking_apart import emptiers
from dagcache.reclaim.weak_references import WaitingReference
from tests.support.graphs import SHARED, SHARED_DEPS, Dag, Group, Task, make_dag
from tests.support.holders import mapped_dag
from tests.support.lockstep import assert_same_graph
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")


class Node:
    """An instance that keeps its few attributes inline where the interpreter can."""

    def __init__(self, *others: object) -> None:
        self.first, self.others = others[0] if others else None, others

    def method(self) -> None:
        """Something to bind."""


class Slotted:
    """An instance without a dict, and without weak references."""

    __slots__ = ("link", "unset")

    def __init__(self) -> None:
        self.link: object = None


class SlottedChild(Slotted):
    """Slots of a base class, a slot and a dict of its own."""

    __slots__ = ("__dict__", "__weakref__", "more")


class Leaf:
    """May be referred to weakly although the collector does not track it: its death shows that of a graph."""

    __slots__ = ("__weakref__",)


class Settings(dict[str, object]):
    """A dict that must not be emptied by its own means."""

    def clear(self) -> None:
        """A user's override."""
        raise AssertionError("user code was run")


class Guarded(Node):
    """An instance that does not like to be looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError("user code was run")


class Finalised(Node):
    """An instance that must see its attributes when it dies."""

    seen: list[object] = []  # noqa: RUF012 - a log shared on purpose

    def __del__(self) -> None:
        self.seen.append(self.first)


class Colour(enum.Enum):
    """Members are held by their class."""

    RED = {"a": [1]}  # noqa: RUF012 - mutable on purpose


def _alive(kind: type) -> int:
    return sum(type(item) is kind for item in gc.get_objects())


# ---- free values go at once


@pytest.mark.parametrize("shared", [SHARED, ()], ids=["singletons known", "singletons unknown"])
@pytest.mark.parametrize("tasks", [0, 1, 75])
def test_a_dag_that_nothing_holds_goes_at_once(tasks: int, shared: tuple[object, ...]) -> None:
    """Without a collection, and whole; the singletons stay."""
    cell: list[object] = [make_dag(tasks, 1)]
    assert GenericBreaker(shared).release(cell) is Outcome.FREED
    assert (_alive(Dag), _alive(Group), _alive(Task)) == (0, 0, 0)
    assert gc.collect() == 0
    assert cell == []
    assert {dep.name for dep in SHARED_DEPS} >= {"trigger", "mapped"}


def test_a_thawed_dag_goes_at_once() -> None:
    """Thawed graphs, too, and as many as there are: memory does not grow."""
    freezer, breaker = PickleFreezer(SHARED), GenericBreaker(SHARED)
    data = freezer.freeze(make_dag(20, 1)).data
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(50):
        assert breaker.release([freezer.thaw(data)]) is Outcome.FREED
    one_dag = 20 * 40
    assert sys.getallocatedblocks() - before < 2 * one_dag


def _list() -> object:
    value: list[object] = []
    value.append(value)
    return value


def _dict() -> object:
    value: dict[str, object] = {}
    value["self"] = {"inner": value}
    return value


def _instances() -> object:
    one = Node()
    one.first = Node(one, one)
    return one


def _set() -> object:
    node = Node()
    node.first = {node}
    return node


def _frozenset() -> object:
    node = Node()
    node.first = frozenset({node})
    return [node]


def _tuple_as_only_hub() -> object:
    inner: list[object] = []
    knot = (inner,)
    inner.append(knot)
    return [knot]


def _slots() -> object:
    value = Slotted()
    value.link = Slotted()
    value.link.link = value
    return value


def _slots_and_dict() -> object:
    value: Any = SlottedChild()
    value.link, value.more, value.extra = [value], {"v": value}, value
    return value


def _deque() -> object:
    value: collections.deque[object] = collections.deque()
    value.append(value)
    return value


def _ordered_dict() -> object:
    value: collections.OrderedDict[str, object] = collections.OrderedDict(a=1)
    value["self"] = value
    return value


def _defaultdict() -> object:
    value: collections.defaultdict[str, list[object]] = collections.defaultdict(list)
    value["self"].append(value)
    return value


def _dict_subclass() -> object:
    value = Settings()
    value["self"] = value
    return value


def _bound_method() -> object:
    node = Node()
    node.first = node.method
    return node


def _cached_method() -> object:
    node = Node()
    node.first = functools.lru_cache(node.method)
    node.first()
    return node


def _guarded() -> object:
    node = Guarded()
    object.__setattr__(node, "first", node)
    return node


def _weak_parts() -> object:
    node = Node()
    node.first = Node(weakref.proxy(node), weakref.ref(node), node)
    return node


def _weak_table() -> object:
    node = Node()
    table: weakref.WeakValueDictionary[str, Node] = weakref.WeakValueDictionary()
    return [node, table, [node]]


def _process_wide_parts() -> object:
    node = Node(Colour.RED, logging.getLogger("dagcache"), sys, int, make_dag, len, Node)
    node.first = node
    return node


CYCLIC = [
    _list,
    _dict,
    _instances,
    _set,
    _frozenset,
    _tuple_as_only_hub,
    _slots,
    _slots_and_dict,
    _deque,
    _ordered_dict,
    _defaultdict,
    _dict_subclass,
    _bound_method,
    _cached_method,
    _guarded,
    _weak_parts,
    _weak_table,
    _process_wide_parts,
]


@pytest.mark.parametrize("make", CYCLIC, ids=lambda make: make.__name__.strip("_"))
def test_cycles_of_every_make_are_broken(make: Callable[[], object]) -> None:
    """The collector finds nothing left; and no code of the value's classes has run."""
    breaker = GenericBreaker()
    breaker.release([make()])  # creates everything that is created once per type
    gc.collect()
    assert breaker.release([make()]) is Outcome.FREED
    assert gc.collect() == 0


@pytest.mark.parametrize("value", ["text", b"bytes", 5, None, 1.5, (), ("a", ("b",)), [1, [2]], {"a": "b"}, {1}])
def test_values_without_cycles_just_go(value: object) -> None:
    """Nothing to break."""
    leaf = Leaf()
    dead = weakref.ref(leaf)
    cell: list[object] = [(value, leaf)]
    del leaf
    assert GenericBreaker().release(cell) is Outcome.FREED
    assert cell == []
    assert dead() is None


def test_values_that_the_collector_does_not_track_are_not_even_walked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Strings and bytes cost next to nothing."""
    monkeypatch.setattr(census.Census, "parts", lambda *_: pytest.fail("walked"))
    assert GenericBreaker().release(["text" * 1000]) is Outcome.FREED


# ---- held values are not touched


def _hold_in_closure(dag: Dag) -> object:
    task = _first_task(dag)
    return lambda: task


def _hold_in_generator(dag: Dag) -> object:
    held = (task for task in dag.task_dict.values())
    next(held)
    return held


def _first_task(dag: Dag) -> Task:
    return next(iter(dag.task_dict.values()))


def _inner_group(dag: Dag) -> Group:
    return next(child for child in dag.task_group.children.values() if isinstance(child, Group))


HOLDS: dict[str, Callable[[Dag], object]] = {
    "root": lambda dag: dag,
    "task": _first_task,
    "task_dict": lambda dag: dag.task_dict,
    "iterator": lambda dag: iter(dag.task_dict.values()),
    "root group": lambda dag: dag.task_group,
    "inner group": _inner_group,
    "children": lambda dag: dag.task_group.children,
    "list of tasks": lambda dag: list(dag.task_dict.values()),
    "attributes": lambda dag: vars(_first_task(dag)),
    "closure": _hold_in_closure,
    "generator": _hold_in_generator,
    "partial": lambda dag: functools.partial(print, _first_task(dag)),
    "bound method": lambda dag: dag.task_dict.get,
    "weak reference": lambda dag: weakref.ref(_first_task(dag)),
    "weak reference to a group": lambda dag: weakref.ref(_inner_group(dag)),
    "a proxy of its own": lambda dag: weakref.proxy(dag),
    "one of the value's proxies": lambda dag: _first_task(dag).task_group,
    "weak set": lambda dag: weakref.WeakSet([dag]),
}


@pytest.mark.parametrize("shared", [SHARED, ()], ids=["singletons known", "singletons unknown"])
@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_a_dag_of_which_a_part_is_held_is_left_alone(hold: Callable[[Dag], object], shared: tuple[object, ...]) -> None:
    """For every part that leads back to the DAG, and every way of holding it."""
    dag = make_dag(20, 1)
    held = hold(dag)
    cell: list[object] = [dag]
    del dag
    assert GenericBreaker(shared).release(cell) is Outcome.HELD
    assert [type(item) for item in cell] == [Dag]
    cell.clear()
    survivors = [item for item in gc.get_objects() if type(item) is Dag]
    assert len(survivors) == 1
    assert_same_graph(survivors[0], make_dag(20, 1), SHARED)
    assert held is not None


def test_a_dag_that_a_thread_uses_is_left_alone() -> None:
    """A reference on another thread's stack is as good as any."""
    box: list[Any] = [make_dag(20, 1)]
    taken, go_on, names = threading.Event(), threading.Event(), list[str]()

    def use() -> None:
        task = _first_task(box[0])
        taken.set()
        assert go_on.wait(PATIENCE)
        names.extend(task.dag.task_dict)

    thread = threading.Thread(target=use)
    thread.start()
    assert taken.wait(PATIENCE)
    assert GenericBreaker(SHARED).release([box.pop()]) is Outcome.HELD
    go_on.set()
    thread.join(PATIENCE)
    assert names == list(make_dag(20, 1).task_dict)


def test_a_held_part_that_does_not_lead_back_stays_whole() -> None:
    """The rest goes; the held part keeps everything that it reaches."""
    dag = make_dag(20, 1)
    task = _first_task(dag)
    held = [task.outlets, task.params, task.template_dict, dag.params]
    del task
    cell: list[object] = [dag]
    del dag
    assert GenericBreaker(SHARED).release(cell) is Outcome.FREED
    assert (_alive(Dag), _alive(Task)) == (0, 0)
    again = make_dag(20, 1)
    task = _first_task(again)
    assert_same_graph([task.outlets, task.params, task.template_dict, again.params], held, SHARED)


@pytest.mark.soak
def test_threads_that_grab_parts_all_the_time_never_see_a_broken_one() -> None:
    """However the grabbing and the letting go interleave."""
    _grab_and_release(rounds=3000)


def test_threads_that_grab_parts_never_see_a_broken_one() -> None:
    """However the grabbing and the letting go interleave."""
    _grab_and_release(rounds=60)


def _grab_and_release(rounds: int) -> None:
    freezer, breaker = PickleFreezer(SHARED), GenericBreaker(SHARED)
    data = freezer.freeze(make_dag(4, 1)).data
    expected = list(make_dag(4, 1).task_dict)
    box: list[Any] = []
    broken: list[object] = []
    done = threading.Event()

    def grab() -> None:
        while not done.is_set():
            try:
                task = _first_task(box[0])
            except IndexError:
                continue
            names = list(task.dag.task_dict)
            if names != expected:
                broken.append(names)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=grab)
    try:
        thread.start()
        for _ in range(rounds):
            box.append(freezer.thaw(data))
            breaker.release([box.pop()])
    finally:
        done.set()
        thread.join(PATIENCE)
        sys.setswitchinterval(interval)
    assert broken == []


def _random_graph(seed: int, size: int) -> list[Any]:
    """Nodes of several kinds with random references among them."""
    rng = random.Random(seed)
    kinds: list[Callable[[], Any]] = [list, dict, Node, Slotted, SlottedChild, set]
    nodes = [rng.choice(kinds)() for _ in range(size)]
    for node in nodes:
        for _ in range(rng.randrange(4)):
            _link(node, rng.choice(nodes), rng)
    return nodes


def _link(node: Any, to: Any, rng: random.Random) -> None:
    wrapped = rng.choice([to, (to,), functools.partial(print, to)])
    if isinstance(node, list):
        node.append(wrapped)
    elif isinstance(node, dict):
        node[rng.randrange(10)] = wrapped
    elif isinstance(node, set):
        node.add(functools.partial(print, to))
    elif isinstance(node, Slotted):
        node.link = wrapped
    else:
        setattr(node, rng.choice("abc"), wrapped)


def _reached(start: list[object]) -> dict[int, object]:
    found: dict[int, object] = {}
    pending = start.copy()
    while pending:
        item = pending.pop()
        if id(item) not in found and not isinstance(item, type):
            found[id(item)] = item
            pending += gc.get_referents(item)
    return found


def _shape(found: dict[int, object]) -> list[tuple[int, list[int]]]:
    return [(key, list(map(id, gc.get_referents(item)))) for key, item in found.items()]


_SEASONED = GenericBreaker()
"""It has learned from all graphs before which parts it may leave out."""


@pytest.mark.parametrize("make_breaker", [GenericBreaker, lambda: _SEASONED], ids=["new", "seasoned"])
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 25), holds=st.integers(0, 2))
def test_any_graph_is_judged_as_the_collector_would(
    make_breaker: Callable[[], GenericBreaker], seed: int, size: int, holds: int
) -> None:
    """FREED if and only if nothing held leads to the value; the held parts keep their every reference."""
    gc.disable()
    gc.freeze()
    nodes = _random_graph(seed, size)
    held = random.Random(seed + 1).sample(nodes, min(holds, size))
    found = _reached(held)
    is_held = id(nodes[0]) in found and gc.is_tracked(nodes[0])
    expected = Outcome.HELD if is_held else Outcome.FREED
    before = _shape(found)
    cell: list[object] = [nodes[0]]
    del nodes, found
    gc.collect()  # nodes that lead to the value and that nothing holds
    assert make_breaker().release(cell) is expected
    cell.clear()
    assert _shape(_reached(held)) == before
    if expected is Outcome.FREED and make_breaker is GenericBreaker:  # a seasoned one may overlook a cycle, for a while
        assert gc.collect() == 0


def test_cycles_in_what_was_left_out_are_not_left_out_for_long() -> None:
    """It is found out sooner or later that there are some; until then they are the collector's."""
    breaker = GenericBreaker()

    def ring(number: int) -> object:
        node = Node()
        node.first = _list() if number > 40 else []
        value: list[object] = [node, node]
        value.append(value)
        return value

    found = []
    for number in range(500):
        assert breaker.release([ring(number)]) is Outcome.FREED
        found.append(gc.collect())
    assert sum(map(bool, found[:41])) == 0
    assert any(found[41:70])
    assert not any(found[130:])


def test_a_holder_among_what_was_left_out_is_not_taken_for_an_outside_one() -> None:
    """It goes with the rest."""
    breaker = GenericBreaker()
    for is_cyclic in (False, True):
        for _ in range(2):
            node = Node()
            node.first = frozenset({node}) if is_cyclic else []
            cell: list[object] = [[node, node]]
            del node
            assert breaker.release(cell) is Outcome.FREED
            assert gc.collect() == 0


def test_a_dag_is_freed_by_a_breaker_that_has_learned_from_simpler_ones() -> None:
    """It has learned to leave out the attributes of tasks; here these lead to other tasks."""
    breaker = GenericBreaker(SHARED)
    for make in (make_dag, make_dag, mapped_dag, mapped_dag, make_dag):
        assert breaker.release([make(20, 1)]) is Outcome.FREED
        assert gc.collect() == 0


def test_attributes_that_somebody_holds_stay_although_their_owner_goes() -> None:
    """A part that does not lead back keeps no other part alive, and loses nothing."""
    node = Node()
    node.first = "first"
    value: list[object] = [node, node]
    value.append(value)
    attributes = vars(node)
    cell: list[object] = [value]
    del node, value
    GenericBreaker().release(cell)
    assert attributes == {"first": "first", "others": ()}


def _hold_by_generator(node: Node) -> object:
    return (item for item in [node])


@pytest.mark.parametrize(
    "hold",
    [_hold_by_generator, lambda node: map(str, [node]), lambda node: contextlib.suppress(node.method)],
    ids=["generator", "iterator", "instance"],
)
def test_parts_of_unknown_make_count_as_holders(hold: Callable[[Node], object]) -> None:
    """The references that C code reports are unknown: its referents are left to the collector."""
    node = Node()
    node.first = hold(node)
    known = isinstance(node.first, contextlib.suppress)
    cell: list[object] = [node]
    del node
    assert GenericBreaker().release(cell) is (Outcome.FREED if known else Outcome.HELD)


def test_a_census_in_which_the_collector_may_have_run_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread has switched it on; the value is tried again later."""
    monkeypatch.setattr(breaker_module, "gc_paused", contextlib.nullcontext)
    cell = [_list()]
    gc.enable()
    assert GenericBreaker().release(cell) is Outcome.HELD
    gc.disable()
    assert len(cell) == 1
    assert GenericBreaker().release(cell) is Outcome.FREED


def test_waiting_references_are_no_holders() -> None:
    """Only the cache uses them."""
    node = Node()
    node.first = node
    waiting = WaitingReference(node)
    cell: list[object] = [node]
    del node
    assert GenericBreaker().release(cell) is Outcome.FREED
    assert waiting() is None


def test_instances_that_are_left_alone_get_no_dict() -> None:
    """A census must not make a held value heavier."""
    node = Node()
    node.first = [node]
    before = list(map(type, gc.get_referents(node)))
    assert GenericBreaker().release([node.first]) is Outcome.HELD
    assert list(map(type, gc.get_referents(node))) == before


# ---- values that are skipped


def test_a_value_with_finalisers_is_skipped_whole() -> None:
    """A finaliser may look at the rest of the value, so it must find all of it."""
    node = Finalised()
    node.first = {"me": node}
    cell: list[object] = [[node, [node]]]
    del node
    Finalised.seen.clear()
    assert GenericBreaker().release(cell) is Outcome.SKIPPED
    assert Finalised.seen == []
    gc.collect()
    assert [list(seen) for seen in Finalised.seen] == [["me"]]  # type: ignore[call-overload]
    Finalised.seen.clear()
    gc.collect()


def test_a_value_of_too_many_parts_is_skipped_whole() -> None:
    """The limit bounds the time; the value stays intact for the collector."""
    at, over = GenericBreaker(node_limit=101), GenericBreaker(node_limit=100)
    value: list[object] = [[number] for number in range(100)]
    value.append(value)
    assert over.release([value]) is Outcome.SKIPPED
    assert len(value) == 101
    cell: list[object] = [value]
    del value
    assert at.release(cell) is Outcome.FREED
    assert gc.collect() == 0


def test_a_cycle_that_cannot_be_broken_is_not_reported_as_freed() -> None:
    """A cycle wholly of C objects that cannot be emptied is left to the collector."""
    knot: Any = functools.partial(print)
    knot.__setstate__((print, (knot,), {}, {}))
    cell: list[object] = [[knot]]
    del knot
    assert GenericBreaker().release(cell) is Outcome.SKIPPED
    assert gc.collect() > 0


def test_without_exact_counts_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on free-threaded interpreters."""
    monkeypatch.setattr(breaker_module, "EXACT_COUNTS", False)
    assert GenericBreaker().release([_list()]) is Outcome.SKIPPED
    assert GenericBreaker().release(["text"]) is Outcome.FREED


@pytest.mark.parametrize(
    "stage", ["census.held_parts", "census._unreachable", "breaker.take_apart", "taking_apart.is_finalised"]
)
def test_an_error_of_our_own_is_logged_and_raises_nothing(
    stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An eviction must not fail a lookup."""
    monkeypatch.setattr(f"dagcache.reclaim.{stage}", None)
    held = [1]
    with caplog.at_level(logging.ERROR, "dagcache"):
        assert GenericBreaker().release([[held, _list()]]) is Outcome.SKIPPED
    (record,) = caplog.records
    assert "left to the collector" in record.message
    assert "Error" in record.getMessage()
    assert held == [1]


def test_the_collector_is_paused_and_then_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its finalisers must not run between the counting and the breaking."""
    seen: list[bool] = []
    judge = held_parts

    def judge_and_note(parts: tuple[object, ...]) -> list[object] | None:
        seen.append(gc.isenabled())
        return judge(parts)

    monkeypatch.setattr(census, "held_parts", judge_and_note)
    GenericBreaker().release([_list()])
    assert not gc.isenabled()
    gc.enable()
    GenericBreaker().release([_list()])
    assert gc.isenabled()
    assert seen == [False, False]


def test_types_are_remembered_within_bounds() -> None:
    """A program that makes classes as it goes can lose them again."""
    breaker = GenericBreaker()
    for number in range(1_200):
        breaker.release([[type(f"Made{number}", (), {})()]])
    assert len(is_entered) <= 1_000
    assert len(emptiers) <= 1_000


class Words:
    """Leads to no cycle: such classes are learned and left out."""

    def __init__(self) -> None:
        self.words = ["a", "b"]
        self.more = {"k": ["v"]}


class Step:
    """A task."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.words = Words()


class Plan:
    """A value with parts that all lead back to it."""

    def __init__(self, steps: int = 5, extra: Callable[[Plan], object] = lambda _: None) -> None:
        self.steps = {number: Step(self) for number in range(steps)}
        self.extra = extra(self)


class Folder:
    """A part with a finaliser that needs its attributes."""

    errors: ClassVar[list[BaseException]] = []

    def __init__(self, plan: Plan) -> None:
        self.path = "path"
        self.plan = plan

    def __del__(self) -> None:
        try:
            assert self.path == "path"
        except BaseException as error:
            self.errors.append(error)


def test_a_value_with_a_finaliser_is_never_taken_apart() -> None:
    """Not the first one, and not those of a class that is known by then."""
    breaker = GenericBreaker()
    Folder.errors.clear()
    for _ in range(20):
        assert breaker.release([Plan()]) is Outcome.FREED
        assert breaker.release([Plan(extra=Folder)]) is Outcome.SKIPPED
    gc.collect()
    assert not Folder.errors


class Holding:
    """A value with one part and a reference to itself."""

    def __init__(self, part: object) -> None:
        self.part = part
        self.me = self


class Watcher:
    """Notes the end of another part."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.log = "log"

    def ended(self, _: object) -> None:
        """A callback of a weak reference; an error in it could only be printed."""
        self.notes.append(getattr(self, "log", "emptied"))


def test_no_callback_of_a_weak_reference_finds_an_emptied_part() -> None:
    """The collector clears references of garbage without calling them."""
    breaker, notes = GenericBreaker(), list[str]()
    for _ in range(50):
        watcher, watched = Watcher(notes), Holding(None)
        callback = watcher.ended
        value = Holding((watcher, watched, (weakref.ref(watched, callback), callback)))
        cell: list[object] = [value]
        del watcher, watched, callback, value
        assert breaker.release(cell) is Outcome.SKIPPED
    gc.collect()
    assert notes == []


def test_a_deep_chain_that_cannot_be_emptied_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each of its levels, which would take minutes."""
    depth = 2_000
    chain: Any = ([],)
    for _ in range(depth):
        chain = (chain,)
    cell: list[object] = [Holding(chain)]
    del chain
    looks: list[int] = []
    referents = gc.get_referents

    def counted(*parts: object) -> list[object]:
        looks.append(len(parts))
        return referents(*parts)

    with monkeypatch.context() as patch:
        patch.setattr(gc, "get_referents", counted)
        assert GenericBreaker().release(cell) is Outcome.FREED
    assert sum(looks) < 20 * depth


def test_a_value_of_a_known_type_that_is_too_large_costs_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """It is left to the collector, as one of an unknown type."""
    breaker = GenericBreaker(node_limit=500)
    outcomes = [breaker.release([Plan(steps)]) for steps in (5, 5, 5, 5, 2_000, 2_000, 2_000)]
    assert outcomes == [Outcome.FREED] * 4 + [Outcome.SKIPPED] * 3
    assert not caplog.records
    gc.collect()


@pytest.mark.parametrize("how", ["an attribute", "its own attribute", "shared", "beside an odd class"])
def test_a_held_attribute_dict_keeps_its_instance_however_else_it_is_referred_to(how: str) -> None:
    """Also where the dict borrows its values from the instance."""
    a, b = Holding(None), Holding(None)
    a.part, b.part = b, "there"
    held = vars(b)
    if how == "an attribute":
        a.names = held  # type: ignore[attr-defined]
    elif how == "its own attribute":
        b.names = held  # type: ignore[attr-defined]
    elif how == "shared":
        a.__dict__ = held
    else:
        a.odd = Odd()  # type: ignore[attr-defined]
    cell: list[object] = [b if how == "shared" else a]
    del a, b
    for _ in range(3):
        GenericBreaker().release(cell)
    assert held["part"] == "there"
    assert held["me"].part == "there"


class Odd:
    """A class that has put something else in the place of its ``__dict__``."""

    @property
    def __dict__(self) -> Any:
        return {}

    @__dict__.setter
    def __dict__(self, _: Any) -> None:
        raise AttributeError
