"""The types of the public API, as mypy and pyright see them, strictly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.patience import PATIENCE
from tests.unit.typing import typical_use

HERE = Path(__file__).parent
MYPY = ["mypy", "--strict", "--warn-unreachable", "--python-version", "3.10"]
PYRIGHT = ["basedpyright", "--level", "error", "--pythonpath", sys.executable]
IGNORE = re.compile(r"  # type: ignore\[.*\]$", re.MULTILINE)


def check(checker: list[str], *paths: Path) -> str:
    """Run a checker in the repository; its output, empty without findings."""
    if find_spec(checker[0]) is None:
        pytest.skip(f"{checker[0]} is not installed")
    command = [sys.executable, "-m", *checker, *map(str, paths)]
    found = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, env={**os.environ, "MYPYPATH": str(ROOT)}
    )
    return "" if found.returncode == 0 else found.stdout + found.stderr


@pytest.mark.parametrize("checker", [MYPY, PYRIGHT], ids=lambda checker: str(checker[0]))
def test_typical_code_has_the_types_that_one_expects(checker: list[str]) -> None:
    """Nothing is found."""
    assert not check(checker, HERE / "typical_use.py")


def test_typical_code_runs() -> None:
    """The types are not all."""
    typical_use.main()


@pytest.mark.parametrize("checker", [MYPY, PYRIGHT], ids=lambda checker: str(checker[0]))
def test_each_mistake_is_an_error(checker: list[str], tmp_path: Path) -> None:
    """Each, and no other line."""
    source = (HERE / "wrong_use.py").read_text()
    bare = tmp_path / "bare_use.py"
    bare.write_text(IGNORE.sub("", source))
    expected = {number for number, line in enumerate(source.splitlines(), 1) if IGNORE.search(line)}
    found = {int(number) for number in re.findall(r"bare_use\.py:(\d+):.*error", check(checker, bare))}
    assert len(expected) > 20
    assert found == expected
