"""Other interpreters: the core's tests on each, with Python and its standard library alone."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.environments import CommandError, build
from tools.scorecard.outcome import Outcome, not_run
from tools.scorecard.processes import ROOT, last_line, run
from tools.scorecard.reruns import CORE_TESTS

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
UNSUPPORTED = ("3.15",)
"""Versions on which the core's tests run, although Airflow cannot be installed there."""
FREE_THREADED = ("3.13t", "3.14t")
_LEFT_OUT = (
    "tests/integration/test_memory_flat.py",
    *(
        f"tests/unit/reclaim/test_{name}.py"
        for name in ("breaker", "census", "holders", "reference_counts", "waiting_room")
    ),
    *(
        f"tests/unit/sizing/test_{name}.py"
        for name in ("audit", "hidden_weights", "instance_weights", "sampled_walks", "walk", "walk_stdlib")
    ),
)
"""Tests of blocks and exact counts, which are others there, and those of the audit, which needs pympler."""
_NEEDED = ("pytest", "hypothesis<6.140")  # later ones have no wheels for such builds


def interpreter(version: str) -> str | None:
    """The path of an interpreter: this one, one on the path, or one of pyenv's."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    plain, free_threaded = version.removesuffix("t"), version.endswith("t")
    installed = sorted(pyenv.glob(f"{plain}.*{'t' if free_threaded else '[0-9]'}/bin/python3"))
    candidates = [*map(str, reversed(installed)), shutil.which(f"python{version}")]
    # What is on the path may be a stand-in that starts nothing.
    return next((found for found in candidates if found and run([found, "-c", "pass"])[0] == 0), None)


def mapping_tests(versions: Sequence[str]) -> Outcome:
    """CPython's own tests of mappings, on each version that is here."""
    told, failed, missing = [], False, []
    for version in versions:
        python = interpreter(version)
        if python is None:
            missing.append(version)
            continue
        code, _, errors = run([python, "-m", "unittest", "tests.unit.core.test_mapping_protocol"])
        found = re.search(r"^Ran (\d+) tests", errors, re.MULTILINE)
        failed = failed or bool(code) or found is None
        told.append(f"{version}: {found[1] if found and not code else 'failed'}")
    if missing:
        told.append(f"not run on {', '.join(missing)}: not installed")
    return Outcome(", ".join(told), None if len(missing) == len(versions) else not failed)


def free_threaded() -> Outcome:
    """The core's tests, but for those of memory, on a build without the global lock."""
    found = [(version, python) for version in FREE_THREADED if (python := interpreter(version))]
    if not found:
        return not_run(f"no free-threaded build is installed ({', '.join(FREE_THREADED)})")
    told, failed = [], False
    for version, python in found:
        with tempfile.TemporaryDirectory() as folder:
            code, output, errors = _in_venv(python, Path(folder))
        failed = failed or bool(code)
        told.append(f"{version}: {last_line(output or errors)}")
    return Outcome(", ".join(told), passed=not failed)


def _in_venv(python: str, folder: Path) -> tuple[int, str, str]:
    try:
        built = build(folder, python, _NEEDED)
    except CommandError as error:
        return 1, "", str(error)
    left_out = [f"--ignore={ROOT / path}" for path in _LEFT_OUT]
    paths = [str(ROOT / path) for path in CORE_TESTS if path not in _LEFT_OUT]
    return run([str(built), "-m", "pytest", "-q", "-p", "no:cacheprovider", *left_out, *paths])
