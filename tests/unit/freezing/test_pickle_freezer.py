"""Freezing and thawing: exact copies, refusals, damage, and the pause of the collector."""

from __future__ import annotations

import array
import copyreg
import functools
import gc
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.errors import ConfigError, FreezeError, ThawError
from dagcache.freezing.pickle_freezer import Frozen, PickleFreezer
from dagcache.freezing.restricted import AllowList
from dagcache.reclaim.gc_pause import SELDOM, gc_paused, gc_relaxed
from tests.support.builds import with_global_lock
from tests.support.graphs import SHARED, SHARED_DELAY, SHARED_DEPS, Group, make_dag
from tests.support.lockstep import assert_same_graph
from tests.support.patience import PATIENCE


class Node:
    """A plain object that may be referred to weakly."""

    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class CallableNode(Node):
    """Its proxies are of another type."""

    def __call__(self) -> None:
        """Nothing."""


class Failing:
    """Raises an error of choice while it is frozen, or while it is thawed."""

    def __init__(self, error: BaseException, when: str) -> None:
        self.error = error
        self.when = when

    def __getstate__(self) -> tuple[BaseException, str]:
        if self.when == "freeze":
            raise self.error
        return self.error, self.when

    def __setstate__(self, state: tuple[BaseException, str]) -> None:
        if state[1] == "thaw":
            raise state[0]


class Coordinate(complex):
    """A type that copyreg gets to know late."""


@pytest.fixture(autouse=True)
def _collector_on() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


# ---- copies


@pytest.mark.parametrize("tasks", [0, 1, 16, 75])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_thawed_dag_is_the_same_graph(tasks: int, seed: int) -> None:
    """Types, values, order, identities, proxies and singletons survive."""
    freezer = PickleFreezer(SHARED)
    dag = make_dag(tasks, seed)
    assert_same_graph(dag, freezer.thaw(freezer.freeze(dag).data), SHARED)


def test_a_thawed_dag_freezes_to_the_same_graph_again() -> None:
    """A copy of a copy is as good."""
    freezer = PickleFreezer(SHARED)
    dag = make_dag(16, 1)
    once = freezer.thaw(freezer.freeze(dag).data)
    assert_same_graph(dag, freezer.thaw(freezer.freeze(once).data), SHARED)


def test_each_thaw_gives_a_new_graph() -> None:
    freezer = PickleFreezer(SHARED)
    data = freezer.freeze(make_dag(3, 1)).data
    one, other = freezer.thaw(data), freezer.thaw(data)
    assert_same_graph(one, other, SHARED)
    assert one is not other


@pytest.mark.parametrize("count", [1, 255, 256, 257, 3000])
def test_shared_objects_come_back_as_themselves(count: int) -> None:
    """However many are shared, each keeps its identity, among others that are copied."""
    shared = [Node(number=number) for number in range(count)]
    freezer = PickleFreezer(shared)
    value = {"own": [Node(), "text"], "last": shared[-1], "all": list(shared), "again": shared[0]}
    assert_same_graph(value, freezer.thaw(freezer.freeze(value).data), shared)


def test_a_shared_object_may_be_named_twice() -> None:
    """Duplicates in the list of shared objects do no harm."""
    node = Node()
    freezer = PickleFreezer([node, SHARED_DEPS, node])
    thawed: Any = freezer.thaw(freezer.freeze([node, SHARED_DEPS]).data)
    assert thawed[0] is node
    assert thawed[1] is SHARED_DEPS


def test_a_value_that_is_itself_shared_thaws_to_itself() -> None:
    """The root may be a singleton too."""
    freezer = PickleFreezer(SHARED)
    assert freezer.thaw(freezer.freeze(SHARED_DEPS).data) is SHARED_DEPS


@pytest.mark.parametrize("kind", [Node, CallableNode])
def test_a_weak_proxy_stays_a_weak_proxy(kind: type[Node]) -> None:
    """It neither keeps its referent alive, nor refers to the original's."""
    freezer = PickleFreezer()
    target = kind(name="target")
    thawed: Any = freezer.thaw(freezer.freeze([weakref.proxy(target), target]).data)
    proxy, copied = thawed
    assert type(proxy) in (weakref.ProxyType, weakref.CallableProxyType)
    assert proxy.__repr__.__self__ is copied
    thawed.clear()
    del copied
    with pytest.raises(ReferenceError):
        _ = proxy.name


