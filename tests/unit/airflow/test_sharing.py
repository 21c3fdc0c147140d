"""Sharing of equal parts: the strings of a row, and the immutable parts of tasks."""

from __future__ import annotations

import copy
import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow.sharing import share_immutables, share_strings


def _parsed(content: object) -> Any:
    return json.loads(json.dumps(content))


def test_equal_strings_become_one_object_wherever_they_stand() -> None:
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


def test_parameters_of_tasks_stay_apart() -> None:
    """A caller may change them."""
    before = [SimpleNamespace(value=1) for _ in range(2)]
    tasks = [SimpleNamespace(params=params) for params in before]
    share_immutables(SimpleNamespace(task_dict=dict(enumerate(tasks))))
    assert all(task.params is mine for task, mine in zip(tasks, before, strict=True))


def test_equal_spans_of_time_become_one() -> None:
    """Of exactly that class; anything else is left alone."""

    class Span(dt.timedelta):
        pass

    tasks = [SimpleNamespace(retry_delay=dt.timedelta(seconds=300), execution_timeout=Span(1)) for _ in range(2)]
    share_immutables(SimpleNamespace(task_dict=dict(enumerate(tasks))))
    assert tasks[0].retry_delay is tasks[1].retry_delay
    assert tasks[0].execution_timeout is not tasks[1].execution_timeout


def test_tasks_without_attributes_of_their_own_are_left_alone() -> None:
    """Another version of Airflow may have such."""
    share_immutables(SimpleNamespace(task_dict={"a": 1, "b": object()}))
