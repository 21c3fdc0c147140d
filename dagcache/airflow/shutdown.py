"""The announcements of an API server's process are removed when the server shuts down.

Uvicorn's workers end by the signal that they got: they shut down, restore the default handler, and raise the signal
again. Neither finalisers nor ``atexit`` run in such a process. The end of the application's lifespan is the last event
that it sees.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any


def watch(module: ModuleType) -> None:
    """Withdraw the announcements at the end of the lifespan of ``module.app``, an application of Starlette.

    An application without a lifespan is left as it is. Idempotent.
    """
    router: Any = getattr(getattr(module, "app", None), "router", None)
    inner = getattr(router, "lifespan_context", None)
    if inner is not None and not hasattr(inner, _MARK):
        router.lifespan_context = _withdrawing(inner)


_MARK = "_dagcache_withdraws"


def _withdrawing(inner: Any) -> Any:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with inner(app) as state:
            try:
                yield state
            finally:
                _withdraw()

    setattr(lifespan, _MARK, True)
    return lifespan


def _withdraw() -> None:
    """Withdraw those parts that this process has imported; nothing is imported in a process that ends."""
    for name in ("dagcache.airflow.component", "dagcache.airflow.fault_endpoint"):
        with suppress(Exception):
            part = sys.modules.get(name)
            if part is not None:
                part.withdraw()
