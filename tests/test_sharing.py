"""Sharing equal strings of what was read from a row."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dagcache.airflow.sharing import share_strings


def _parsed(content: object) -> Any:
    return json.loads(json.dumps(content))


def test_equal_strings_become_one_object_wherever_they_stand() -> None:
    """In mappings, in lists, and in what those contain."""
    parsed = _parsed({"a": "some value", "list": ["some value", {"b": "some value"}], "c": ["x", ["some value"]]})
    share_strings(parsed)
    found = [parsed["a"], parsed["list"][0], parsed["list"][1]["b"], parsed["c"][1][0]]
    assert len({id(text) for text in found}) == 1


def test_the_content_stays_as_it_was() -> None:
    """Equal in every part, types included, keys in their order."""
    content = {"text": ["a b", "a b", "", 1, True, None, 1.5, {"z": "a b", "a": {}}], "1": [], "empty": {}}
    parsed = _parsed(content)
    before = copy.deepcopy(parsed)
    share_strings(parsed)
    assert json.dumps(parsed) == json.dumps(before)


def test_different_strings_stay_apart() -> None:
    """Also if they differ in case or by a space only."""
    parsed = _parsed(["ab", "aB", "ab ", "ab"])
    share_strings(parsed)
    assert parsed == ["ab", "aB", "ab ", "ab"]


@pytest.mark.parametrize("content", [None, "text", 7, [], {}])
def test_what_holds_no_strings_is_left_alone(content: object) -> None:
    """A corrupt row gives Airflow's error, not one of ours."""
    share_strings(content)
