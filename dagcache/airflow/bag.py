"""Airflow's DAG bag with its lookups through a `DagCache`.

Loading stays Airflow's own: a load calls the bag's inherited ``_get_dag``, which finds nothing in the mapping that it
looks into (`NothingToFind`) and so reads the row. Only what is done with the result is ours. Rules:

- None means "not in the database" and nothing else, unless a quarantine is asked for; Airflow's exceptions pass
  unwrapped;
- the caller's session is used by the caller's thread only, and never committed;
- a fault of our own costs a log line and one load the way Airflow does it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from dagcache.airflow import rows
from dagcache.airflow.component import Component
from dagcache.airflow.confirmations import Confirmation, Confirmations
from dagcache.airflow.payload import PayloadSizes
from dagcache.airflow.quarantine import Quarantine
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.cache import DagCache
from dagcache.gcpause import gc_paused
from dagcache.intake import Loaded

_log = logging.getLogger("dagcache")
_thread = threading.local()


class NothingToFind(MutableMapping[Any, Any]):
    """What the inherited code takes for its dictionary of DAGs: as long as the cache, and without content.

    The inherited lookup misses and so loads; what it then stores is taken up by the lookup that called it.
    """

    def __init__(self, cache: DagCache[UUID, Any]) -> None:
        self._cache = cache

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Only note it: the lookup that asked for the load keeps the value."""
        load = getattr(_thread, "load", None)
        if load is not None:
            load.stored = key

    def __delitem__(self, key: Any) -> None:
        self._cache.invalidate(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cache)

    def __len__(self) -> int:
        """With the DAG that this thread is loading: the inherited code tells the size before the cache has got it."""
        load = getattr(_thread, "load", None)
        coming = load is not None and load.stored is not None and load.stored not in self._cache
        return len(self._cache) + coming

    def clear(self) -> None:
        """Empty the cache."""
        self._cache.clear()


class CachedLookups:
    """Mixed in before one of Airflow's bag classes, by `cached_bag`. Thread-safe."""

    component_name: ClassVar[str]
    make_component: ClassVar[Callable[[Callable[[Any], Any]], Component]]
    tell_hit: Callable[[], object]

    dagcache: DagCache[UUID, Any] | None = None
    """The cache; None if it could not be built: then this is Airflow's own bag."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self._attach()
        except Exception:
            _log.exception("dagcache is off in this %s: Airflow's own cache serves", self.component_name)

    def _attach(self) -> None:
        from airflow.configuration import conf

        self._dags: Any
        if not isinstance(self._dags, MutableMapping):
            raise TypeError(f"the bag's _dags is no mapping but a {type(self._dags).__name__}")
        self._confirmed = Confirmations(float(conf.getint("core", "min_serialized_dag_update_interval")))
        self._payloads = PayloadSizes()
        self._component = type(self).make_component(_version_of)
        self._quarantine = Quarantine(self._component.quarantine_seconds)
        cache = self._component.cache
        self._dags = NothingToFind(cache)
        self.dagcache = cache

    # ---- Airflow's names ----

    def _get_dag(self, version_id: Any, session: Any) -> Any:
        """The DAG of a version, from the cache or by Airflow's own load; None if it is not in the database."""
        if self.dagcache is None or self._is_loading():
            return super()._get_dag(version_id=version_id, session=session)  # type: ignore[misc]
        key = version_id if type(version_id) is UUID else _as_uuid(version_id)
        known = self._confirmed.get(key)
        now = time.monotonic()
        if known is None or self._confirmed.is_due(known, now):
            return self._look_up(key, _Load(self, session, now, self._revalidate(key, known, session, now)))
        return self._look_up(key, _Load(self, session, now))

    def get_latest_version_of_dag(self, dag_id: str, *, session: Any) -> Any:
        """The newest version of a DAG; a version whose content is cached and current is not read again."""
        if self.dagcache is None:
            return super().get_latest_version_of_dag(dag_id, session=session)  # type: ignore[misc]
        now = time.monotonic()
        content = rows.latest_content(dag_id, session)
        if content is None:
            return None
        known = self._confirmed.get(content.version_id)
        row = None
        if known is not None and known.dag_hash == content.dag_hash:
            self._confirm(content.version_id, content.dag_hash, now)
        else:
            row = self._forget(content.version_id, session, rewritten=known is not None)
        return self._look_up(content.version_id, _Load(self, session, now, row))

    def _read_dag(self, serdag: Any) -> Any:
        """Airflow's own reading of a row, with the collector paused; the load that asked for it takes notes."""
        load = getattr(_thread, "load", None)
        if load is None or load.bag is not self:
            return super()._read_dag(serdag)  # type: ignore[misc]
        with gc_paused():
            share_strings(serdag.data)
            dag = super()._read_dag(serdag)  # type: ignore[misc]
            _share(dag)
        load.note(serdag)
        return dag

    # ---- looking up ----

    def _look_up(self, key: UUID, load: _Load) -> Any:
        if self._quarantine and self._quarantine.holds(key, time.monotonic()):
            return None
        try:
            dag = self.dagcache.get_or_load(key, load)  # type: ignore[union-attr] # anew each time: a fork replaces it
        except Exception as error:
            if _is_airflows(error):
                raise
            _log.exception("dagcache failed on %s: loaded the way Airflow does", key)
            return super()._get_dag(version_id=key, session=load.session)  # type: ignore[misc]
        if dag is not None and not load.ran:
            self.tell_hit()
        return dag

    def _revalidate(self, key: UUID, known: Confirmation | None, session: Any, now: float) -> object:
        """See to it that what is cached is what the database holds.

        Airflow may rewrite a version in place, but no more often than once in the window: within it nothing is asked.
        """
        cache = self.dagcache
        assert cache is not None
        if known is None:
            return self._forget(key, session, rewritten=False) if key in cache else None
        asked = self._confirmed.to_ask(key, now, cache)
        found = rows.current_hashes(asked, session)
        self._confirmed.renew(asked, found, now)
        return None if found.get(key) == known.dag_hash else self._forget(key, session, rewritten=True)

    def _forget(self, key: UUID, session: Any, *, rewritten: bool) -> object:
        self._confirmed.forget(key)
        assert self.dagcache is not None
        self.dagcache.invalidate(key)
        return rows.refresh(key, session) if rewritten else None

    def _load(self, key: UUID, load: _Load) -> Any:
        """Airflow's own load, by the thread that leads; whatever it raises is remembered as Airflow's."""
        outer, _thread.load = getattr(_thread, "load", None), load
        try:
            dag = super()._get_dag(version_id=key, session=load.session)  # type: ignore[misc]
            self._component.loaded()
            return dag
        except Exception as error:
            if self._quarantine.takes(key, error, time.monotonic()):
                return None
            with suppress(AttributeError):
                error._raised_by_airflow = True  # type: ignore[attr-defined] # noqa: SLF001 - for whoever waits for this load
            raise
        finally:
            _thread.load = outer

    def _growth(self, dag: Any) -> int:
        try:
            return self._component.growth_bytes(dag)
        except Exception:
            _log.debug("how much a DAG grows in use cannot be told", exc_info=True)
            return 0

    def _is_loading(self) -> bool:
        return getattr(_thread, "load", None) is not None

    def _confirm(self, key: UUID, dag_hash: str, since: float) -> None:
        cache = self.dagcache
        if cache is not None:
            self._confirmed.confirm(key, dag_hash, since, cache)


