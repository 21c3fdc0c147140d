"""Sharing of equal parts: the strings of a row, and the immutable parts of tasks."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections.abc import Iterator, Mapping, MutableMapping
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


class Param:
    """One parameter."""

    def __init__(self, value: object, source: str | None = "dag") -> None:
        self.value = value
        self.source = source


class OtherParam(Param):
    """Another class with the same attributes."""


class Params(Mapping[str, Any]):
    """Parameters that no method changes."""

    def __init__(self, **parts: Param) -> None:
        self.parts = parts

    def __getitem__(self, name: str) -> Any:
        return self.parts[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


class ChangeableParams(Params, MutableMapping[str, Any]):
    """Parameters that can be set."""

    def __setitem__(self, name: str, value: Any) -> None:
        self.parts[name].value = value

    def __delitem__(self, name: str) -> None:
        del self.parts[name]


def _graph(*all_params: object, **attributes: object) -> Any:
    """A DAG with a task for each of these parameters."""
    tasks = {str(number): SimpleNamespace(params=params, **attributes) for number, params in enumerate(all_params)}
    return SimpleNamespace(task_dict=tasks)


def _params(graph: Any) -> list[Any]:
    return [task.params for task in graph.task_dict.values()]


def test_tasks_with_equal_parameters_refer_to_the_same() -> None:
    """Airflow gives each task a copy of the DAG's."""
    graph = _graph(*(Params(day=Param("2026-01-01"), limit=Param(100)) for _ in range(3)))
    share_immutables(graph)
    first, *others = _params(graph)
    assert all(params is first for params in others)
    assert dict(first) == {"day": "2026-01-01", "limit": 100}


@pytest.mark.parametrize(
    "other",
    [
        Params(a=Param(2)),
        Params(a=Param(True)),
        Params(a=Param(1.0)),
        Params(a=Param("1")),
        Params(b=Param(1)),
        Params(a=Param(1, source=None)),
        Params(a=OtherParam(1)),
        Params(a=Param(1), b=Param(1)),
        Params(),
    ],
    ids=["value", "bool", "float", "str", "name", "source", "class", "more", "none"],
)
def test_parameters_that_differ_in_anything_stay_apart(other: Params) -> None:
    graph = _graph(Params(a=Param(1)), other)
    share_immutables(graph)
    assert _params(graph)[1] is other


def test_the_order_of_parameters_is_kept() -> None:
    """It is how they are shown."""
    graph = _graph(Params(a=Param(1), b=Param(2)), Params(b=Param(2), a=Param(1)))
    share_immutables(graph)
    assert [list(params) for params in _params(graph)] == [["a", "b"], ["b", "a"]]


@pytest.mark.parametrize(
    "make",
    [
        dict,
        ChangeableParams,
        lambda: None,
        lambda: 7,
        lambda: Params(a=Param(object())),
        lambda: Params(a=Param([1, 2])),
        lambda: Params(a=Param(1), b=Param({})),
    ],
)
def test_parameters_that_can_be_changed_or_are_no_json_are_left_alone(make: Any) -> None:
    """Each task keeps what it had."""
    before = [make(), make()]
    graph = _graph(*before)
    share_immutables(graph)
    assert all(params is mine for params, mine in zip(_params(graph), before, strict=True))


def test_parameters_with_other_attributes_are_left_alone() -> None:
    """The purpose of these is unknown."""
    odd = [Params(), Params()]
    for params in odd:
        params.noted = "by a caller"  # type: ignore[attr-defined]
    graph = _graph(*odd)
    share_immutables(graph)
    assert _params(graph)[0] is not _params(graph)[1]


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
