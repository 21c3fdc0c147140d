"""Asynchronous exceptions thrown into threads, as a debugger or a signal handler throws them."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.patience import PATIENCE


class Stop(BaseException):
    """The exception that is thrown."""


@contextmanager
def no_stop_reported() -> Iterator[None]:
    """Skip the reports of `Stop`: of one that strikes in a callback of the collector or at the end of a thread.

    Another one may strike in the report.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((sys, "unraisablehook"), (threading, "excepthook")):
            report = getattr(module, name)
            patch.setattr(module, name, lambda args, report=report: args.exc_type is Stop or report(args))
        yield


def strike_until_dead(*threads: threading.Thread, pause: float = 0.001) -> None:
    """Throw a `Stop` into each thread every ``pause`` seconds until all threads have ended. No `Stop` is reported."""
    deadline = time.monotonic() + PATIENCE
    with no_stop_reported():
        while any(thread.is_alive() for thread in threads):
            assert time.monotonic() < deadline, "a thread hangs"
            for thread in threads:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stop))
                thread.join(pause)
