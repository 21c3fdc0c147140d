"""Parts that the commands share: a closed pipe, progress, installed packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dagcache.cli.main import main
from dagcache.cli.replay import command as replay
from dagcache.cli.shared import installed, progress
from dagcache.cli.shared.broken_pipe import discard_output
from dagcache.cli.shared.progress import LateBars, ProgressBar


def test_output_after_a_closed_pipe_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter writes its buffers at its end."""
    path = tmp_path / "stdout"
    with path.open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        out.write("buffered")
        discard_output()
        out.flush()
        monkeypatch.undo()
    assert path.read_text() == ""


def test_a_closed_pipe_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a traceback."""
    discarded: list[bool] = []

    def write(_: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(replay, "main", write)
    monkeypatch.setattr("dagcache.cli.main.discard_output", lambda: discarded.append(True))
    assert main(["replay", "trace"]) == 1
    assert discarded == [True]


@pytest.mark.parametrize("error", [ImportError, ValueError])
def test_an_airflow_that_cannot_be_found_is_not_installed(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module without a specification, or a finder that fails."""

    def find_spec(_: str) -> None:
        raise error

    monkeypatch.setattr(installed, "find_spec", find_spec)
    assert not installed.has_airflow()


def test_on_a_terminal_steps_are_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes stand above them."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = progress.progress()
    assert isinstance(shown, ProgressBar)
    shown.step("one", 1, 2)
    shown.step("two", 0, 1)
    shown.note("a note")
    shown.close()
    assert "a note" in capsys.readouterr().out


def is_shown(bars: LateBars) -> bool:
    """Whether there is a bar."""
    return bars._bars is not None


def test_late_bars_appear_after_two_seconds_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before."""
    now = 100.0
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("dagcache.cli.shared.progress.time.monotonic", lambda: now)
    bars = LateBars()
    bars.step("one", 1, 2)
    assert not is_shown(bars)
    now += 2.0
    bars.step("one", 2, 2)
    assert is_shown(bars)
    bars.close()


def test_without_rich_there_are_no_late_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result may not need it."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("dagcache.cli.shared.progress.time.monotonic", iter([100.0, 102.0, 103.0]).__next__)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    bars = LateBars()
    bars.step("one", 1, 2)
    bars.step("one", 2, 2)
    assert not is_shown(bars)
    bars.close()
