"""Environments of the tools, built by a stand-in for Python that notes its calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.environments import CommandError, build

_PYTHON = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
for folder; do :; done
case "$2" in
venv) mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" ;;
pip) case "$folder" in none-such) echo "no matching distribution" >&2; exit 1 ;; esac ;;
esac
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The stand-in."""
    path = tmp_path / "base" / "python"
    path.parent.mkdir()
    path.write_text(_PYTHON)
    path.chmod(0o755)
    return path


def calls(python: Path) -> list[str]:
    """The calls of an interpreter so far."""
    noted = python.with_name("calls")
    return noted.read_text().splitlines() if noted.exists() else []


def test_an_environment_is_built_once_with_its_requirements(python: Path, tmp_path: Path) -> None:
    built = build(tmp_path / "env", str(python), ["pytest>=8", "--editable", "here"])
    assert build(tmp_path / "env", str(python), ["pytest>=8", "--editable", "here"]) == built
    assert calls(python) == [f"-m venv --clear {tmp_path / 'env'}"]
    assert calls(built) == ["-m pip install --quiet pytest>=8 --editable here"]


def test_other_requirements_build_it_again(python: Path, tmp_path: Path) -> None:
    build(tmp_path / "env", str(python), ["pytest>=8"])
    build(tmp_path / "env", str(python), ["pytest>=9"])
    assert len(calls(python)) == 2


def test_another_interpreter_builds_it_again(python: Path, tmp_path: Path) -> None:
    build(tmp_path / "env", str(python), ["pytest>=8"])
    other = python.with_name("python3")
    os.link(python, other)
    build(tmp_path / "env", str(other), ["pytest>=8"])
    assert len(calls(python)) == 2


def test_a_requirement_that_cannot_be_installed_is_an_error_with_the_output(python: Path, tmp_path: Path) -> None:
    """And the next call tries again."""
    for _ in range(2):
        with pytest.raises(CommandError, match=r"(?s)pip install --quiet none-such.*no matching distribution"):
            build(tmp_path / "env", str(python), ["none-such"])
    assert len(calls(python)) == 2
