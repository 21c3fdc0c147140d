"""Upgrades with one warm store: the steps, and the figures that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools import environments
from tools.matrix import PINS, requirements
from tools.upgrades import __main__ as upgrades
from tools.upgrades.__main__ import STEPS, Step, faults, install_other_dagcache, missing_parts

FIRST, OTHER = Step("first start", "3.3.2-py3.11"), Step("another dagcache", "3.3.2-py3.11", "0.0.1")
ENVIRONMENT = {"airflow": "3.3.2", "python": "3.11.7", "dagcache": "0.0.1"}
THAWED: dict[str, Any] = {
    "versions": 175,
    "thawed": 173,
    "hits": 174,
    "stored": 0,
    "forged": 0,
    "refused": 0,
    "errors": 0,
    "different": [],
    **ENVIRONMENT,
}
STORED = THAWED | {"thawed": 0, "hits": 0, "stored": 174}


def test_a_known_environment_thaws_and_a_new_one_stores() -> None:
    assert list(faults(FIRST, THAWED, known=174, least=174)) == []
    assert list(faults(OTHER, STORED, known=None, least=174)) == []


@pytest.mark.parametrize(
    ("found", "known", "fault"),
    [
        (THAWED | {"thawed": 172}, 174, "172 of 175 versions were thawed, 173 were stored"),
        (THAWED | {"stored": 1}, 174, "1 records were stored again"),
        (STORED | {"hits": 1}, None, "1 records of another environment were read, 0 thawed"),
        (STORED | {"thawed": 1}, None, "0 records of another environment were read, 1 thawed"),
        (STORED | {"stored": 173}, None, "173 records of 175 versions were stored"),
        (THAWED | {"forged": 2}, 174, "2 forged"),
        (THAWED | {"refused": 1}, 174, "1 refused"),
        (STORED | {"errors": 3}, None, "3 errors"),
        (THAWED | {"different": ["one: value"]}, 174, "one: value"),
        (THAWED | {"airflow": "3.3.1"}, 174, "it is not the environment 3.3.2-py3.11"),
        (THAWED | {"python": "3.1.2"}, 174, "it is not the environment 3.3.2-py3.11"),
        (THAWED | {"dagcache": "0.1.0"}, 174, "it is not dagcache 0.0.1"),
    ],
)
def test_a_wrong_figure_is_named(found: dict[str, Any], known: int | None, fault: str) -> None:
    assert list(faults(OTHER, found, known=known, least=174)) == [fault]


def test_a_part_of_the_fingerprint_that_does_not_differ_is_named() -> None:
    step = Step("upgrade", "3.3.2-py3.11", differing=frozenset({"one", "two"}))
    assert missing_parts(step, {"one": "a", "two": "b"}, {"one": "a", "two": "c"}) == ["one"]


def test_each_environment_is_new_once_and_known_later() -> None:
    places = [(step.row, step.dagcache) for step in STEPS]
    assert len(set(places)) == 4
    assert min(places.count(each) for each in places) >= 2


def test_the_versions_of_airflow_are_exact_with_their_pins() -> None:
    assert {requirements(step.row)[0] for step in STEPS} == {"apache-airflow==3.3.1", "apache-airflow==3.3.2"}
    assert set(PINS["3.3.1"]) <= set(requirements("3.3.1-py3.11"))


def test_the_other_dagcache_is_the_checkout_under_another_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(upgrades, "python_of", lambda _: Path("python"))
    monkeypatch.setattr(environments, "run", lambda *words: commands.append(list(words)))
    assert install_other_dagcache(tmp_path) == tmp_path / "installed"
    [words] = commands
    assert words[-2:] == [str(tmp_path / "installed"), str(tmp_path / "source")]
    assert 'version = "0.0.1"\n' in (tmp_path / "source" / "pyproject.toml").read_text()
    assert (tmp_path / "source" / "sizing" / "walk.py").exists()
