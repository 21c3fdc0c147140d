"""Virtual environments of the tools, each built once and rebuilt when its requirements change."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

LONGEST_SECONDS = 900


class BuildError(Exception):
    """An environment cannot be built; the message has the command and its output."""


def build(folder: Path, python: str, requirements: Sequence[str]) -> Path:
    """The interpreter of the environment in ``folder``.

    Args:
        folder: the environment. It is cleared if it was built for another interpreter or other requirements.
        python: the interpreter that the environment is for.
        requirements: arguments of ``pip install``.

    Raises:
        BuildError: a command failed, or took longer than a quarter of an hour.

    """
    built, ready = str(folder / "bin" / "python"), folder / "ready"
    wanted = "\n".join((python, *requirements))
    if not ready.exists() or ready.read_text() != wanted:
        _run(python, "-m", "venv", "--clear", str(folder))
        _run(built, "-m", "pip", "install", "--quiet", *requirements)
        ready.write_text(wanted)
    return Path(built)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = "\n".join(str(text) for text in (error.stdout, error.stderr) if text)
        raise BuildError(f"{type(error).__name__} of {' '.join(command)}\n{output}") from error
