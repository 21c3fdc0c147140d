"""The example of another scheduler."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import PATIENCE


def test_the_example_of_another_scheduler_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.other_scheduler"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("180 lookups: ")
    assert " 60 loaded\n" in done.stdout
