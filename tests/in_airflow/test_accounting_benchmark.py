"""The benchmark of accounted bytes, as small as it gets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

_SMALL = ("--collect", "--dags=20", "--processes=1", "--jobs=2")


def test_accounted_bytes_are_measured_in_real_schedulers(tmp_path: Path) -> None:
    """The ledger is read within the process, and the allocators' bytes at the end of each loop."""
    page = tmp_path / "page.md"
    page.write_text("<!-- accounted -->\n<!-- /accounted -->\n")
    command = [sys.executable, "-m", "benchmarks.accounting", *_SMALL, f"--page={page}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    looks = [int(count) for count in re.findall(r"MiB accounted in (\d+) looks", done.stderr)]
    assert len(looks) == 4
    assert all(looks)
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line.startswith("|")][2:]
    assert len(rows) == 4
    between, most, allocated = ([float(row[column].split()[0]) for row in rows] for column in (1, 2, 5))
    assert all(0 < least <= peak for least, peak in zip(between, most, strict=True))
    assert max(allocated) > 0
