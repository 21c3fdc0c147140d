"""A load is checked for the operator links that its bag asked for."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow.operator_links import _ATTRIBUTE, _LINKS, are_as_asked

Plugins = Any


class Bash:
    """An operator to which a plugin adds a link."""


def link(name: str, *operators: type) -> Any:
    """A link of that name, for these operators."""
    return SimpleNamespace(name=name, operators=operators)


def loaded(*names: str) -> Any:
    """A DAG with one task that has links of these names."""
    return SimpleNamespace(task_dict={"t": SimpleNamespace(**{_ATTRIBUTE: [link(name) for name in names]})})


def payload(*names: str) -> dict[str, Any]:
    """The serialised form of a DAG with one task that has links of these names."""
    var = {"task_id": "t", "task_type": "Bash", "_task_module": __name__, _LINKS: dict.fromkeys(names, "key")}
    return {"dag": {"tasks": [{"__var": var}]}}


@pytest.fixture(params=["since 3.2", "3.1"])
def plugins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The links that plugins register, in a stand-in for Airflow's module of either version."""
    links: list[Any] = []
    module: Any = ModuleType("airflow.plugins_manager")
    if request.param == "3.1":
        module.operator_extra_links = None

        def initialise() -> None:
            module.operator_extra_links = links

        module.initialize_extra_operators_links_plugins = initialise
    else:
        module.get_operator_extra_links = lambda: links
    airflow: Any = ModuleType("airflow")
    airflow.plugins_manager = module
    monkeypatch.setitem(sys.modules, "airflow", airflow)
    monkeypatch.setitem(sys.modules, "airflow.plugins_manager", module)
    return links


@pytest.mark.parametrize(
    ("in_row", "in_dag", "wanted", "expected"),
    [
        ((), (), True, True),
        (("logs",), ("logs",), True, True),
        (("logs",), (), True, False),
        ((), ("logs",), True, False),
        (("logs",), (), False, True),
        (("logs",), ("logs",), False, False),
    ],
)
def test_a_dag_has_the_links_of_its_row_if_they_are_wanted(
    plugins: list[Any], in_row: tuple[str, ...], in_dag: tuple[str, ...], wanted: bool, expected: bool
) -> None:
    """And none if they are not."""
    assert are_as_asked(loaded(*in_dag), payload(*in_row), wanted) is expected


def test_links_that_plugins_add_to_an_operator_are_expected(plugins: list[Any]) -> None:
    """By the operator's class and module."""
    plugins.append(link("dashboard", Bash))
    assert are_as_asked(loaded("dashboard"), payload(), True)
    assert not are_as_asked(loaded(), payload(), True)
    assert are_as_asked(loaded(), payload(), False)


def test_a_plugins_link_for_other_operators_is_not_expected(plugins: list[Any]) -> None:
    """It belongs to their tasks."""
    plugins.append(link("dashboard", str))
    assert are_as_asked(loaded(), payload(), True)
