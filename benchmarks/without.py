"""Parts of a cache, taken out of the process that is measured: so that a benchmark shows what each of them is worth.

The environment's variable names them, separated by commas. `airflow_local_settings.py` of the throw-away home installs
this before Airflow builds its bag.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

VARIABLE = "DAGCACHE_BENCHMARK_WITHOUT"


def _made_with(module: str, name: str, **changes: object) -> AbstractContextManager[object]:
    """Change arguments of a class's constructor."""
    kind: Any = getattr(importlib.import_module(module), name)
    stock = kind.__init__

    @functools.wraps(stock)
    def without(self: Any, *arguments: Any, **named: Any) -> None:
        stock(self, *arguments, **(named | changes))

    return mock.patch.object(kind, "__init__", without)


def _find_nothing(_disposer: object, _ticket: int) -> list[object]:  # a mock would take longer
    return []


def _unbounded() -> AbstractContextManager[object]:
    # The module of the scheduler cannot be imported this early.
    return _made_with("airflow.models.dagbag", "CachedDBDagBag", cache_size=0)


PARTS: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
    "bound": _unbounded,
    "disposal": lambda: _made_with("dagcache.core.cache", "DagCache", breaker=None),
    "sharing": lambda: mock.patch("dagcache.core.disposal.Disposer.find", _find_nothing),
    "templates": lambda: _made_with("dagcache.freezing.pickle_freezer", "PickleFreezer", alike=()),
}
"""Without the bound, Airflow's own cache keeps all DAGs. Without disposal, victims are left to the garbage collector.
Without sharing, a lookup thaws another copy of a DAG that left the live tier and is still held. Without templates,
operators are frozen as any other object is."""


def left_out(part: str) -> AbstractContextManager[object]:
    """Take a part out of everything that is made meanwhile.

    Raises:
        KeyError: the part is unknown.

    """
    return PARTS[part]()


def install() -> None:
    """Take out what the environment names, for good.

    Raises:
        KeyError: the part is unknown.

    """
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        left_out(name).__enter__()
