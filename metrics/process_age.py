"""The age of a process, so that a process id that belongs to another program by now is recognised. Linux only."""

from __future__ import annotations

import os
import time
from pathlib import Path

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)
_START = 22 - 3
"""The place of ``starttime`` among the fields that follow the name of the command in ``/proc/PID/stat`` (proc(5))."""


def process_age(pid: int) -> float | None:
    """Seconds since a process started; None where it is unknown: no such process, or not Linux. Thread-safe.

    By the clock that counts from the boot. ``/proc/uptime`` does not serve: some containers have their own value there.
    """
    if _BOOT_CLOCK is None:
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return time.clock_gettime(_BOOT_CLOCK) - int(fields[_START]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
