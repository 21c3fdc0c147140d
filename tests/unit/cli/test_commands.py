"""Common properties of all commands: help with an example, and exit codes."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

import dagcache
from dagcache.cli import main as command
from dagcache.cli.main import main
from dagcache.cli.replay import command as replay
from dagcache.cli.shared.failure import CommandError, InputError
from tests.support.measured import measured
from tests.support.patience import PATIENCE

COMMANDS = ("run", "advise", "top", "set", "doctor", "replay", "audit", "monitoring", "warm")


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Have `replay` end by an exception."""

    def end_by(error: BaseException) -> None:
        def end(_: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr(replay, "main", end)

    return end_by


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One that can be typed."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"example: dagcache {name}")


@pytest.mark.parametrize(("error", "code"), [(CommandError("it failed"), 1), (InputError("not a trace"), 2)])
def test_a_failure_is_one_line_and_an_exit_code(
    error: CommandError, code: int, ending: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """1 for a failure, 2 for invalid input."""
    ending(error)
    assert main(["replay", "trace"]) == code
    assert capsys.readouterr().err == f"dagcache: {error}\n"


def test_a_traceback_is_shown_where_it_is_asked_for(
    ending: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """By `--debug`, before the command's name; the last line and the exit code stay."""
    ending(InputError("not a trace"))
    assert main(["--debug", "replay", "trace"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "dagcache: not a trace"


def test_an_interrupt_ends_a_command_without_a_traceback(ending: Callable[[BaseException], None]) -> None:
    """With the exit code that a shell gives."""
    ending(KeyboardInterrupt())
    assert main(["replay", "trace"]) == 130


def test_a_reader_that_goes_away_ends_a_command_without_a_traceback() -> None:
    """As `head` does."""
    code = (
        "import sys, os, dagcache.cli.main as m, dagcache.cli.replay.command as r\n"
        "def write(_):\n"
        "    while True:\n"
        "        print('a line')\n"
        "r.main = write\n"
        "sys.exit(m.main(['replay', 'trace']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(PATIENCE) == 1
    assert errors == b""


@pytest.mark.parametrize("module", ["dagcache", "dagcache.cli"])
def test_the_package_runs_as_the_command(module: str) -> None:
    """By `python -m`, wherever no script is on the path."""
    command = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **measured()})
    assert (done.returncode, done.stdout, done.stderr) == (0, f"dagcache {dagcache.__version__}\n", "")


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """It lists the commands."""
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^    (\w+)\b", printed, re.MULTILINE) == list(COMMANDS)


def test_every_command_is_offered() -> None:
    """Those that the documents name."""
    assert tuple(command._COMMANDS) == COMMANDS
