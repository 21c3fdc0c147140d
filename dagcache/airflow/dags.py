"""The bag's dictionary of DAGs, as the code of others sees it: a mapping over the cache.

Airflow's own code finds nothing in it, so it reads the row. For other code it is a mapping from version ids to the
values of Airflow's own bag. An entry may leave at any time: iteration skips it, and looking it up is a KeyError.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, ItemsView, Iterator, MutableMapping, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from dagcache.airflow.confirmations import Confirmations
from dagcache.core.cache import DagCache
from dagcache.core.unset import UNSET
from dagcache.core.views import PresentItems, PresentValues

_in_airflows_code: ContextVar[Stored | None] = ContextVar("Airflow's own code runs", default=None)


class Stored:
    """The key under which Airflow's own code stored a DAG; None before it does."""

    def __init__(self) -> None:
        self.key: Hashable = None


@contextmanager
def in_airflows_code() -> Iterator[Stored]:
    """Have Airflow's own code find nothing in the dictionary of its bag."""
    stored = Stored()
    outer = _in_airflows_code.set(stored)
    try:
        yield stored
    finally:
        _in_airflows_code.reset(outer)


def runs_airflows_code() -> bool:
    """Whether Airflow's own code runs in this context, to load without the cache."""
    return _in_airflows_code.get() is not None


class Dags(MutableMapping[Any, Any]):
    """A mapping from the versions in the cache to the values of Airflow's own bag. Thread-safe.

    Reading a value is a lookup of the cache. What is stored is not kept: its content is unknown.

    ``as_stock(dag, dag_hash, last_validated)`` makes the value of Airflow's bag.
    """

    def __init__(
        self, cache: DagCache[Any, Any], confirmed: Confirmations, as_stock: Callable[[Any, Any, float], Any]
    ) -> None:
        self._cache = cache
        self._confirmed = confirmed
        self._as_stock = as_stock

    def __getitem__(self, key: Any) -> Any:
        known = None if _in_airflows_code.get() else self._confirmed.get(key)
        found = UNSET if known is None else self._cache.get(key, UNSET)
        if known is None or found is UNSET:
            raise KeyError(key)
        return self._as_stock(found, getattr(known.content, "dag_hash", None), known.since)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Note the key for the load under way; the lookup that asked for it keeps the value."""
        stored = _in_airflows_code.get()
        if stored is not None:
            stored.key = key

    def __delitem__(self, key: Any) -> None:
        self._cache.invalidate(key)

    def __contains__(self, key: object) -> bool:
        return not _in_airflows_code.get() and key in self._cache

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cache)

    def __len__(self) -> int:
        """Includes the DAG that this thread loads: Airflow's code reports the size before the cache has the DAG."""
        stored = _in_airflows_code.get()
        coming = stored is not None and stored.key is not None and stored.key not in self._cache
        return len(self._cache) + coming

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment] # as a dictionary's

    def __repr__(self) -> str:
        return f"<the DAGs of {self._cache!r}>"

    def values(self) -> ValuesView[Any]:
        """A view of the values. Iteration looks up the keys of its beginning, and skips those that leave."""
        return PresentValues(self)

    def items(self) -> ItemsView[Any, Any]:
        """A view of the keys and values: as `values`."""
        return PresentItems(self)

    def copy(self) -> dict[Any, Any]:
        """The keys and values of now, in a dictionary."""
        return dict(self.items())

    __copy__ = copy

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove a version, and return its value or the default; KeyError without either."""
        try:
            value = self[key]
        except KeyError:
            if not default:
                raise
            return default[0]
        del self[key]
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Remove a version, and return its key and value; KeyError if there is none."""
        for key, value in self.items():
            del self[key]
            return key, value
        raise KeyError("there is no DAG")

    def clear(self) -> None:
        """Empty the cache."""
        self._cache.clear()
