"""The tests against real Airflow, on other versions of it and of Python: ``python -m tools.matrix [ROW ...]``.

Each row has a separate virtual environment, ``.venv-matrix/<row>``, which is built once. A row whose Python is not
installed is named, and the matrix fails.
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
from tools.scorecard.interpreters import interpreter

ROOT = Path(__file__).resolve().parents[1]
VENVS = ROOT / ".venv-matrix"

PINS: dict[str, tuple[str, ...]] = {
    "3.1.0": ("sqlalchemy<2.1", "fastapi<0.118", "cadwyn<6", "structlog<25.5", "pyjwt<2.11"),
    "3.1.8": ("sqlalchemy<2.1",),
    "3.2.1": ("sqlalchemy<2.1", "fastapi<0.137", "cadwyn<8"),
    "3.2.2": ("sqlalchemy<2.1", "fastapi<0.137", "cadwyn<8"),
    "3.3.1": ("fastapi<0.137", "cadwyn<8"),
    "pre": (),
    "3.3.2-py3.14": (),
    "pre-py3.14": (),
}
"""The rows: a version of Airflow, and perhaps of Python; this one's else. Each has pins for libraries that it does not
support in newer versions.

The oldest, the last of each minor release, and both sides of each change to the DAG bag: 3.2.2 bounded
the API server's, 3.3.1 is the last before the class was split. `make airflow-check` uses the newest, 3.3.2.
``pre`` is the newest release or pre-release: the next Airflow is then tested before its release day. A later one is
installed after its environment, ``.venv-matrix/pre``, is deleted.
"""
PRE_RELEASES = ">=3.4.0b1"
"""With a pre-release in its condition, pip takes pre-releases of this package. ``--pre`` would take them of all."""
_ON = "-py"
COMMON = (
    "aiomysql>=0.2",
    "asyncpg>=0.30",
    "greenlet>=3",
    "gunicorn>=23,!=25.1.0",
    "hypothesis>=6.100",
    "psycopg2-binary>=2.9",
    "psycopg[binary]>=3.2",
    "pymysql>=1.1",
    "pytest>=8.2",
    "statsd>=4",
)
"""Drivers, servers and what the tests themselves need: those of the groups ``test``, ``bench`` and
``airflow``."""


class Result(NamedTuple):
    """The result of the tests of one row."""

    row: str
    code: int
    counts: Counter[str]
    seconds: float
    reason: str = ""
    """Why the tests did not run; empty: they ran."""

    def line(self) -> str:
        """One line of the table."""
        cells = (f"{self.counts[kind]:>8}" for kind in ("passed", "failed", "skipped"))
        verdict = "ok" if self.code == 0 else f"NOT RUN: {self.reason}" if self.reason else "FAILED"
        return f"{self.row:<13}{''.join(cells)}{self.seconds:>8.0f} s  {verdict}"


def requirements(row: str) -> list[str]:
    """The arguments of ``pip install`` for a row; another row has the pins of its Airflow, if there are any."""
    version = row.partition(_ON)[0]
    wanted = PRE_RELEASES if version == "pre" else f"=={version}"
    airflow = [f"{package}{wanted}" for package in ("apache-airflow", "apache-airflow-core")]
    return [*airflow, *PINS.get(row, PINS.get(version, ())), *COMMON, "--editable", str(ROOT)]


def python_of(row: str) -> str | None:
    """The interpreter of a row; None if it is not installed."""
    version = row.partition(_ON)[2]
    return interpreter(version) if version else sys.executable


def run(row: str, arguments: Sequence[str]) -> Result:
    """Run the tests of a row; their output goes to the terminal."""
    base = python_of(row)
    if base is None:
        return Result(row, 1, Counter(), 0.0, reason=f"Python {row.partition(_ON)[2]} is not installed")
    python = environments.build(VENVS / row, base, requirements(row))
    report = VENVS / row / "report.xml"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    command = [str(python), "-m", "pytest", "tests/in_airflow", "-q", f"--junitxml={report}", *arguments]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    return Result(row, code, _counts(report), time.monotonic() - started)


def _counts(report: Path) -> Counter[str]:
    if not report.exists():
        return Counter()
    cases = ET.parse(report).getroot().iter("testcase")
    kinds = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    return Counter(next((kinds[child.tag] for child in case if child.tag in kinds), "passed") for case in cases)


def main(argv: Sequence[str] | None = None) -> int:
    """Run them all; 0 if all passed."""
    parser = argparse.ArgumentParser(prog="python -m tools.matrix", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(PINS)} (default: all)")
    parser.add_argument("--pytest", default="", help="further arguments for pytest, in one string")
    chosen = parser.parse_args(argv)
    rows = chosen.rows or list(PINS)
    unknown = set(rows) - set(PINS)
    if unknown:
        parser.error(f"unknown row: {', '.join(sorted(unknown))}; known are {', '.join(PINS)}")
    results = [run(row, shlex.split(chosen.pytest)) for row in rows]
    lines = [
        f"{'Airflow':<13}{'passed':>8}{'failed':>8}{'skipped':>8}{'time':>10}",
        *(result.line() for result in results),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(any(result.code for result in results))


if __name__ == "__main__":
    sys.exit(main())
