"""The run of a fault: a copy of the code with the fault in it, and the tests over that copy.

Only a failed test counts as notice. A run that ends in another way (a test file is gone, cannot be imported, has no
tests, or hangs) proves nothing: the fault is *broken*. The tests must pass without a fault, too: `check_tests`.
"""

from __future__ import annotations

import enum
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tools.mutants.fault import Fault, FaultError
from tools.mutants.planting import plant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dagcache", "sizing", "metrics", "tests", "tools")
_LONGEST_SECONDS = 600
"""Of the tests of one fault. A hang may be the work of the fault or of a busy machine, so it is not notice."""
_PASSED, _FAILED = 0, 1  # exit codes of pytest


class Verdict(enum.Enum):
    """The outcome for one fault."""

    KILLED = "killed"
    """A test failed."""
    SURVIVED = "SURVIVED"
    """All tests passed."""
    BROKEN = "BROKEN"
    """The fault could not be planted, or its tests did not run to the end and none failed."""


class Result(NamedTuple):
    """The verdict on a fault, and its reason."""

    fault: Fault
    verdict: Verdict
    reason: str
    """The first test that failed, the last line of pytest, or the error."""
    seconds: float

    def line(self) -> str:
        """One line of the report."""
        return f"{self.verdict.value:<9} {self.seconds:4.0f} s  {self.fault.name:<80}  {self.reason}"


def try_fault(fault: Fault) -> Result:
    """Plant a fault in a copy and run its tests there."""
    started = time.monotonic()
    with _copy() as folder:
        target = folder / fault.file
        try:
            target.write_text(plant(target.read_text(), fault))
            verdict, reason = _test(folder, fault.tests)
        except (FaultError, FileNotFoundError) as error:
            verdict, reason = Verdict.BROKEN, str(error)
    return Result(fault, verdict, reason, time.monotonic() - started)


def check_tests(faults: Iterable[Fault]) -> str:
    """Run the tests of some faults over code without a fault: the first failure, or ''."""
    tests = dict.fromkeys(test for fault in faults for test in fault.tests)
    with _copy() as folder:
        verdict, reason = _test(folder, tests)
    return "" if verdict is Verdict.SURVIVED else reason


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in COPIED:
            shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        yield folder


def _test(folder: Path, tests: Iterable[str]) -> tuple[Verdict, str]:
    # The same examples each time: a fault must not depend on luck to be noticed.
    examples = ["--hypothesis-seed=0", "--hypothesis-profile=unshrunk"]
    options = ["-x", "-q", "-p", "no:cacheprovider", *examples]
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LONGEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Verdict.BROKEN, f"the tests hung for {_LONGEST_SECONDS} s"
    return judge(done.returncode, done.stdout)


def judge(code: int, output: str) -> tuple[Verdict, str]:
    """The verdict by the exit code and the output of pytest, and its reason."""
    lines = output.strip().splitlines() or ["no output"]
    failed = [line for line in lines if line.startswith(("FAILED tests", "ERROR tests"))]
    reason = (failed or lines[-1:])[0].partition(" - ")[0]
    verdict = {_PASSED: Verdict.SURVIVED, _FAILED: Verdict.KILLED}.get(code, Verdict.BROKEN)
    return verdict, reason.removeprefix("FAILED ")