def test_a_weak_proxy_to_a_shared_object_refers_to_it() -> None:
    """The referent lives on outside of the value, so the value need not hold it."""
    target = Node(name="target")
    freezer = PickleFreezer([target])
    thawed: Any = freezer.thaw(freezer.freeze([weakref.proxy(target)]).data)
    assert thawed[0].__repr__.__self__ is target


def test_a_proxy_is_good_if_its_referent_lies_behind_other_types() -> None:
    """The referent is found wherever in the value it is held."""
    freezer = PickleFreezer()
    target = Node(name="target")
    value = [weakref.proxy(target), Failing(Exception(target), "never")]
    assert freezer.freeze(value).data


def test_reducers_pickle_exactly_their_type() -> None:
    """A reducer replaces how instances of its type are pickled, subclasses excluded."""
    freezer = PickleFreezer(reducers={Node: lambda node: (dict, ([("was", node.name)],))})
    thawed: Any = freezer.thaw(freezer.freeze([Node(name="a"), CallableNode(name="b")]).data)
    assert thawed[0] == {"was": "a"}
    assert thawed[1].name == "b"


def test_copyreg_is_consulted_as_it_is_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library imported after the freezer was made may register its types."""
    freezer = PickleFreezer()
    monkeypatch.setitem(copyreg.dispatch_table, Coordinate, lambda _: (str, ("registered",)))
    assert freezer.thaw(freezer.freeze(Coordinate(1)).data) == "registered"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(PLAIN)
def test_plain_values_come_back(value: object) -> None:
    """Small and odd pickles are framed rightly behind the shared objects."""
    freezer = PickleFreezer(SHARED)
    assert_same_graph(value, freezer.thaw(freezer.freeze(value).data), SHARED)


def test_features_are_the_length_and_the_number_of_memoized_objects() -> None:
    """The sizer learns from them, so their meaning is fixed; it does not depend on the shared objects."""
    items = [[n] for n in range(10)]
    plain, sharing = PickleFreezer().freeze(items), PickleFreezer(SHARED).freeze(items)
    assert plain.features == sharing.features
    assert plain.features[1] == 11
    assert plain.features[0] > 20


def test_threads_share_a_freezer() -> None:
    """Concurrent calls do not meet."""
    freezer = PickleFreezer(SHARED)
    dags = [make_dag(10, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        copies = list(pool.map(lambda dag: freezer.thaw(freezer.freeze(dag).data), dags * 3))
    for dag, thawed in zip(dags * 3, copies, strict=True):
        assert_same_graph(dag, thawed, SHARED)


# ---- refusals


def _nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def _dead_proxy() -> object:
    return weakref.proxy(Node())


ELSEWHERE = Node(name="held by the module, not by the value")


class Deceptive(Node):
    """Says that its method belongs to another object."""

    __sizeof__ = ELSEWHERE.__sizeof__


DECEPTIVE = Deceptive()

UNFREEZABLE: dict[str, Callable[[], object]] = {
    "lock": threading.Lock,
    "lambda": lambda: lambda: None,
    "generator": lambda: (number for number in range(3)),
    "local class": lambda: type("Local", (), {})(),
    "too deep": lambda: _nested(200_000),
    "dead proxy": _dead_proxy,
    "dangling proxy": lambda: weakref.proxy(ELSEWHERE),
    "proxy with callback": lambda: [weakref.proxy(ELSEWHERE, print), ELSEWHERE],
    "proxy to what hides": lambda: [weakref.proxy(DECEPTIVE), DECEPTIVE, ELSEWHERE],
    "error of its own": lambda: Failing(KeyError("own"), "freeze"),
}


@pytest.mark.parametrize("make", UNFREEZABLE.values(), ids=UNFREEZABLE)
def test_what_has_no_frozen_form_is_refused(make: Callable[[], object]) -> None:
    """FreezeError, never another error and never a copy that is not one."""
    value = [make()]
    with pytest.raises(FreezeError, match="list cannot be frozen"):
        PickleFreezer().freeze(value)


def test_a_refusal_names_its_cause() -> None:
    """The original error is chained."""
    with pytest.raises(FreezeError) as caught:
        PickleFreezer().freeze(Failing(KeyError("own"), "freeze"))
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_while_thawing_is_a_thaw_error() -> None:
    """Code that the value's classes run on thawing may fail."""
    freezer = PickleFreezer()
    freezer.freeze(Failing(KeyError("own"), "never"))
    with pytest.raises(ThawError) as caught:
        freezer.thaw(freezer.freeze(Failing(KeyError("own"), "thaw")).data)
    assert isinstance(caught.value.__cause__, KeyError)


