"""Parts of the cache, taken out of the process that is measured: so that a benchmark shows what each of them is worth.

The environment's variable names them, separated by commas. `airflow_local_settings.py` of the throw-away home installs
this before Airflow builds its bag.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

VARIABLE = "DAGCACHE_BENCHMARK_WITHOUT"


def _templates() -> None:
    """Freeze operators as any other object is frozen."""
    from dagcache.freezing.pickle_freezer import PickleFreezer

    stock: Callable[..., None] = PickleFreezer.__init__

    def without(self: Any, *arguments: Any, **named: Any) -> None:
        stock(self, *arguments, **(named | {"alike": ()}))

    vars_of: Any = PickleFreezer
    vars_of.__init__ = without


def _disposal() -> None:
    """Leave victims and rejected values to the garbage collector."""
    from dagcache.core.cache import DagCache

    stock: Callable[..., None] = DagCache.__init__

    def without(self: Any, *arguments: Any, **named: Any) -> None:
        stock(self, *arguments, **(named | {"breaker": None}))

    caches: Any = DagCache
    caches.__init__ = without


PARTS: Mapping[str, Callable[[], None]] = {"disposal": _disposal, "templates": _templates}


def install() -> None:
    """Take out what the environment names.

    Raises:
        KeyError: the part is unknown.

    """
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        PARTS[name]()
