"""The unit tests on other versions of Python: reports and failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools import pythons
from tools.pythons import THIS, Result, report, run
from tools.scorecard.reruns import CORE_ROOMS


def test_a_version_that_is_not_installed_is_named_and_is_not_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pythons, "interpreter", lambda _: None)
    assert report([run("3.99")]) == 0
    assert "3.99  not run  not installed" in capsys.readouterr().out


def test_this_version_is_left_to_the_other_targets() -> None:
    assert run(THIS).passed is None


def test_a_failure_shows_its_output_and_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    results = [Result("3.10", True, "9 passed"), Result("3.14", False, "1 failed", "the assertion")]
    assert report(results) == 1
    shown = capsys.readouterr().out
    assert shown.index("the assertion") < shown.index("3.14  FAILED   1 failed")


def test_an_environment_that_cannot_be_built_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(pythons, "interpreter", lambda _: "false")
    monkeypatch.setattr(pythons, "VENVS", tmp_path)
    result = run("3.99")
    assert result.passed is False
    assert "venv" in result.output


def test_the_tests_run_with_all_warnings_and_with_the_usual_allocators(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PYTHONDEVMODE $PYTHONMALLOC"\n')
    python.chmod(0o755)
    monkeypatch.setattr(pythons, "interpreter", lambda _: "python3.99")
    monkeypatch.setattr(pythons, "build", lambda *_: python)
    assert run("3.99").text.startswith("1 pymalloc")


@pytest.mark.parametrize("room", CORE_ROOMS)
def test_the_rooms_exist(room: str) -> None:
    assert (ROOT / "tests" / "unit" / room).is_dir()
