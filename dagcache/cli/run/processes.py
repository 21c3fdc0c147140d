"""Child processes that end with this process, together with all their descendants."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


class Processes:
    """Starts processes; `close` ends every child of this process with all descendants.

    Airflow's tasks start sessions and process groups of their own, so descent counts, not the group. On Linux this
    process adopts them when their parents end, and its children get SIGTERM when it is killed. For
    the main thread only.
    ``patience``: seconds that all of them have to end after SIGTERM.
    """

    def __init__(self, patience: float = 20.0) -> None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._patience = patience
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: Sequence[str], env: Mapping[str, str], *, log: Path, out: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process with its output in ``log``, or with its stdout in ``out``."""
        with contextlib.ExitStack() as opened:
            errors = opened.enter_context(log.open("ab"))
            output = errors if out is None else opened.enter_context(out.open("wb"))
            # A session of its own: Ctrl-C on the terminal reaches this process only, which then ends the child.
            process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_end_with_the_parent,
            )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End all children of this process: those started here one by one, the last one first, then the others."""
        import psutil  # type: ignore[import-untyped]  # Airflow installs it

        kin = set(psutil.Process().children(recursive=True))
        deadline = time.monotonic() + self._patience
        for process in reversed(self._started):  # a later process needs the earlier ones
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        self._started.clear()
        kin |= set(psutil.Process().children(recursive=True))
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for relative in kin:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(relative)
            _, kin = psutil.wait_procs(kin, timeout=2.0)


def _end_with_the_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)
