"""Steps of a forked child: new locks, no inherited sockets, an empty cache.

A child has one thread. A lock that another thread of the parent held stays locked in it, and a socket that it inherits
belongs to the parent. Modules and objects register the steps that put this right. The module stands below all others:
log limits, too, start over in a child.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import MethodType
from typing import Any

_Step = Callable[[], object]

_numbers = itertools.count()
_steps: dict[int, Callable[[], _Step | None]] = {}
"""By number, in the order of registration. A dictionary, since its single operations are atomic: a thread may register
a step while another thread forks."""


def after_fork_in_child(step: _Step) -> None:
    """Run a step in each child that this process forks, in the order of registration. Thread-safe.

    A bound method does not keep its object alive: the step ends with the object. A function stays permanently. An
    Exception in a step is one line in the log, and the other steps run.
    """
    _remove_ended_steps()
    number = next(_numbers)
    if isinstance(step, MethodType):
        _steps[number] = functools.partial(_find_method, weakref.ref(step.__self__), step.__func__)
    else:
        _steps[number] = lambda: step


def _find_method(owner: weakref.ref[Any], function: Callable[..., object]) -> _Step | None:
    found = owner()
    return None if found is None else MethodType(function, found)


def _remove_ended_steps() -> None:
    # At the next registration, not in a callback of the reference: the interpreter runs callbacks anywhere, also in an
    # interpreter that ends, and drops an interrupt that arrives in one.
    for number, find in list(_steps.items()):
        if find() is None:
            _steps.pop(number, None)


def run_steps() -> None:
    """Run all steps. The interpreter calls this in each child; tests call it without one."""
    # All are found first: a step may drop the last reference to an object that has a step of its own to run.
    for step in [find() for find in list(_steps.values())]:
        if step is not None:
            _run(step)


def _run(step: _Step) -> None:
    try:
        step()
    except Exception as error:
        with suppress(Exception):  # a handler of the host may fail in a child
            logging.getLogger("dagcache").error("a step of a forked child failed: %s", type(error).__name__)


if hasattr(os, "register_at_fork"):  # pragma: no branch - only Windows has none
    os.register_at_fork(after_in_child=run_steps)
