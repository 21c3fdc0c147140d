"""Virtual environments of the tools, each built once and rebuilt when its requirements change."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

LONGEST_SECONDS = 900


class CommandError(Exception):
    """A command failed, or took too long; the message has the command and its output."""


def build(folder: Path, python: str, requirements: Sequence[str]) -> Path:
    """The interpreter of the environment in ``folder``.

    Args:
        folder: the environment. It is cleared if it was built for another interpreter or other requirements.
        python: the interpreter that the environment is for.
        requirements: arguments of ``pip install``.

    Raises:
        CommandError: a command failed, or took longer than a quarter of an hour.

    """
    built, ready = str(folder / "bin" / "python"), folder / "ready"
    wanted = "\n".join((python, *requirements))
    if not ready.exists() or ready.read_text() != wanted:
        run(python, "-m", "venv", "--clear", str(folder))
        run(built, "-m", "pip", "install", "--quiet", *requirements)
        ready.write_text(wanted)
    return Path(built)


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """What a command writes to its standard output; ``env`` is its environment, by default that of this process.

    Raises:
        CommandError: it failed, or took longer than a quarter of an hour.

    """
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_SECONDS, env=env)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = "\n".join(str(text) for text in (error.stdout, error.stderr) if text)
        raise CommandError(f"{type(error).__name__} of {' '.join(command)}\n{output}") from error
    return done.stdout
