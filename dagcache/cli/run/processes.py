"""Child processes of which nothing is left over, whatever they start and however this process ends."""

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

    Airflow's tasks make sessions and groups of their own, so descent counts, not the group: on Linux this process
    adopts them when what started them is gone; and what was started here gets SIGTERM when this process is killed.
    To be used from the main thread. ``patience`` is how many seconds they all have to end in good order.
    """

    def __init__(self, patience: float = 20.0) -> None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._patience = patience
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self, command: Sequence[str], env: Mapping[str, str], *, log: Path, out: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process; what it prints goes to ``log``, or to ``out`` what it prints to stdout."""
        with contextlib.ExitStack() as opened:
            errors = opened.enter_context(log.open("ab"))
            output = errors if out is None else opened.enter_context(out.open("wb"))
            # A session of its own: Ctrl-C in the terminal reaches this process only, which then ends it in good order.
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
        """End all children of this process: those started here one by one, the last one first, then what is left."""
        import psutil  # type: ignore[import-untyped]  # comes with Airflow, not with us

        kin = set(psutil.Process().children(recursive=True))
        deadline = time.monotonic() + self._patience
        for process in reversed(self._started):  # what was started later needs what was there before
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
