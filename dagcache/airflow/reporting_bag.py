"""Airflow's own bag class, with a constructor that exports the fault that keeps the cache off."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_REPLACED = "_dagcache_replaced"


def reporting(bag: type, component: str, reason: str, *, later: bool = False) -> type:
    """A subclass of a bag class that is stock in all respects, and exports a fault when a bag is built.

    ``reason`` is one of `dagcache.metrics.definitions.FAULTS`. ``later``: with the scheduler's loop instead.

    Raises:
        TypeError: the class refuses a subclass.

    """
    construct: Callable[..., None] = bag.__init__  # type: ignore[misc] # of this class, not of a subclass

    @functools.wraps(construct)
    def construct_and_export(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if not later:
            export(self)

    def export(_self: Any) -> None:
        with suppress(Exception):  # the export may be what is broken; the log has the fault
            from dagcache.airflow import fault_endpoint

            fault_endpoint.export(component, reason)

    names: dict[str, Any] = {"__module__": bag.__module__, "__qualname__": bag.__qualname__, "__doc__": bag.__doc__}
    names |= {"__init__": construct_and_export, _REPLACED: bag} | ({"at_loop_start": export} if later else {})
    return types.new_class(bag.__name__, (bag,), {}, lambda body: body.update(names))


def original(bag: Any) -> Any:
    """The class that `reporting` has replaced; any other object is returned as it is."""
    return vars(bag).get(_REPLACED, bag) if isinstance(bag, type) else bag
