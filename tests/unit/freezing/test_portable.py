"""The portable form: another process, with other hashes, gets the value that its own load would have built."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Any

import pytest

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.portable import NO_WORDS, digest_of_words
from dagcache.freezing.restricted import AllowList
from dagcache.freezing.set_order import joined, recipe_elsewhere
from dagcache.freezing.zdict import LONGEST, MOST, VALUES, Dictionaries

OURS = [("dagcache.freezing.set_order", name) for name in ("joined", "seeded_frozenset", "seeded_set")]
ROUNDS = 80


class Dep:
    """It hashes by the address of its class, as Airflow's dependencies do."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


KINDS = [type(f"Dep{number}", (Dep,), {"__module__": __name__}) for number in range(6)]
globals().update({kind.__name__: kind for kind in KINDS})
BASE = frozenset(kind() for kind in KINDS[:5])
OTHER: Any = KINDS[5]
ALLOWED = AllowList([("builtins", "set"), ("builtins", "frozenset"), *OURS], [__name__])


def freezer() -> PickleFreezer:
    """With shared objects in the order of their names, as every user must have them."""
    shared = [BASE, *sorted(BASE, key=lambda item: type(item).__name__)]
    return PickleFreezer(shared, allowed=ALLOWED, adding=adding)


def adding(value: dict[str, Any]) -> dict[int, list[str]]:
    """The order of the names that came in turn."""
    order = {name: at for at, name in enumerate(value["order"])}
    return {id(value["in turn"]): sorted(value["in turn"], key=order.__getitem__)}


def load(seed: int) -> dict[str, Any]:
    """A value of a source, the same in each process but for the order of its sets."""
    rng = random.Random(seed)
    count = rng.choice((2, 3, 5, 8, 20, 77))
    names = [f"group.task_{rng.randrange(10**6)}" for _ in range(count)]
    in_order = sorted(names)
    in_turn: set[str] = set()
    for name in names:
        in_turn.add(name)
    return {
        "order": list(dict.fromkeys(names)),
        "sorted": set(in_order),
        "frozen": frozenset(in_order),
        "in turn": in_turn,
        "numbers": set(map(len, names)) | {10**9, 7},
        "deps": BASE | {OTHER()},
    }


def orders(value: dict[str, Any]) -> list[list[str]]:
    """The order of each set, by names."""
    return [[type(item).__name__ if isinstance(item, Dep) else str(item) for item in part] for part in value.values()]


def write() -> None:
    """Print a dictionary and the forms of some values, as the other process."""
    made = freezer()
    forms = [made.to_portable(made.freeze(load(seed)).data) for seed in range(ROUNDS)]
    words = [made.words_of(form)[1] or b"" for form in forms if form is not None]
    sys.stdout.writelines(f"{(form or b'').hex()}\n" for form in (max(words), *forms))


def test_a_thawed_value_has_the_order_of_this_processs_own_load() -> None:
    """In every set, with the shared objects of this process."""
    code = f"import {__name__} as test; test.write()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, PYTHONHASHSEED="1"),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    words, *forms = map(bytes.fromhex, done.stdout.splitlines())
    assert all(forms), "some sets are bound to the other process"
    here = freezer()
    here.adopt_words(words)
    for seed, form in enumerate(forms):
        value, data = here.from_portable(form)
        own: Any = load(seed)
        assert isinstance(value, dict)
        assert orders(value) == orders(own), f"seed {seed}"
        assert list(value["sorted"]) == list(own["sorted"])
        assert orders(here.thaw(data)) == orders(own)  # type: ignore[arg-type]
        assert value["deps"] > BASE
        assert all(any(item is mine for mine in BASE) for item in value["deps"] if type(item) is not OTHER)


def in_another_order() -> set[str]:
    """A set that no sorted list gives here."""
    for attempt in range(10_000):
        names = [f"{attempt}_{number}" for number in range(5)]
        backwards = names[::-1]
        found = set(backwards)
        if list(found) != list(set(names)):
            return found
    raise AssertionError("hashes do not collide")


def test_a_set_in_another_order_binds_a_value_to_its_process() -> None:
    """It freezes, and comes back here; no other process could know the order."""
    here = freezer()
    value: dict[str, Any] = {"order": [], "in turn": set(), "sorted": in_another_order()}
    data = here.freeze(value).data
    assert here.to_portable(data) is None
    assert list(here.thaw(data)["sorted"]) == list(value["sorted"])  # type: ignore[index]


