"""The scheduler's ``_get_current_dag``, which it calls for each run that it creates, by its bag.

Airflow's own method reads the whole row of a DAG's newest version and builds a new object without operator links. The
bag gives the same object by the row's hash: it reads no content that the cache has.
"""

from __future__ import annotations

import functools
import inspect
import logging
import types
from typing import Any

from dagcache.log_limits import report

_log = logging.getLogger("dagcache")

_NAME = "_get_current_dag"
_PARAMETERS = ("self", "dag_id", "session")
_USES = {"SerializedDagModel", "get", "load_op_links", "dag"}


def serve(runner: Any) -> bool:
    """Have a scheduler's class ask its bag; False, with one log line, if its method is not known.

    Idempotent. Airflow 3.1 has a function in place of the method. There the property of rows serves.
    """
    stock: Any = None if runner is None else vars(runner).get(_NAME)
    if stock is None or hasattr(stock, "stock"):
        return stock is not None
    if not _is_known(stock):
        _log.warning("dagcache does not serve %s of the scheduler: unsupported version of Airflow", _NAME)
        return False

    @functools.wraps(stock)
    def get_current_dag(self: Any, dag_id: str, session: Any) -> Any:
        read = getattr(getattr(self, "scheduler_dag_bag", None), "current_dag", None)
        if read is not None:
            try:
                return read(dag_id, session=session)
            except LookupError:
                pass
            except Exception as error:  # Airflow's own method meets it again, and logs it
                report("current dag", "Airflow's own method reads DAG %s", dag_id, error=error, level=logging.DEBUG)
        return stock(self, dag_id=dag_id, session=session)

    setattr(get_current_dag, "stock", stock)  # noqa: B010 - not an attribute of functions
    setattr(runner, _NAME, get_current_dag)
    return True


def _is_known(method: Any) -> bool:
    if type(method) is not types.FunctionType:
        return False
    return tuple(inspect.signature(method).parameters) == _PARAMETERS and set(method.__code__.co_names) >= _USES