class Delegating:
    """Forwards missing attributes to the wrapped object, as many wrappers do; without that it recurses endlessly."""

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_what_freezes_and_does_not_thaw_is_refused() -> None:
    """It is tried before it is relied on."""
    freezer = PickleFreezer()
    with pytest.raises(FreezeError, match="cannot be thawed again") as caught:
        freezer.freeze([Delegating("inner")])
    assert caught.value.kind is Delegating
    assert isinstance(caught.value.__cause__, RecursionError)


def test_a_class_that_never_thaws_is_not_tried_for_ever() -> None:
    """Twice; and it is refused from then on."""
    freezer = PickleFreezer()
    causes = []
    for _ in range(4):
        with pytest.raises(FreezeError) as caught:
            freezer.freeze([Delegating("inner")])
        causes.append(type(caught.value.__cause__))
    assert causes == [RecursionError, RecursionError, type(None), type(None)]


def test_classes_that_met_one_that_never_thaws_are_not_blamed_for_it() -> None:
    """They may be in other values, which come back."""
    freezer = PickleFreezer()
    for _ in range(3):
        with pytest.raises(FreezeError):
            freezer.freeze([Node(), Delegating("inner")])
    assert freezer.freeze([Node()]).data


class Thawing:
    """Notes that it is thawed."""

    times = 0

    def __setstate__(self, state: object) -> None:
        type(self).times += 1

    def __getstate__(self) -> object:
        return "something"


def test_only_the_first_value_with_a_class_is_thawed_for_a_test() -> None:
    """It costs a thaw for each class, not for each value."""
    freezer = PickleFreezer()
    Thawing.times = 0
    for _ in range(3):
        freezer.freeze([Thawing()])
    assert Thawing.times == 1
    freezer.freeze([Thawing(), Node()])
    assert Thawing.times == 2


def only_nodes(kind: type) -> None:
    """A rule."""
    if kind is not Node:
        raise FreezeError("not a node", kind)


def test_a_rule_says_which_classes_have_a_frozen_form() -> None:
    """It is called for each class without an opcode of pickle, at any depth, registered classes included."""
    freezer = PickleFreezer(rule=only_nodes)
    assert freezer.freeze([Node(a={"b": (1, "c", Node())}), {1, 2}, print, Node, Hashable, len]).data
    for foreign in (CallableNode(), functools.partial(print), SHARED_DELAY, CallableNode().__call__):
        with pytest.raises(FreezeError, match="not a node"):
            freezer.freeze([Node(a=[foreign])])


def test_a_rule_is_not_asked_about_the_methods_of_classes_in_c() -> None:
    """Those of newer classes have a type of their own."""
    found = array.array("i", [1, 2])
    freezer = PickleFreezer(rule=only_nodes, reducers={array.array: lambda it: (array.array, ("i", it.tolist()))})
    thawed: Any = freezer.thaw(freezer.freeze([found.extend, found.count]).data)
    extend, count = thawed
    assert type(extend) is not type(count)
    extend([2])
    assert count(2) == 2


def test_a_rule_may_tell_how_to_pickle_a_class() -> None:
    """As ``reducers`` do for classes that are known beforehand."""
    freezer = PickleFreezer(rule=lambda kind: (lambda node: (CallableNode, ())) if kind is Node else None)
    assert type(freezer.thaw(freezer.freeze(Node()).data)) is CallableNode


def test_parts_may_be_rebuilt_by_a_call() -> None:
    """The call is made by each thaw, and its outcome stands wherever the part stood."""
    inner = Node(name="inner", lock=threading.Lock())
    value = Node(first=inner, again=[inner])
    freezer = PickleFreezer(rebuilt=lambda value: [(value.first, (Node, ()))])
    data = freezer.freeze(value).data
    one: Any = freezer.thaw(data)
    other: Any = freezer.thaw(data)
    assert one.first is one.again[0] is not other.first
    assert not vars(one.first)


