"""Asynchronous exceptions thrown into threads, as a debugger or a signal handler throws them."""

from __future__ import annotations

import ctypes
import sys
import threading
import time

import pytest

from tests.support.patience import PATIENCE


class Stop(BaseException):
    """The exception that is thrown."""


def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report no exception of a thread: a second one may strike while the interpreter reports the first."""
    for module, name in ((sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, lambda _: None)


def strike_until_dead(*threads: threading.Thread, pause: float = 0.001) -> None:
    """Throw a `Stop` into each thread every ``pause`` seconds until all threads have ended."""
    deadline = time.monotonic() + PATIENCE
    while any(thread.is_alive() for thread in threads):
        assert time.monotonic() < deadline, "a thread hangs"
        for thread in threads:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stop))
            thread.join(pause)
