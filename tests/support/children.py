"""Children by fork, as a test makes them: how each one ended, and the ports that it, or any process, listens on."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LONGEST = 10.0  # seconds, for a child that needs milliseconds


def fork(task: Callable[[], None]) -> int:
    """Fork a child that does a task and ends, with 1 if the task raises; its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # these tests are about the mix of forks and threads
        pid = os.fork()
    if pid:
        return pid
    faulthandler.dump_traceback_later(LONGEST / 2)
    try:
        task()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def outcome(pid: int) -> str:
    """How a child ended: its exit code, or that it hung."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return str(os.waitstatus_to_exitcode(status))
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


def listening_ports(pid: int | str = "self") -> set[int]:
    """The ports on which a process has sockets that listen."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            held.add(os.readlink(link))
    tables = (Path(f"/proc/{pid}/net/{table}") for table in ("tcp", "tcp6"))  # the latter, where there is IPv6
    lines = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()]
    listening = (line for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in held)
    return {int(line[1].rpartition(":")[2], 16) for line in listening}
