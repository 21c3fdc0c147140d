"""The lists of tests that `make quick` leaves out."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import LATER, SLOW, UNTRACED, WEIGHTS
from tests.support.paths import ROOT


@pytest.mark.parametrize("name", [*SLOW, *WEIGHTS, *LATER])
def test_a_slow_test_exists(name: str) -> None:
    """A list of names that are gone would leave nothing out."""
    file, _, function = name.partition("::")
    source = (ROOT / file).read_text()
    if function and "Test" not in function:  # a class may inherit the method
        defined = [each.name for each in ast.walk(ast.parse(source)) if isinstance(each, ast.FunctionDef)]
        assert function in defined


def test_a_slow_test_has_the_marker(request: pytest.FixtureRequest) -> None:
    slow = {item.nodeid.partition("[")[0] for item in request.session.items if item.get_closest_marker("slow")}
    assert all(name in SLOW or name.partition("::")[0] in SLOW for name in slow)


def test_the_tests_without_coverage_and_those_of_weights_are_slow_ones() -> None:
    assert set(UNTRACED) | set(WEIGHTS) <= set(SLOW)
