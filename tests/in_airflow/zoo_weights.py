"""The weight of each shape of the zoo beside the account of the allocators. `test_zoo.py` runs these tests.

They have a process of their own. Its name keeps this module from being collected with others.
"""

from __future__ import annotations

import sys

import pytest

from dagcache.freezing.pickle_freezer import PickleFreezer
from tests.in_airflow.test_zoo import (  # fixtures, too
    _only_our_objects,  # noqa: F401 - keeps collections fast
    each_frozen_shape,
    each_shape,
    freezer,  # noqa: F401
    load_as_the_bag_does,
    shared,  # noqa: F401
    text_or_skip,
)
from tests.in_airflow.zoo import SHAPES
from tests.support.accounts import assert_weighs_what_was_handed_out


@each_shape
def test_a_loaded_graph_weighs_what_the_allocators_handed_out(
    name: str,
    shared: frozenset[int],  # noqa: F811
    no_collector: None,
) -> None:
    """To within a hundredth, and the growth of the process's own tables."""
    text = text_or_skip(name)
    assert_weighs_what_was_handed_out(lambda: load_as_the_bag_does(text), shared)


@each_frozen_shape
def test_a_thawed_copy_weighs_what_the_allocators_handed_out(
    name: str,
    freezer: PickleFreezer,  # noqa: F811
    shared: frozenset[int],  # noqa: F811
    no_collector: None,
) -> None:
    """To within a hundredth, and the growth of the process's own tables."""
    data = freezer.freeze(load_as_the_bag_does(text_or_skip(name))).data
    assert_weighs_what_was_handed_out(lambda: freezer.thaw(data), shared)


def test_the_number_of_shapes_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """For the test that runs these."""
    with capsys.disabled():
        sys.stdout.write(f"{len(SHAPES)} shapes\n")
