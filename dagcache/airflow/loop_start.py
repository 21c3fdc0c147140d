"""The start of the scheduler's loop. Until then the cache of a scheduler has no threads.

A scheduler builds its bag, then its executor forks the workers, then the loop starts. A fork of a process with several
threads is a warning on Python 3.12 and later, and a risk on all.

The LocalExecutor of Airflow 3.1.0 forks each worker within the loop, and that of later ones does so for a worker that
has died. `dagcache.forks` is for these: the child uses no lock and no socket of the parent's threads.
"""

from __future__ import annotations

import functools
import types
from contextlib import suppress
from typing import Any

_NAME = "_run_scheduler_loop"


def watch(runner: Any) -> bool:
    """Have a scheduler's class call ``at_loop_start`` of its bag; False if its method is not known. Idempotent."""
    stock: Any = None if runner is None else vars(runner).get(_NAME)
    if hasattr(stock, "stock"):
        return True
    if type(stock) is not types.FunctionType:
        return False

    @functools.wraps(stock)
    def run_scheduler_loop(self: Any, *args: Any, **kwargs: Any) -> Any:
        with suppress(Exception):  # such as a bag without it
            self.scheduler_dag_bag.at_loop_start()
        return stock(self, *args, **kwargs)

    setattr(run_scheduler_loop, "stock", stock)  # noqa: B010 - not an attribute of functions
    setattr(runner, _NAME, run_scheduler_loop)
    return True