class _Load:
    """One lookup's way to load: called by the cache, in the thread that asked, if nothing is found."""

    __slots__ = ("bag", "dag_hash", "ran", "row", "serialized_bytes", "session", "since", "stored")

    def __init__(self, bag: CachedLookups, session: Any, since: float, row: object = None) -> None:
        self.bag = bag
        self.session = session
        self.since = since  # before anything was asked of the database: what is written from now on may go unseen
        self.row = row
        self.ran = False
        self.stored: object = None
        self.dag_hash: str | None = None
        self.serialized_bytes = 0

    def __call__(self, key: UUID) -> Loaded | None:
        self.ran = True
        dag = self.bag._load(key, self)  # noqa: SLF001 - a part of the bag
        self.session = self.row = None
        if dag is None:
            return None
        if self.dag_hash is not None:
            self.bag._confirm(key, self.dag_hash, self.since)  # noqa: SLF001
        return Loaded(dag, serialized_bytes=self.serialized_bytes, growth_bytes=self.bag._growth(dag))  # noqa: SLF001

    def note(self, serdag: Any) -> None:
        """Take down what the row tells beside the DAG."""
        self.dag_hash = serdag.dag_hash
        _noted(serdag, self._note_version)
        _noted(serdag, self._note_size)

    def _note_version(self, serdag: Any) -> None:
        _thread.version = (serdag.dag_version_id, serdag.dag_id, serdag.dag_version.version_number)

    def _note_size(self, serdag: Any) -> None:
        self.serialized_bytes = self.bag._payloads.bytes_of(serdag)  # noqa: SLF001


def _share(dag: Any) -> None:
    try:
        if dag is not None:
            share_immutables(dag)
    except Exception:
        _log.debug("what is equal in %r stays apart", dag, exc_info=True)


def _noted(serdag: Any, note: Callable[[Any], None]) -> None:
    try:
        note(serdag)
    except Exception:
        _log.debug("%s tells no size or number", serdag.dag_version_id, exc_info=True)


def _is_airflows(error: Exception) -> bool:
    return getattr(error, "_raised_by_airflow", False)


def _version_of(key: UUID) -> tuple[str, int] | None:
    """The DAG and the version's number, as the load that this thread has just done noted them."""
    noted = getattr(_thread, "version", None)
    return (noted[1], noted[2]) if noted is not None and noted[0] == key else None


def _as_uuid(version_id: Any) -> Any:
    try:
        return UUID(version_id)
    except (AttributeError, TypeError, ValueError):
        return version_id


def cached_bag(base: type, component: str, make_component: Callable[..., Component]) -> type:
    """A subclass of one of Airflow's bag classes whose lookups go through a cache."""
    return type(
        f"DagCache{base.__name__}",
        (CachedLookups, base),
        {
            "__module__": __name__,
            "component_name": component,
            "make_component": staticmethod(make_component),
            "tell_hit": _hit_teller(base),
        },
    )


def _hit_teller(base: Any) -> Callable[[Any], object]:
    """How a bag of this class counts a hit for Airflow's own statistics."""
    if hasattr(base, "_on_cache_hit"):
        return lambda bag: bag._on_cache_hit()  # noqa: SLF001 - Airflow 3.3.2
    module = sys.modules[base.__module__]
    stats = getattr(module, "stats", None) or getattr(module, "Stats", None)  # since 3.3.0, and before
    if stats is None:
        return lambda bag: None  # Airflow 3.1 counts nothing

    def tell(bag: Any) -> None:
        if getattr(bag, "_use_cache", False):  # Airflow 3.2 counts in the API server only
            stats.incr("api_server.dag_bag.cache_hit")

    return tell