@pytest.mark.parametrize("twice", ["rebuilt twice", "rebuilt, and a set to be ordered"])
def test_a_part_that_is_to_be_rebuilt_twice_is_refused(twice: str) -> None:
    """Else the thawed value has other parts in the places of those that follow."""
    names = set("abcdefgh")
    value = {"names": names, "one": ["x"], "two": ["y"]}
    value |= {"one again": value["one"], "two again": value["two"]}
    call = names, (set, (sorted(names),))
    both = twice == "rebuilt twice"
    freezer = PickleFreezer(
        rebuilt=lambda _: [call, call] if both else [call],
        sets=lambda _: [] if both else [names],
        allowed=AllowList([("builtins", "set")]),
    )
    with pytest.raises(FreezeError, match="rebuilt twice"):
        freezer.freeze(value)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_what_is_nobodys_fault_passes_through(error: BaseException) -> None:
    """Exhausted memory and interrupts are not the value's fault, so they are not wrapped."""
    freezer = PickleFreezer()
    with pytest.raises(type(error)):
        freezer.freeze(Failing(error, "freeze"))
    freezer.freeze(Failing(error, "never"))
    data = freezer.freeze(Failing(error, "thaw")).data
    with pytest.raises(type(error)):
        freezer.thaw(data)


@pytest.mark.parametrize("level", [0, 10, -1, "fast"])
def test_an_unknown_level_is_refused(level: Any) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match="level"):
        PickleFreezer(level=level)


# ---- damage


def test_every_flipped_bit_is_found() -> None:
    """No single-bit error gives a wrong value, or any value."""
    freezer = PickleFreezer([SHARED_DEPS])
    data = freezer.freeze(["abc", [1, 2], SHARED_DEPS, {"k": 1.5}]).data
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ThawError):
            freezer.thaw(bytes(damaged))


def test_every_truncation_is_found() -> None:
    """Bytes cut short anywhere, or with more behind them, give no value."""
    freezer = PickleFreezer()
    data = freezer.freeze(["abc", [1, 2]]).data
    for length in range(len(data)):
        with pytest.raises(ThawError):
            freezer.thaw(data[:length])
    with pytest.raises(ThawError):
        freezer.thaw(data + b"\0")


def test_bytes_of_another_freezer_are_refused() -> None:
    """Another freezer may share other objects: its positions would mean something else here."""
    frozen = PickleFreezer([Node()]).freeze("text")
    with pytest.raises(ThawError, match="another freezer"):
        PickleFreezer([SHARED_DEPS]).thaw(frozen.data)


def test_a_frozen_value_cannot_be_changed() -> None:
    """It is shared by threads."""
    frozen = Frozen(b"", ())
    with pytest.raises(AttributeError):
        frozen.data = b"x"  # type: ignore[misc]


# ---- the pause


def test_the_collector_is_paused_during_a_block_only() -> None:
    """On again afterwards."""
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with gc_paused(), gc_paused():
        pass
    assert not gc.isenabled()


def test_nested_pauses_end_with_the_outermost() -> None:
    """Inner ends change nothing."""
    with gc_paused():
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_overlapping_pauses_of_threads_end_with_the_last() -> None:
    """Neither the first to open nor the first to close decides alone."""
    opened, close = threading.Event(), threading.Event()

    def other() -> None:
        with gc_paused():
            opened.set()
            assert close.wait(PATIENCE)

    thread = threading.Thread(target=other)
    with gc_paused():
        thread.start()
        assert opened.wait(PATIENCE)
    assert not gc.isenabled()
    close.set()
    thread.join(PATIENCE)
    assert gc.isenabled()


def test_an_exception_ends_a_pause() -> None:
    """As any end of a block does."""
    with pytest.raises(KeyError), gc_paused():
        raise KeyError
    assert gc.isenabled()


def test_a_pause_whose_block_was_never_set_up_ends_with_its_object() -> None:
    """An interrupt may strike between the opening and the block."""
    pause = gc_paused()
    pause.__enter__()
    assert not gc.isenabled()
    del pause
    assert gc.isenabled()


