"""The benchmark of a scheduler's loop, as small as it gets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

_SMALL = ("--databases=sqlite", "--runs=20", "--rounds=1", "--loops=2", "--budgets=64MiB")


def test_both_caches_are_measured_in_real_schedulers(tmp_path: Path) -> None:
    """Loops, CPU time, memory and statements come from the processes; the table goes between the marks of a page."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- loop -->\n<!-- /loop -->\nafter\n")
    command = [sys.executable, "-m", "benchmarks.loop", *_SMALL, f"--home={tmp_path / 'home'}", f"--page={page}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    written = page.read_text()
    assert re.search(r"^before\n.*^after\n", written, re.MULTILINE | re.DOTALL)
    rows = [line.split("|")[1:-1] for line in written.splitlines() if line.startswith("| SQLite")]
    assert [row[2].strip() for row in rows] == ["stock", "dagcache, 64MiB"]
    for row in rows:
        figures = [float(row[column].replace("*", "").split()[0]) for column in (3, 4, 5, 7, 9, 10)]
        assert all(figure > 0 for figure in figures), row
