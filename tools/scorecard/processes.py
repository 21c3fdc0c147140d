"""Measurements and tests in processes of their own, and their figures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tools.scorecard.outcome import Outcome

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 1800


class MeasureError(Exception):
    """A measurement broke, or printed no figures."""


def measure(name: str, *arguments: object, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object that a measurement prints last.

    Raises:
        MeasureError: it ended with an error, hung, or printed none.

    """
    command = [sys.executable, "-m", f"tools.scorecard.measures.{name}", *map(str, arguments)]
    code, output, errors = run(command, env=env)
    objects = [line for line in output.splitlines() if line.startswith("{")]
    if code or not objects:
        raise MeasureError(f"{name} ended with {code}: {last_line(errors)} {last_frame(errors)}")
    figures: dict[str, Any] = json.loads(objects[-1])
    return figures


def run(command: list[str], *, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in the checkout.

    Raises:
        MeasureError: it took longer than half an hour.

    """
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"{' '.join(command[1:4])} hung for {LONGEST_SECONDS} s") from error
    return done.returncode, done.stdout, done.stderr


def last_frame(errors: str) -> str:
    """Where a traceback ends, without the paths of this machine: an AssertionError often says nothing else."""
    found = re.findall(r'^ *File ".*?([^/"]+)", (line \d+, in .+)$', errors, re.MULTILINE)
    return "({}, {})".format(*found[-1]) if found else ""


def last_line(output: str) -> str:
    """The last line of a command's output: the error itself, without the paths of this machine."""
    return (output.strip().splitlines() or ["nothing"])[-1]


@dataclass(frozen=True, slots=True)
class Tests:
    """The result of a run of pytest."""

    passed: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    """Why, for each."""

    @property
    def outcome(self) -> Outcome:
        """Passed if all were; not run if none was."""
        if self.failed:
            return Outcome(f"{len(self.failed)} failed: {', '.join(self.failed)[:200]}", passed=False)
        if not self.passed:
            return Outcome(self.skipped[0] if self.skipped else "no test was found", passed=None)
        return Outcome(self.figure, passed=True)

    @property
    def figure(self) -> str:
        """How many."""
        skipped = f", {len(self.skipped)} skipped ({self.skipped[0]})" if self.skipped else ""
        return f"{self.passed} of {self.passed} tests{skipped}"


def run_tests(*which: str, soak: bool = False, coverage: Path | None = None) -> Tests:
    """Run tests, the long ones only if wanted; with ``coverage``, take down there which branches they reach.

    Raises:
        MeasureError: pytest did not get as far as running tests.

    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        marks = ["-o", "addopts=", *([] if soak else ["-m", "not soak"])]
        quiet = ["-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        under = ["-m", "coverage", "run", f"--data-file={coverage}"] if coverage else []
        command = [sys.executable, *under, "-m", "pytest", *marks, *quiet, *which]
        code, output, errors = run(command, env=_environment())
        if not report.exists():
            raise MeasureError(f"pytest ended with {code}: {last_line(output + errors)}")
        return read_report(report)


def read_report(report: Path) -> Tests:
    """The content of a JUnit report."""
    failed, skipped, passed = [], [], 0
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name", "?"))
        elif (left_out := case.find("skipped")) is not None:
            skipped.append(left_out.get("message", ""))
        else:
            passed += 1
    return Tests(passed, tuple(failed), tuple(skipped))


def _environment() -> dict[str, str]:
    """Without a hint that would change how much the tests do."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AIRFLOW"))}
