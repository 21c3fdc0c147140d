"""The property ``dag`` of Airflow's row objects, served by the bag of this process.

Many of Airflow's readers pass the bag: they read a row of the table of serialised DAGs, and take its property ``dag``.
The scheduler does so for each run that it creates, the API server for its grid. The property is replaced in the
processes whose bag has a cache. Without such a bag, after a fork, and for a version of Airflow with another property,
it works as Airflow's own.
"""

from __future__ import annotations

import logging
import os
import types
import weakref
from typing import Any

_log = logging.getLogger("dagcache")

_COLUMNS = ("dag_version_id", "dag_hash", "last_updated", "_data", "_data_compressed")
PARSED = "_SerializedDagModel__data_cache"
"""The attribute in which a row object keeps its parsed content."""

_servers: tuple[_Server, ...] = ()
"""The newest one first. A bag that is gone leaves the property to the bag before it."""


class _Server:
    """A bag that serves the property, and the processes that it serves in."""

    def __init__(self, bag: Any) -> None:
        self._bag = weakref.ref(bag)
        # An executor's children are copies of the scheduler and no component. Those of an API server are its workers.
        self._pid = os.getpid() if bag.component_name == "scheduler" else 0

    def bag(self) -> Any:
        """The bag; None if it is gone, or if this process is another one."""
        return self._bag() if self._pid in (0, os.getpid()) else None


def serving() -> Any:
    """The bag that serves the property in this process: the newest one that is alive. None if there is none."""
    for server in _servers:
        bag = server.bag()
        if bag is not None:
            return bag
    return None


def serve(bag: Any) -> bool:
    """Have a bag serve the property from now on; False, with one log line, if this property is not known."""
    global _servers
    from airflow.models.serialized_dag import SerializedDagModel

    fault = unknown_property(SerializedDagModel)
    if fault:
        _log.warning("dagcache does not serve SerializedDagModel.dag: unsupported version of Airflow (%s)", fault)
        return False
    _servers = (_Server(bag), *(server for server in _servers if server.bag() is not None))
    replaced = vars(SerializedDagModel)["dag"]
    if not isinstance(replaced, _CachedProperty):
        _replace(SerializedDagModel, _CachedProperty(replaced))
    return True


def unknown_property(model: Any) -> str:
    """The reason why the property cannot be served; empty if it can."""
    found = vars(model).get("dag")
    if isinstance(found, _CachedProperty):
        return ""
    if type(found) is not property or found.fset is not None or type(found.fget) is not types.FunctionType:
        return f"dag is a {type(found).__name__} of another shape"
    if not {"data", "load_op_links", "from_dict"} <= _names_in(found.fget):
        return "dag is not built from data and load_op_links"
    missing = [name for name in _COLUMNS if not hasattr(model, name)]
    if missing:
        return f"there is no {', '.join(missing)}"
    parsed = vars(model).get("data")
    if type(parsed) is not property or PARSED not in _names_in(parsed.fget):
        return "data keeps the parsed content elsewhere"
    return ""


def _names_in(function: Any) -> set[Any]:
    code = getattr(function, "__code__", None)
    return set() if code is None else {*code.co_names, *code.co_consts}


class _CachedProperty(property):
    """Airflow's property, with the bag before it."""

    def __init__(self, stock: property) -> None:
        load: Any = stock.fget
        super().__init__(lambda row: _dag_of(row, load), doc=stock.__doc__)
        self.stock = stock


def _dag_of(row: Any, stock: Any) -> Any:
    bag = serving()
    return stock(row) if bag is None else bag.dag_of_row(row, stock)


def _replace(model: Any, dag: property) -> None:
    model.dag = dag


def stop() -> None:
    """Give the property back to Airflow; for tests and measurements."""
    global _servers
    from airflow.models.serialized_dag import SerializedDagModel

    _servers = ()
    found = vars(SerializedDagModel)["dag"]
    if isinstance(found, _CachedProperty):
        _replace(SerializedDagModel, found.stock)
