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


def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report no exception of a thread: a second one may strike while the interpreter reports the first."""
    for module, name in ((sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, lambda _: None)


def strike_until_dead(*threads: threading.Thread, pause: float = 0.001) -> None:
    """Throw a `Stop` into each thread every ``pause`` seconds until all threads have ended. No `Stop` is reported."""
    deadline = time.monotonic() + PATIENCE
    with _no_stop_reported():
        while any(thread.is_alive() for thread in threads):
            assert time.monotonic() < deadline, "a thread hangs"
            for thread in threads:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stop))
                thread.join(pause)


@contextmanager
def _no_stop_reported() -> Iterator[None]:
    """Skip the reports of `Stop`: one that strikes while another is about to end its thread may strike in a report."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((sys, "unraisablehook"), (threading, "excepthook")):
            report = getattr(module, name)
            patch.setattr(module, name, lambda args, report=report: args.exc_type is Stop or report(args))
        yield
