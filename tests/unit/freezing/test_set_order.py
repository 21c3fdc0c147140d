"""Sets keep their order through a thaw, with any history."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcache.errors import FreezeError
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.set_order import (
    changing,
    comes_back,
    of_strings,
    recipe_elsewhere,
    recipe_for,
    recipes_elsewhere,
)
from tests.support.lockstep import assert_same_graph

FREEZER = PickleFreezer()
SIZES = (2, 3, 4, 5, 7, 8, 12, 15, 16, 18, 19, 20, 31, 32, 40, 76, 77, 100, 308, 700)
"""Around those at which tables grow."""


def words(rng: random.Random, count: int) -> list[str]:
    """Task ids; their hashes, and so the cases, differ from one process to the next."""
    return [f"group.task_{rng.randrange(10**6)}" for _ in range(count)]


def added(rng: random.Random, count: int) -> set[str]:
    """As a loader does it."""
    return set(words(rng, count))


def made_of_a_set(rng: random.Random, count: int) -> set[str]:
    """Its table is tighter than if its elements had been added one by one."""
    return set(frozenset(words(rng, count)))


def with_gaps(rng: random.Random, count: int) -> set[str]:
    """Where elements were removed, others may have come to stand elsewhere."""
    found = set(words(rng, 2 * count))
    for word in rng.sample(sorted(found), count):
        found.discard(word)
    return found | set(words(rng, rng.randrange(2)))


def refilled(rng: random.Random, count: int) -> set[str]:
    """Removed and added by turns."""
    found = added(rng, count)
    for word in rng.sample(sorted(found), count // 2):
        found.remove(word)
        found.update(words(rng, 1))
    return found


def immutable(rng: random.Random, count: int) -> frozenset[str]:
    """Of a set."""
    return frozenset(set(words(rng, count)))


def united(rng: random.Random, count: int) -> frozenset[str]:
    """As Airflow makes the rules of its sensors."""
    return frozenset(set(words(rng, count))) | set(words(rng, 1))


Make = Callable[[random.Random, int], Any]
HISTORIES: list[Make] = [added, made_of_a_set, with_gaps, refilled]


def same_order(one: Iterable[object], other: Iterable[object]) -> bool:
    """Exactly."""
    return list(one) == list(other)


def thawed(value: object) -> Any:
    """The value again."""
    return FREEZER.thaw(FREEZER.freeze(value).data)


@pytest.mark.parametrize("make", [added, made_of_a_set], ids=lambda make: make.__name__)
@pytest.mark.parametrize("count", SIZES)
def test_sets_to_which_elements_were_only_added_iterate_as_before(make: Make, count: int) -> None:
    """As those of a graph that was just loaded are; none of them is refused."""
    rng = random.Random(count)
    for _ in range(60 if count < 100 else 5):
        original = make(rng, count)
        copy = thawed(original)
        assert same_order(original, copy)
        assert type(copy) is set


@pytest.mark.parametrize("make", [with_gaps, refilled, immutable, united], ids=lambda make: make.__name__)
@pytest.mark.parametrize("count", SIZES)
def test_other_sets_iterate_as_before_or_are_refused(make: Make, count: int) -> None:
    """A slot that was used twice, or a table without removals: some orders cannot be rebuilt."""
    rng = random.Random(count)
    refused = 0
    for _ in range(60 if count < 100 else 5):
        original = make(rng, count)
        try:
            copy = thawed(original)
        except FreezeError:
            refused += 1
        else:
            assert same_order(original, copy)
            assert type(copy) is type(original)
    assert refused <= 6


def test_most_of_these_sets_would_come_back_in_another_order_by_themselves() -> None:
    """Otherwise these tests would not show anything."""
    rng = random.Random(1)
    found = [make(rng, 40) for make in HISTORIES for _ in range(20)]
    assert sum(not same_order(original, set(iter(original))) for original in found) > 20


TASK_IDS = st.text("abcdef._0123456789", min_size=1, max_size=6)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["add", "discard"]), TASK_IDS),
    st.tuples(st.sampled_from(["update", "difference_update", "symmetric_difference_update"]), st.sets(TASK_IDS)),
    st.tuples(st.just("update"), st.lists(TASK_IDS, max_size=60)),
    st.tuples(st.sampled_from(["copy", "pop", "clear"]), st.none()),
)


def after(steps: list[tuple[str, Any]]) -> set[str]:
    """A set that has been through all that."""
    found: set[str] = set()
    for name, argument in steps:
        if name == "copy":
            found = set(found)
        elif name != "pop":
            getattr(found, name)(*([] if argument is None else [argument]))
        elif found:
            found.pop()
    return found


@settings(max_examples=500)
@given(st.lists(STEPS, max_size=25))
def test_any_history_leads_to_a_set_that_comes_back(steps: list[tuple[str, Any]]) -> None:
    """In the same order, or not at all."""
    original = after(steps)
    try:
        copy = thawed({"ids": original, "again": [original]})
    except FreezeError:
        assert recipe_for(original) is None
        return
    assert same_order(original, copy["ids"])
    assert copy["ids"] is copy["again"][0]


@settings(max_examples=200)
@given(st.lists(st.one_of(TASK_IDS, st.integers(), st.floats(allow_nan=False), st.booleans(), st.none())))
def test_elements_of_any_kind_keep_their_order(items: list[Any]) -> None:
    """Numbers collide more than strings do."""
    assert same_order(set(items), thawed(set(items)))


@pytest.mark.parametrize("make", [added, made_of_a_set], ids=lambda make: make.__name__)
def test_the_table_of_a_thawed_set_has_the_same_size(make: Make) -> None:
    """On which it depends how sets that are made of it iterate, and when it grows."""
    rng = random.Random(7)
    for count in SIZES:
        original = make(rng, count)
        assert sys.getsizeof(thawed(original)) == sys.getsizeof(original)


def unordered() -> set[str]:
    """A set that pickle would bring back in another order."""
    rng = random.Random(3)
    return next(found for found in iter(lambda: added(rng, 40), None) if not comes_back(found))


class Node:
    """May be referred to from everywhere."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def test_a_set_that_is_rebuilt_is_one_object_wherever_it_stands() -> None:
    """In two attributes, in a list, and as the value itself."""
    ids = unordered()
    node = Node(ids=ids, again=ids, lists=[[ids], [ids]])
    node.__dict__["itself"] = node
    copy = thawed(node)
    assert_same_graph(node, copy)
    assert_same_graph(ids, thawed(ids))


