"""A dictionary of the common parts of values: learned once, never changed, without waits."""

from __future__ import annotations

import os
import pickle
import random
import threading
import zlib
from typing import Any

import pytest

from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.zdict import LONGEST, PIECE, VALUES, Dictionary, deflated

WORDS = [f"attribute_{number}_of_a_task" for number in range(300)]


def value(seed: int, size: int = 60) -> dict[str, Any]:
    """One of many values that have words in common."""
    chance = random.Random(seed)
    return {word: chance.random() for word in chance.sample(WORDS, size)}


def noise(seed: int, size: int = PIECE) -> bytes:
    """Nothing in common with anything."""
    return random.Random(seed).randbytes(size)


def test_later_values_are_smaller_than_the_first_was() -> None:
    """The later ones refer to the texts of the first ones."""
    freezer = PickleFreezer()
    first = len(freezer.freeze(value(0)).data)
    for seed in range(1, VALUES):
        freezer.freeze(value(seed))
    assert len(freezer.freeze(value(0)).data) < 0.7 * first


def test_values_frozen_before_and_after_there_was_a_dictionary_are_thawed_alike() -> None:
    """Each remembers which of the two it is."""
    freezer = PickleFreezer()
    frozen = [(seed, freezer.freeze(value(seed)).data) for seed in range(2 * VALUES)]
    for seed, data in frozen:
        assert freezer.thaw(data) == value(seed)


def test_once_learned_it_never_changes() -> None:
    """Data is inflated with the dictionary that deflated it."""
    dictionary = Dictionary()
    for seed in range(VALUES):
        assert dictionary.words == b""
        dictionary.learn(noise(seed, 100))
    words = dictionary.words
    assert words
    dictionary.learn(noise(-1))
    assert dictionary.words is words


def test_it_is_no_longer_than_deflate_looks_back() -> None:
    """And full it is done, however few values there were."""
    dictionary = Dictionary()
    seen = 0
    while not dictionary.words:
        dictionary.learn(noise(seen, 3 * PIECE))
        seen += 1
    assert len(dictionary.words) == LONGEST
    assert seen == LONGEST // PIECE


def test_what_it_knows_already_takes_no_room_in_it() -> None:
    """Sixty versions of one DAG and one other DAG: the other is in it."""
    dictionary = Dictionary()
    for _ in range(VALUES - 1):
        dictionary.learn(noise(1, 1000))
    dictionary.learn(noise(2, 1000))
    assert len(dictionary.words) == 2000
    assert deflated(noise(2, 1000), dictionary.words) < 100


@pytest.mark.parametrize("size", [0, 1])
def test_values_that_are_next_to_nothing_do_no_harm(size: int) -> None:
    """Then there is hardly a dictionary."""
    dictionary = Dictionary()
    for seed in range(VALUES):
        dictionary.learn(noise(seed, size))
    freezer = PickleFreezer()
    for _ in range(VALUES + 1):
        assert freezer.thaw(freezer.freeze(None).data) is None


def test_who_learns_is_never_waited_for() -> None:
    """A thread that looks at a value, or a parent that did when this process was forked, delays no other."""
    dictionary = Dictionary()
    dictionary._lock.run(dictionary.learn, b"not looked at")
    assert dictionary._seen == 0
    dictionary.learn(b"looked at")
    assert dictionary._seen == 1


def test_many_threads_learn_one_dictionary() -> None:
    """A value that is frozen meanwhile can be thawed."""
    freezer = PickleFreezer()
    wrong: list[int] = []

    def work(first: int) -> None:
        wrong.extend(
            seed
            for seed in range(first, first + VALUES)
            if freezer.thaw(freezer.freeze(value(seed)).data) != value(seed)
        )

    threads = [threading.Thread(target=work, args=(number * VALUES,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_thaws_what_its_parent_froze() -> None:
    """It has the same dictionary."""
    freezer = PickleFreezer()
    data = [freezer.freeze(value(seed)).data for seed in range(VALUES + 1)][-1]
    child = os.fork()
    if child == 0:
        os._exit(freezer.thaw(data) != value(VALUES))
    assert os.waitpid(child, 0)[1] == 0


def test_a_flipped_bit_in_what_was_deflated_with_it_is_found() -> None:
    """Also one that says whether there was a dictionary."""
    freezer = PickleFreezer()
    data = [freezer.freeze(value(seed)).data for seed in range(VALUES + 1)][-1]
    for place in range(12):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(Exception, match="damaged"):
            freezer.thaw(bytes(damaged))


def test_sizes_are_those_of_deflate() -> None:
    """With the dictionary that is given."""
    text = noise(1, 500)
    assert deflated(text) == len(zlib.compress(text, 1))
    assert deflated(text, text) < 50


def test_a_primed_compressor_gives_the_same_bytes_as_a_new_one() -> None:
    """Before there is a dictionary, with the learned one, and each time."""
    freezer = PickleFreezer()
    for seed in range(2 * VALUES):
        words = freezer._dictionaries.own.words
        new = zlib.compressobj(3, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=words)
        primed = freezer._deflater(words)
        text = pickle.dumps(value(seed))
        assert primed.compress(text) + primed.flush() == new.compress(text) + new.flush()
        freezer.freeze(value(seed))