def test_an_order_that_does_not_fit_is_not_taken() -> None:
    """Nor is a subclass, nor a set of other things, nor a union with two more elements."""
    found = in_another_order()
    assert recipe_elsewhere(found, adding=sorted(found)) is None
    assert recipe_elsewhere(type("Tags", (set,), {})(["a", "b"])) is None
    assert recipe_elsewhere({("a",), ("b",)}) is None
    assert recipe_elsewhere(frozenset(BASE | {OTHER(), "name"}), [BASE]) is None
    assert recipe_elsewhere(set(BASE | {OTHER()}), [BASE]) is None
    assert recipe_elsewhere(joined(BASE, other := OTHER()), [frozenset({1}), BASE]) == (joined, (BASE, other))


def copied(names: list[str]) -> list[str]:
    """Equal strings that are other objects."""
    return ["".join(list(name)) for name in names]


@pytest.mark.parametrize("of", [copied, lambda _: []], ids=["of equal strings", "of no element"])
def test_a_wrong_order_of_adding_binds_a_value_to_its_process(of: Any) -> None:
    """The elements of the thawed set stay the objects to which other parts refer."""
    names = [f"task_{number}" for number in range(4)]
    value = {"names": names, "set": set(names)}
    here = PickleFreezer(allowed=ALLOWED, adding=lambda value: {id(value["set"]): of(names)})
    data = here.freeze(value).data
    assert here.to_portable(data) is None
    thawed: Any = here.thaw(data)
    assert {id(name) for name in thawed["set"]} == {id(name) for name in thawed["names"]}


def test_a_set_of_one_element_needs_no_call() -> None:
    """Nor is `set` then among the names of the pickle."""
    here = PickleFreezer(sets=lambda value: [value["set"]], allowed=AllowList([]))
    assert here.to_portable(here.freeze({"set": {"a"}}).data) is not None


class Claims:
    """Claims to be a string."""

    def __init__(self, text: str) -> None:
        self.text = text

    __class__ = property(lambda _: str)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return type(other) is Claims and self.text == other.text

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return Claims, (self.text,)


def test_only_real_strings_are_sorted() -> None:
    """A class may name another one as its instances' class."""
    here = PickleFreezer(allowed=ALLOWED)
    names = {Claims("a"), Claims("b"), Claims("c")}
    thawed: Any = here.thaw(here.freeze({"names": names}).data)
    assert [each.text for each in thawed["names"]] == [each.text for each in names]


# ---- dictionaries ----


def text(number: int) -> bytes:
    """Words of one process."""
    return bytes(f"words of process {number} ", "ascii") * 10


def test_dictionaries_are_found_by_their_digests() -> None:
    """The first is that there is none."""
    known = Dictionaries()
    position = known.position_of(text(1))
    assert known.position_of(bytes(bytearray(text(1)))) == position == known.find(digest_of_words(text(1)))
    assert (known.at(position), known.digest_at(position)) == (text(1), digest_of_words(text(1)))
    assert (known.at(0), known.digest_at(0), digest_of_words(b"")) == (b"", NO_WORDS, NO_WORDS)
    assert known.find(digest_of_words(text(2))) is None


def test_an_adopted_dictionary_serves_own_values_until_one_is_learned() -> None:
    """A learned one stays."""
    known = Dictionaries()
    assert known.adopt(text(1))
    assert known.own.words_for(b"") == text(1)
    assert known.adopt(text(2))
    assert known.own.words_for(b"") == text(1)


@pytest.mark.parametrize("words", [b"", bytes(LONGEST + 1)])
def test_an_unusable_dictionary_is_not_adopted(words: bytes) -> None:
    """An empty one, or one beyond the window of deflate."""
    assert not Dictionaries().adopt(words)


def test_the_number_of_adopted_dictionaries_is_bounded() -> None:
    """Each takes memory."""
    known = Dictionaries()
    assert [known.adopt(text(number)) for number in range(MOST + 2)] == [True] * MOST + [False] * 2


def test_values_of_another_freezer_need_its_dictionary() -> None:
    """Which is asked for by its digest."""
    there = freezer()
    value = {"order": [], "in turn": set(), "text": list(map(str, range(2000)))}
    for _ in range(VALUES + 1):
        data = there.freeze(value).data
    form = there.to_portable(data)
    assert form is not None
    digest, words = there.words_of(form)
    assert words is not None
    here = freezer()
    assert here.words_of(form) == (digest, None)
    assert here.adopt_words(words)
    assert here.words_of(form) == (digest, words)
    assert here.from_portable(form)[0] == value
