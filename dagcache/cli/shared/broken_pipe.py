"""Handling of a reader that closes the pipe, as in ``dagcache advise | head``."""

from __future__ import annotations

import os
import sys


def discard_output() -> None:
    """Redirect stdout to the null device: at exit, the interpreter would write its buffer to the broken pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
