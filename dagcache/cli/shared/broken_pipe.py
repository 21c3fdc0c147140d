"""What is left to do when nobody reads what a command prints, as in ``dagcache advise | head``."""

from __future__ import annotations

import os
import sys


def discard_output() -> None:
    """Lead stdout nowhere: what is still buffered, the interpreter would write to the broken pipe at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
