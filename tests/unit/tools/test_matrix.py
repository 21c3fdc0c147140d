"""The matrix of Airflow's versions: the versions that it installs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import matrix
from tools.matrix import COMMON, PINS, main, python_of, requirements
from tools.pythons import ROOT


def airflow(version: str) -> list[Requirement]:
    """The requirements of Airflow's own packages."""
    return [Requirement(text) for text in requirements(version) if text.startswith("apache-airflow")]


@pytest.mark.parametrize("version", [row for row in PINS if not row.startswith("pre")])
def test_a_version_is_exactly_that_version(version: str) -> None:
    release = version.partition("-")[0]
    for requirement in airflow(version):
        assert list(requirement.specifier.filter([release, "3.4.0b2", "4.0"])) == [release]


@pytest.mark.parametrize("row", ["pre", "pre-py3.14"])
def test_the_row_of_pre_releases_takes_the_newest_pre_release_of_airflow_alone(row: str) -> None:
    """Also one of a version that does not exist yet."""
    for requirement in airflow(row):
        assert max(requirement.specifier.filter(["3.3.2", "3.4.0b2", "3.4.0", "3.5.0a1"])) == "3.5.0a1"
    assert "--pre" not in requirements(row)


def test_a_row_runs_on_its_own_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "interpreter", lambda version: f"/python{version}")
    assert python_of("3.3.2-py3.14") == "/python3.14"
    assert python_of("3.3.1") == sys.executable


def test_a_row_whose_python_is_not_installed_is_named_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "interpreter", lambda _: None)
    assert main(["pre-py3.14"]) == 1
    assert "NOT RUN: Python 3.14 is not installed" in capsys.readouterr().out


_BY_NAME = {"find_spec", "import_module", "importorskip"}


def imported(folder: Path) -> Iterator[str]:
    """The modules that the files of a folder import when they are imported themselves, or name to import them."""
    for file in folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in tree.body:
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.partition(".")[0]
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            function, first = ast.unparse(call.func).rpartition(".")[2], call.args[0]
            if function in _BY_NAME and isinstance(first, ast.Constant):
                yield str(first.value).partition(".")[0]


def group(name: str) -> set[str]:
    """The packages of a dependency group."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return {canonicalize_name(Requirement(text).name) for text in groups[name]}


def test_a_row_installs_what_the_tests_with_airflow_import() -> None:
    """Rows once failed at their first import, or skipped tests: the other Airflow had the package by another group."""
    known = packages_distributions()
    modules = {*imported(ROOT / "tests/in_airflow"), *imported(ROOT / "tests/support")}
    used = {canonicalize_name(name) for module in modules for name in known.get(module, ())}
    wanted = (group("airflow") - {"apache-airflow"}) | ((group("test") | group("bench")) & used)
    assert wanted <= {canonicalize_name(Requirement(text).name) for text in COMMON}
