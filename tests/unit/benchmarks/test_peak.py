"""The file through which a measured process reports the bytes that its cache accounts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import peak
from tests.support.paths import ROOT

_PROCESS = """\
import time
from pathlib import Path

from benchmarks import peak

peak.install()
from dagcache import DagCache

file = Path({path!r})

cache = DagCache(max_bytes=0, sizer=lambda _: 1_000_000, freezer=None)
cache["a"], cache["b"] = [1], [2]
while peak.read(file).most < 2_000_000:
    time.sleep(0.01)
del cache["a"]
while peak.read(file).now >= 2_000_000:
    time.sleep(0.01)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A new one."""
    peak.new_file(tmp_path / "peak")
    return tmp_path / "peak"


def test_a_new_file_has_no_looks(file: Path) -> None:
    assert peak.read(file) == (0.0, 0.0, 0)


def test_a_process_reports_the_most_and_the_last_bytes(file: Path) -> None:
    """The most stays when an entry leaves."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW__")}
    script = _PROCESS.format(path=str(file))
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env | {peak.VARIABLE: str(file)}, check=True)
    found = peak.read(file)
    assert 1_000_000 <= found.now < 2_000_000 <= found.most < 3_000_000
    assert found.looks > 1


def test_the_most_so_far_can_be_forgotten(file: Path) -> None:
    """At the beginning of the sweep that counts."""
    file.write_bytes(bytes([1]) * len(file.read_bytes()))
    peak.begin(file)
    assert peak.read(file) == (0.0, 0.0, 0)