def test_strings_of_a_rebuilt_set_are_those_of_the_value() -> None:
    """They are spelled out once."""
    ids = unordered()
    node = Node(names=sorted(ids), ids=ids)
    copy = thawed(node)
    assert {id(name) for name in copy.names} == {id(name) for name in copy.ids}


def test_sets_of_instances_that_are_alike_keep_their_order() -> None:
    """These are pickled as copies of a template, with their differences."""
    nodes = [Node(name="same", ids=unordered(), more=frozenset(["x"])) for _ in range(3)]
    freezer = PickleFreezer(alike=[Node])
    assert_same_graph(nodes, freezer.thaw(freezer.freeze(nodes).data))


def test_shared_sets_are_left_alone() -> None:
    """They come back as themselves."""
    ids = unordered()
    freezer = PickleFreezer([ids])
    assert freezer.thaw(freezer.freeze([ids]).data) == [ids]


class Hashed:
    """Hashes by a number, and may refer to others."""

    def __init__(self, number: int, owner: object = None) -> None:
        self.number = number
        self.owner = owner

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashed) and other.number == self.number


def colliding(owner: object = None) -> set[Hashed]:
    """Adding them in the order in which they come would put them the other way round."""
    found = {Hashed(7, owner), Hashed(15, owner)}
    assert not comes_back(found)
    return found


def test_instances_that_hash_by_their_content_keep_their_order() -> None:
    """They are pickled before the value, and not twice."""
    found = colliding()
    value = [min(found, key=hash), found]
    copy = thawed(value)
    assert_same_graph(value, copy)


def test_a_set_whose_elements_lead_back_to_the_value_is_refused() -> None:
    """The set needs its elements first, and they need the set."""
    node = Node()
    node.__dict__["found"] = colliding(node)
    with pytest.raises(FreezeError, match="refers back"):
        FREEZER.freeze(node)


def test_a_set_within_a_set_is_refused_if_both_have_to_be_rebuilt() -> None:
    """One of them would have to come first."""
    one, other = Hashed(7), Hashed(15)
    inner = frozenset([one, other])
    one.owner = frozenset([Hashed(7), Hashed(15)])
    assert not comes_back(inner)
    with pytest.raises(FreezeError, match="in another"):
        FREEZER.freeze([inner, one.owner])


class Tags(set[Any]):
    """A class of a user."""


def test_a_subclass_is_refused_if_it_would_come_back_in_another_order() -> None:
    """How it is built is its own matter."""
    rng = random.Random(9)
    found = [Tags(words(rng, 40)) for _ in range(200)]
    orderly, odd = (next(tags for tags in found if comes_back(tags) is wanted) for wanted in (True, False))
    with pytest.raises(FreezeError, match="change its order"):
        FREEZER.freeze(odd)
    assert_same_graph(orderly, thawed(orderly))


def test_elements_that_hash_by_their_addresses_have_no_order_to_keep() -> None:
    """Two loads would not agree, either: such a set is not refused."""
    nodes = {Node(number=number) for number in range(200)}
    assert len(thawed(nodes)) == 200


# ---- many sets at once ----


def many(rng: random.Random) -> list[set[str]]:
    """Sets of several sizes and histories."""
    make = rng.choice(([added], [added, made_of_a_set, with_gaps, refilled]))
    return [rng.choice(make)(rng, rng.choice(SIZES[:10])) for _ in range(rng.randrange(9))]


@pytest.mark.parametrize("seed", range(100))
def test_the_sets_that_change_are_the_same_as_one_by_one(seed: int) -> None:
    """With any histories."""
    sets = many(random.Random(seed))
    assert list(map(id, changing(sets))) == [id(each) for each in sets if not comes_back(each)]


@pytest.mark.parametrize("seed", range(100))
def test_many_recipes_are_the_same_as_one_by_one(seed: int) -> None:
    """Or there are none, if one of the sets has none."""
    rng = random.Random(seed)
    sets = many(rng)
    adding = {id(each): rng.sample(sorted(each), len(each)) for each in sets if rng.random() < 0.1}
    each = [recipe_elsewhere(items, adding=adding.get(id(items))) for items in sets]
    assert recipes_elsewhere(sets, adding) == (None if None in each else each)


class Tag(str):
    """A string of a class of its own."""

    __slots__ = ()


OTHERS = {
    "numbers": {1, 2},
    "a string and a number": {"a", 1},
    "immutable": frozenset({"a", "b"}),
    "empty": set(),
    "of another class": type("Tags", (set,), {})(["a", "b"]),
    "of a class of strings": {Tag("a")},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_only_plain_sets_of_plain_strings_are_looked_at_together(other: Any) -> None:
    """The others need a look of their own."""
    tags = {"a", "b"}
    strings, others = of_strings([tags, other])
    assert strings == [tags]
    assert len(others) == 1
    assert others[0] is other
