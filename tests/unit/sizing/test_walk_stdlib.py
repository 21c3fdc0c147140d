"""Walks over an instance of each class of the standard library that can be made without arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from tests.support.patience import PATIENCE


@cache
def failures() -> dict[str, Any]:
    """The failures, by check and class."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.stdlib_weights"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["classes"] > 600
    return found


@pytest.mark.parametrize("check", ["weighed", "grown", "guessed"])
def test_an_instance_of_any_class_is_weighed(check: str) -> None:
    """With a dict and without, in Python and in C; with an attribute more; where memory cannot be read."""
    assert failures()[check] == {}
