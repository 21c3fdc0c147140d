"""The unit tests of the rooms that need no Airflow, on every other Python: ``python -m tools.pythons``.

Each version has a separate virtual environment, ``.venv-pythons/<version>``, which is built once. As many run at a
time as there are processors. A version that is not installed is named and is not a failure: CI's machine has one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tools.environments import LONGEST_SECONDS, CommandError, build
from tools.scorecard.interpreters import SUPPORTED, UNSUPPORTED, interpreter
from tools.scorecard.reruns import CORE_ROOMS

ROOT = Path(__file__).resolve().parents[1]
VENVS = ROOT / ".venv-pythons"
NEEDED = (
    "pytest>=8.2",
    "hypothesis>=6.100",
    "pympler>=1.1",
    "sqlalchemy>=2.0",
    "prometheus-client>=0.20",
    "greenlet>=3",
)
NUMPY = "numpy>=1.26"
"""For the weights of arrays. Versions of Python that are not supported may have no build of it."""
DEVELOPMENT = {"PYTHONDEVMODE": "1", "PYTHONMALLOC": "pymalloc"}
"""The environment that brings all warnings, in child processes as well; with the usual allocators, whose bytes are
compared with weights."""
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"


class Result(NamedTuple):
    """The outcome on one version of Python."""

    version: str
    passed: bool | None
    """None: not run."""
    text: str
    """The last line of pytest, or the reason."""
    output: str = ""
    """All output of a run that failed."""

    def line(self) -> str:
        """One line of the report."""
        verdict = {True: "passed", False: "FAILED", None: "not run"}[self.passed]
        return f"{self.version:<6}{verdict:<9}{self.text}"


def run(version: str) -> Result:
    """The tests on one version."""
    if version == THIS:
        return Result(version, None, "this Python: the other targets run all tests on it")
    python = interpreter(version)
    if python is None:
        return Result(version, None, "not installed")
    started = time.monotonic()
    folders = [f"tests/unit/{room}" for room in CORE_ROOMS]
    # An own base directory: several versions run at a time, and pytest clears those of others.
    base = f"--basetemp={VENVS / version / 'tmp'}"
    try:
        needed = (*NEEDED, NUMPY) if version in SUPPORTED else NEEDED
        command = [str(build(VENVS / version, python, needed)), "-m", "pytest", "-q", "-p", "no:cacheprovider", base]
        marks = ["-m", "(weights or not slow) and not soak"]
        done = subprocess.run(
            [*command, *marks, *folders],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_SECONDS,
            env={**os.environ, **DEVELOPMENT, "HYPOTHESIS_STORAGE_DIRECTORY": str(VENVS / version / "hypothesis")},
        )
    except CommandError as error:
        return Result(version, False, "its environment cannot be built", str(error))
    except subprocess.TimeoutExpired as error:
        return Result(version, False, f"not done in {LONGEST_SECONDS} s", str(error.stdout or ""))
    text = (done.stdout.strip().splitlines() or ["no output"])[-1]
    seconds = f"{text.strip('= ')}, {time.monotonic() - started:.0f} s in all"
    return Result(version, done.returncode == 0, seconds, "" if done.returncode == 0 else done.stdout + done.stderr)


def report(results: Sequence[Result]) -> int:
    """Print a line per version, and the failures; the exit code."""
    lines = [result.output for result in results if result.output] + [result.line() for result in results]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return int(any(result.passed is False for result in results))


def main() -> None:
    """Run the versions side by side."""
    parser = argparse.ArgumentParser(prog="python -m tools.pythons", description=__doc__)
    every = [*SUPPORTED, *UNSUPPORTED]
    parser.add_argument("versions", nargs="*", default=every, metavar="VERSION", help="default: all")
    chosen = parser.parse_args()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        sys.exit(report(list(pool.map(run, chosen.versions))))


if __name__ == "__main__":
    main()