def test_a_pause_in_a_finaliser_during_a_pause_does_not_wait_for_ever() -> None:
    """The same thread may come back, as it does in a signal handler."""

    class Reentrant:
        def __del__(self) -> None:
            with gc_paused():
                pass

    with gc_paused():
        Reentrant()
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_a_fork_in_a_pause_collects_again() -> None:
    """The thread that paused may not exist in the child; and ending its own pause there does no harm."""
    with gc_paused():
        child = os.fork()
        collects = gc.isenabled()
    if child == 0:
        with gc_paused():
            paused = not gc.isenabled()
        os._exit(0 if collects and paused and gc.isenabled() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not collects


def test_the_collector_runs_seldom_during_a_relaxed_block() -> None:
    """It stays on; afterwards its thresholds are as before."""
    before = gc.get_threshold()
    with gc_relaxed():
        assert gc.isenabled()
        assert gc.get_threshold()[0] >= 100_000
        with gc_relaxed():
            pass
        assert gc.get_threshold()[0] >= 100_000
    assert gc.get_threshold() == before


def test_a_relaxed_block_leaves_a_threshold_that_says_never() -> None:
    """0 means never."""
    before = gc.get_threshold()
    gc.set_threshold(0, 7, 3)
    try:
        with gc_relaxed():
            assert gc.get_threshold()[0] == 0
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)


def test_a_threshold_set_during_a_relaxed_block_stays() -> None:
    before = gc.get_threshold()
    try:
        with gc_relaxed():
            gc.set_threshold(1_234, 5, 5)
        assert gc.get_threshold()[0] == 1_234
    finally:
        gc.set_threshold(*before)


@with_global_lock
def test_garbage_is_collected_during_a_relaxed_block() -> None:
    """A load that hangs does not let the garbage of other threads pile up."""
    with gc_relaxed():
        collections = _collections()
        piled = [[] for _ in range(120_000)]  # type: list[list[None]]
        assert _collections() > collections
    del piled


def _collections() -> int:
    """Of all generations: a collection that is due for an older one counts for that alone."""
    return sum(int(generation["collections"]) for generation in gc.get_stats())


def test_pauses_and_relaxed_blocks_do_not_end_each_other() -> None:
    """Each kind is counted for itself."""
    before = gc.get_threshold()
    with gc_relaxed():
        with gc_paused():
            pass
        assert gc.isenabled()
        assert gc.get_threshold() != before
    with gc_paused():
        with gc_relaxed():
            pass
        assert not gc.isenabled()


def test_the_collector_runs_seldom_during_a_thaw() -> None:
    """A thaw makes thousands of objects, none of them garbage; afterwards all is as before."""
    seen: list[int] = []
    usual = gc.get_threshold()
    freezer = PickleFreezer(reducers={Node: lambda _: (_note_collector, ())})
    _note_collector.seen = seen  # type: ignore[attr-defined]
    freezer.thaw(freezer.freeze([Node()]).data)
    assert seen == [SELDOM]
    assert gc.get_threshold() == usual


def _note_collector() -> None:
    _note_collector.seen.append(gc.get_threshold()[0])  # type: ignore[attr-defined]


def test_a_failed_thaw_ends_the_pause() -> None:
    """Damage must not leave the process without a collector."""
    with pytest.raises(ThawError):
        PickleFreezer().thaw(b"")
    assert gc.isenabled()


def test_a_group_thaws_from_inside_its_own_tree() -> None:
    """Freezing may start at any part: a proxy may be met before and inside of its referent."""
    freezer = PickleFreezer(SHARED)
    dag = make_dag(20, 1)
    group = next(child for child in dag.task_group.children.values() if isinstance(child, Group))
    for part in (group, next(iter(dag.task_dict.values())), functools.partial(print, dag)):
        assert_same_graph(part, freezer.thaw(freezer.freeze(part).data), SHARED)


@with_global_lock
@pytest.mark.parametrize("times", [1, 2], ids=["of new classes", "of known classes"])
def test_freezing_leaves_nothing_that_refers_to_the_value(times: int) -> None:
    """The value dies when its owner lets go of it; a copy that proved that it comes back has died before."""
    freezer = PickleFreezer()
    gc.collect()
    others = set(map(id, nodes()))
    gc.disable()
    for _ in range(times):
        child = Node()
        parent = Node(child=child, proxy=weakref.proxy(child), ids={"one", "two", "three"})
        freezer.freeze(parent)
        seen = weakref.ref(parent)
        del child, parent
        assert seen() is None
    assert {id(node) for node in nodes()} <= others


def nodes() -> list[Node]:
    """All that there are."""
    return [item for item in gc.get_objects() if type(item) is Node]
