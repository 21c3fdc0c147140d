"""Upgrades with one warm store: the steps, and the figures that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.matrix import requirements
from tools.upgrades import __main__ as upgrades
from tools.upgrades.__main__ import STEPS, faults, install_other_dagcache

THAWED = {"versions": 60, "hits": 61, "misses": 0, "stored": 0, "forged": 0, "refused": 0, "errors": 0, "different": []}
STORED = THAWED | {"hits": 0, "misses": 60, "stored": 61}


def test_a_known_environment_thaws_and_a_new_one_stores() -> None:
    assert list(faults(THAWED, is_known=True)) == []
    assert list(faults(STORED, is_known=False)) == []


@pytest.mark.parametrize(
    ("found", "is_known", "fault"),
    [
        (THAWED | {"hits": 53}, True, "53 of 60 versions were thawed"),
        (THAWED | {"hits": 1, "stored": 60}, False, "1 records of another environment were used"),
        (STORED | {"stored": 53}, False, "53 of 60 versions were stored"),
        (THAWED | {"forged": 2}, True, "2 forged"),
        (THAWED | {"refused": 1}, True, "1 refused"),
        (STORED | {"errors": 3}, False, "3 errors"),
        (THAWED | {"different": ["one: value"]}, True, "one: value"),
    ],
)
def test_a_wrong_figure_is_named(found: dict[str, Any], is_known: bool, fault: str) -> None:
    assert list(faults(found, is_known=is_known)) == [fault]


def test_each_environment_is_new_once_and_known_later() -> None:
    environments = [step.environment for step in STEPS]
    assert {environments.count(each) for each in environments} <= {2, 3, 4}


def test_the_versions_of_airflow_are_exact() -> None:
    assert {requirements(step.row)[0] for step in STEPS} == {"apache-airflow==3.3.1", "apache-airflow==3.3.2"}


def test_the_other_dagcache_is_the_checkout_under_another_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(upgrades, "python_of", lambda _: Path("python"))
    monkeypatch.setattr(upgrades, "command", lambda words, _: commands.append(list(words)))
    assert install_other_dagcache(tmp_path) == tmp_path / "installed"
    [words] = commands
    assert words[-2:] == [str(tmp_path / "installed"), str(tmp_path / "source")]
    assert 'version = "0.0.1"\n' in (tmp_path / "source" / "pyproject.toml").read_text()
    assert (tmp_path / "source" / "sizing" / "walk.py").exists()
