"""The tests against real Airflow, on older versions of it: ``python -m tools.matrix [VERSION ...]``.

Each version has a separate virtual environment, ``.venv-matrix/<version>``, which is built once.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tools import environments

ROOT = Path(__file__).resolve().parents[1]
VENVS = ROOT / ".venv-matrix"

PINS: dict[str, tuple[str, ...]] = {
    "3.1.0": ("sqlalchemy<2.1", "fastapi<0.118", "cadwyn<6", "structlog<25.5", "pyjwt<2.11"),
    "3.1.8": ("sqlalchemy<2.1",),
    "3.2.1": ("sqlalchemy<2.1", "fastapi<0.137", "cadwyn<8"),
    "3.2.2": ("sqlalchemy<2.1", "fastapi<0.137", "cadwyn<8"),
    "3.3.1": ("fastapi<0.137", "cadwyn<8"),
    "pre": (),
}
"""The versions, each with pins for libraries that it does not support in newer versions.

The oldest, the last of each minor release, and both sides of each change to the DAG bag: 3.2.2 bounded
the API server's, 3.3.1 is the last before the class was split. `make airflow-check` uses the newest, 3.3.2.
``pre`` is the newest release or pre-release: the next Airflow is then tested before its release day. A later one is
installed after its environment, ``.venv-matrix/pre``, is deleted.
"""
PRE_RELEASES = ">=3.4.0b1"
"""With a pre-release in its condition, pip takes pre-releases of this package. ``--pre`` would take them of all."""
COMMON = ("psycopg2-binary>=2.9", "asyncpg>=0.30", "pytest>=8.2")


class Result(NamedTuple):
    """The result of the tests of one version."""

    version: str
    code: int
    counts: Counter[str]
    seconds: float

    def line(self) -> str:
        """One line of the table."""
        cells = (f"{self.counts[kind]:>7}" for kind in ("passed", "failed", "skipped"))
        return f"{self.version:<8}{''.join(cells)}{self.seconds:>8.0f} s  {'ok' if self.code == 0 else 'FAILED'}"


def requirements(version: str) -> list[str]:
    """The arguments of ``pip install`` for a version."""
    wanted = PRE_RELEASES if version == "pre" else f"=={version}"
    airflow = [f"{package}{wanted}" for package in ("apache-airflow", "apache-airflow-core")]
    return [*airflow, *PINS[version], *COMMON, "--editable", str(ROOT)]


def build(version: str) -> Path:
    """The interpreter of a version's environment."""
    return environments.build(VENVS / version, sys.executable, requirements(version))


def run(version: str, arguments: Sequence[str]) -> Result:
    """Run the tests of a version; their output goes to the terminal."""
    python = build(version)
    report = VENVS / version / "report.xml"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    command = [str(python), "-m", "pytest", "tests/in_airflow", "-q", f"--junitxml={report}", *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    return Result(version, code, _counts(report), time.monotonic() - started)


def _counts(report: Path) -> Counter[str]:
    if not report.exists():
        return Counter()
    cases = ET.parse(report).getroot().iter("testcase")
    kinds = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    return Counter(next((kinds[child.tag] for child in case if child.tag in kinds), "passed") for case in cases)


def main(argv: Sequence[str] | None = None) -> int:
    """Run them all; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="python -m tools.matrix", description=__doc__)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of {', '.join(PINS)} (default: all)")
    parser.add_argument("--pytest", default="", help="further arguments for pytest, in one string")
    chosen = parser.parse_args(argv)
    versions = chosen.versions or list(PINS)
    unknown = set(versions) - set(PINS)
    if unknown:
        parser.error(f"unknown version: {', '.join(sorted(unknown))}; known are {', '.join(PINS)}")
    results = [run(version, shlex.split(chosen.pytest)) for version in versions]
    lines = [
        f"{'Airflow':<8}{'passed':>7}{'failed':>7}{'skipped':>8}{'time':>9}",
        *(result.line() for result in results),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(result.code for result in results))


if __name__ == "__main__":
    sys.exit(main())
