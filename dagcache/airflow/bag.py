"""Airflow's DAG bag with lookups through a `DagCache`.

Airflow's own code loads: a load calls the bag's inherited method, which misses in its mapping (`Dags`) and so
reads the row. Rules:

- None means only "not in the database", unless a quarantine is set. Airflow's exceptions pass unwrapped.
- Airflow gives the newest version of a DAG to one caller alone, and so does this bag.
- A DAG is kept and shared only if it equals what this bag loads without a cache. It is served only until the window
  has passed since the start of the database view in which it was found.
- Only the caller's thread uses the caller's session, and never commits it. A DAG is built from a row that is read for
  it on the caller's connection, not from a row object that the session has kept.
- A fault of this package costs a log line and one load by Airflow's own code.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Hashable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

from dagcache.airflow import foreign, operator_links, row_property, rows, session_starts, snapshots
from dagcache.airflow.component import Component
from dagcache.airflow.confirmations import RECORD_BYTES, Confirmation, Confirmations
from dagcache.airflow.dags import Dags, in_airflows_code, runs_airflows_code
from dagcache.airflow.hit_counting import hit_counter
from dagcache.airflow.payload import PayloadSizes
from dagcache.airflow.quarantine import is_of_the_database
from dagcache.airflow.reading import as_just_loaded, unless_it_fails
from dagcache.airflow.row_reader import RowReader
from dagcache.airflow.rows import Content, Newest
from dagcache.airflow.sharing import share_immutables, share_strings
from dagcache.airflow.unkept import Unkept
from dagcache.core.cache import DagCache
from dagcache.core.loaded import Fetched, Loaded
from dagcache.errors import RecursiveLoadError
from dagcache.log_limits import report
from dagcache.reclaim.gc_lap import end_lap_if_over
from dagcache.reclaim.gc_pause import gc_relaxed

if TYPE_CHECKING:
    from dagcache.airflow.warm_lookups import WarmDag

_log = logging.getLogger("dagcache")
T = TypeVar("T")
# Per context, not per thread: greenlets share a thread, and each has its own context.
_current: ContextVar[_Load | None] = ContextVar("the load under way", default=None)

PATIENCE = 10.0
"""Seconds that a lookup waits for another thread's load of the same version before it loads the version itself. The
largest DAGs take about three seconds to load."""
_ROUNDS = 3  # attempts to agree with other threads on the content of a version, before Airflow's own load
_READINGS = 3  # of a row, until it has the operator links that the bag asks for


class CachedLookups:
    """A mixin that `cached_bag` puts before one of Airflow's bag classes. Thread-safe."""

    component_name: ClassVar[str]
    make_component: ClassVar[Callable[[], Component]]
    count_hit: Callable[[], object]

    dagcache: DagCache[UUID, Any] | None = None
    """The cache; None if building it failed. The bag then works as Airflow's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self._attach()
        except Exception as error:
            report("attach", "dagcache is off in this %s: Airflow's own cache serves", self.component_name, error=error)
            from dagcache.airflow import fault_endpoint

            fault_endpoint.export(self.component_name, "error")

    def _attach(self) -> None:
        from airflow.configuration import conf

        self._dags: Any
        if not isinstance(self._dags, MutableMapping):
            raise TypeError(f"the bag's _dags is a {type(self._dags).__name__}, not a mapping")
        self._confirmed = Confirmations(float(conf.getint("core", "min_serialized_dag_update_interval")))
        snapshots.watch()
        self._payloads = PayloadSizes()
        self._component = type(self).make_component()  # pyright: ignore[reportAttributeAccessIssue]
        self._quarantine = self._component.quarantine
        cache = self._component.cache
        self._dags = Dags(cache, self._confirmed, _stock_value(type(self)))
        self.dagcache = cache
        self._row_reader = RowReader(cache, self._confirmed, load_op_links=self.load_op_links)  # type: ignore[attr-defined]
        self._unkept = Unkept()
        self._warm = self._component.warm_lookups(load_op_links=self.load_op_links)  # type: ignore[attr-defined]
        if self._component.serves:
            row_property.serve(self)

    def at_loop_start(self) -> None:
        """Start the threads of the cache, and watch the scheduler's sessions: its executor has forked its workers."""
        if self.dagcache is not None:
            self._component.start()
            if self._component.serves:
                session_starts.watch(self.dagcache)

    # ---- Airflow's names ----

    def _get_dag(self, version_id: Any, session: Any) -> Any:
        """The DAG of a version, from the cache or by Airflow's own load; None if it is not in the database."""
        if self.dagcache is None or self._is_loading():
            return super()._get_dag(version_id=version_id, session=session)  # type: ignore[misc]
        end_lap_if_over()
        key = version_id if type(version_id) is UUID else _as_uuid(version_id)
        if self._quarantine_answers(key):
            return None
        load = _Load(self, key, session)
        known = self._confirmed.get(key)
        is_current = known is not None and not self._confirmed.is_due(known, time.monotonic()) and key in self.dagcache
        look_up = self._look_up if is_current else self._look_up_and_compare
        dag = self._guarded(load, look_up)
        if dag is not None and not load.ran:
            self.count_hit()
        return dag

    def get_latest_version_of_dag(self, dag_id: str, *, session: Any) -> Any:
        """The newest version of a DAG, as an object for this caller only. With a current copy the row is not read."""
        if self.dagcache is None or self._is_loading() or rows.has_unwritten(session):
            return super().get_latest_version_of_dag(dag_id, session=session)  # type: ignore[misc]
        since = snapshots.view(session).since
        newest = rows.newest(dag_id, session)
        if newest is None or self._quarantine_answers(newest.version_id):
            return None
        load = _Load(self, newest.version_id, session, newest=newest, dag_id=dag_id, renew=True)
        load.expect(newest.content, since)
        return self._guarded(load, self._look_up_and_compare)

    def _read_dag(self, serdag: Any) -> Any:
        """Read a row with Airflow's own code, with rare garbage collections; the load that asked for it takes notes."""
        load = _current.get()
        if load is None or load.bag is not self:
            return super()._read_dag(serdag)  # type: ignore[misc]
        data = serdag.data  # Airflow parses it, and the row object keeps it
        with gc_relaxed():
            self._try_step(share_strings, data)
            timetable = foreign.timetable_of(serdag)  # first: a plugin's code may change what it decodes
            dag, sound = self._read_with_its_links(serdag)
            foreign.note(dag, timetable)
            if dag is not None:
                self._try_step(share_immutables, dag)
        if sound:
            self._try_step(load.note, serdag)
        return dag

    def _read_with_its_links(self, serdag: Any) -> tuple[Any, bool | None]:
        """The DAG of a row, and whether it has the operator links that this bag asks for; None if that is unknown."""
        dag, sound = None, None
        for _ in range(_READINGS):
            dag = super()._read_dag(serdag)  # type: ignore[misc]
            sound = dag is None or self._try_step(self._has_its_links, dag, serdag)
            if sound is not False:
                break
        return dag, sound

    # ---- looking up ----

    def _guarded(self, load: _Load, look_up: Callable[[_Load], Any]) -> Any:
        """Look up; Airflow's errors pass, and any other error leads to Airflow's own load."""
        try:
            dag = look_up(load)
            if self._warm is not None and load.loaded is not None:
                self._warm.publish(load.key, load.loaded)
            return dag
        except RecursiveLoadError:
            # Two tasks of one thread: greenlets, as SQLAlchemy's asynchronous sessions use them.
            return self._load_as_airflow(load)
        except Exception as error:
            is_airflows = error is load.error or is_of_the_database(error)
            load.error = None  # the error's frames would keep the load and the session alive
            if is_airflows:
                raise
            self._component.count_fault()
            report("lookup", "dagcache failed on version %s: Airflow's own load serves it", load.key, error=error)
            return self._load_as_airflow(load)

    def _look_up(self, load: _Load) -> Any:
        """Look up without asking the database: the content was found current within the window."""
        assert self.dagcache is not None
        return self.dagcache.get_or_load(load.key, load, timeout=PATIENCE)

    def _look_up_and_compare(self, load: _Load) -> Any:
        """Look up a DAG with the content that the caller's session sees, or with a later one."""
        assert self.dagcache is not None
        until = time.monotonic() + PATIENCE
        for _ in range(_ROUNDS):
            if not self._settle(load):
                break
            left = max(0.0, until - time.monotonic())
            found = self.dagcache.fetch(load.key, load, private=load.private, renew=load.renew, timeout=left)
            if load.ran:
                return found.value
            if self._is_as_expected(load, found):
                return as_just_loaded(found.value) if load.private else found.value
        return self._load_as_airflow(load)

    def _settle(self, load: _Load) -> bool:
        """Invalidate an entry with stale content in the view of the session; False if the session's view is older.

        Afterwards the load expects the content that may be served; None stands for any current content.
        """
        key, cache, confirmed = load.key, self.dagcache, self._confirmed
        assert cache is not None
        known = confirmed.get(key)
        if known is None and key in cache:
            known = confirmed.get(key)
            if known is None:  # resident, with unknown content: useless
                cache.invalidate(key, only_if=lambda: confirmed.retract(key, None))
        if not load.private:
            self._ask(load, known)
        elif known is not None:
            confirmed.renew({key: known}, {key: load.content}, load.since)
        if known is None or known.content == load.content:
            return True
        if load.since < known.since:
            return False
        cache.invalidate(key, only_if=lambda: confirmed.retract(key, known))
        return True

    def _ask(self, load: _Load, known: Confirmation | None) -> None:
        """Ask the database for the content of a version if that is due, and for that of other due versions with it."""
        cache, now, session = self.dagcache, time.monotonic(), load.session
        assert cache is not None
        if known is None:
            session.connection()  # before other lookups wait for this one: they may hold all connections of the pool
            load.expect(None, snapshots.UNKNOWN)
            return
        if not self._confirmed.is_due(known, now):
            load.expect(known.content, known.since)
            return
        view = snapshots.view(session)
        if view.lasts and view.since == known.since:
            load.expect(known.content, known.since)  # found in this very view, which cannot see later content
        else:
            # An old view has only the old content of the other versions.
            together = self._confirmed.is_fresh(view.since, now)
            asked = self._confirmed.to_ask(load.key, now, cache) if together else {load.key: known}
            found = rows.current_contents(asked, session)
            self._confirmed.renew(asked, found, view.since)
            load.expect(found.get(load.key), view.since)

    def _is_as_expected(self, load: _Load, found: Fetched[Any]) -> bool:
        """Whether this lookup may serve a value that another lookup loaded."""
        if load.content is not None:
            return found.content == load.content
        known = self._confirmed.get(load.key)
        return (
            known is not None and known.content == found.content and not self._confirmed.is_due(known, time.monotonic())
        )

    # ---- loading ----

    def _load(self, load: _Load) -> Any:
        """Load with Airflow's own code, in the leading thread; an error that it raises is noted as Airflow's."""
        outer = _current.set(load)
        dag_id = load.dag_id
        try:
            with rows.reading(load.session) as load.reader:
                try:
                    dag = self._load_as_airflow(load)
                except Exception:
                    dag_id = dag_id or rows.dag_id_of(load.key, load.reader)  # while the session has its rows
                    raise
            self._component.loaded()
            return dag
        except Exception as error:
            if self._quarantine.takes(load.key, error, time.monotonic(), dag_id):
                return None
            load.error = error
            raise
        finally:
            load.reader = None
            _current.reset(outer)

    def _load_warm(self, load: _Load) -> Loaded[Any] | None:
        """Get the DAG of an earlier process from the store; None if Airflow is to load it."""
        if self._warm is None:
            return None
        known = None if load.newest is None else (str(load.dag_id), load.newest.content, load.since)
        found = self._warm.look_up(load.key, load.session, known)
        if found is None:
            return None
        self._component.loaded()
        return load.found_warm(found)

    def _load_as_airflow(self, load: _Load) -> Any:
        load.ran = True
        session = load.session if load.reader is None else load.reader
        with in_airflows_code():
            if load.dag_id is not None:
                return super().get_latest_version_of_dag(load.dag_id, session=session)  # type: ignore[misc]
            return super()._get_dag(version_id=load.key, session=session)  # type: ignore[misc]

    def _try_step(self, step: Callable[..., T], *args: Any) -> T | None:
        return unless_it_fails(self._component.count_fault, step, *args)

    def _has_its_links(self, dag: Any, serdag: Any) -> bool:
        return operator_links.are_as_asked(dag, serdag.data, self.load_op_links)  # type: ignore[attr-defined]

    def _quarantine_answers(self, key: Any) -> bool:
        """Count a lookup of a version in quarantine, which gets nothing; False, and no count, for other versions."""
        if not (self._quarantine and self._quarantine.holds(key, time.monotonic())):
            return False
        self._quarantine.count_miss()
        return True

    def _is_loading(self) -> bool:
        return _current.get() is not None

    # ---- for Airflow's readers past the bag ----

    def current_dag(self, dag_id: str, *, session: Any) -> Any:
        """The newest version of a DAG without links, for this caller only. What other lookups share stays.

        Raises:
            LookupError: this read is Airflow's own.
            Exception: as Airflow's own load.

        """
        cache = self.dagcache
        if cache is None or not cache.config.frozen or not self._component.serves or self.load_op_links:  # type: ignore[attr-defined]
            raise LookupError("this read is Airflow's own")
        if self._is_loading() or rows.has_unwritten(session):
            raise LookupError("this read is Airflow's own")
        newest = rows.newest(dag_id, session)
        if newest is None:
            return None
        if self._quarantine_answers(newest.version_id):
            raise LookupError("the quarantine is for lookups of the bag")
        load = _Load(self, newest.version_id, session, newest=newest, dag_id=dag_id)
        # Airflow's own reader leaves the bag as it is. So the bag asks the database before it serves what this found.
        load.expect(newest.content, snapshots.UNKNOWN)
        return self._read_current(load, cache)

    def _read_current(self, load: _Load, cache: DagCache[UUID, Any]) -> Any:
        """Look up, but leave to Airflow's own load what would be frozen in vain."""
        version = load.key, load.content
        is_live_only = load.key in cache and not cache.frozen_bytes(load.key)
        if is_live_only or self._unkept.holds(version, time.monotonic()):
            raise LookupError("this version has no frozen copy")
        dag = self._guarded(load, self._look_up_and_compare)
        if load.was_to_be_kept and not cache.frozen_bytes(load.key):
            self._unkept.add(load.found_version, time.monotonic())
        return dag

    def dag_of_row(self, row: Any, stock: Callable[[Any], Any]) -> Any:
        """The value of a row's property ``dag``, for its caller alone; ``stock(row)`` is Airflow's own."""
        if self.dagcache is None or self._is_loading() or runs_airflows_code():
            return stock(row)
        return self._row_reader.dag_of(row, stock)


class _Load:
    """The loader of one lookup; the cache calls it after a miss, in the thread of the lookup."""

    __slots__ = (
        "_found",
        "_is_sound",
        "_read_since",
        "bag",
        "content",
        "dag_id",
        "error",
        "key",
        "loaded",
        "newest",
        "ran",
        "reader",
        "renew",
        "serialized_bytes",
        "session",
        "since",
        "version",
        "was_to_be_kept",
    )

    def __init__(
        self,
        bag: CachedLookups,
        key: UUID,
        session: Any,
        newest: Newest | None = None,
        dag_id: str | None = None,
        renew: bool = False,
    ) -> None:
        self.bag = bag
        self.key = key
        self.session = session
        self.newest = newest
        self.dag_id = dag_id
        """The DAG, if the lookup is for its newest version; None if it is for a version id."""
        self.renew = renew
        """Whether the object that lookups by version id share is given up, as Airflow's bag replaces it."""
        self.reader: Any = None
        """The session that reads the row, on the caller's connection; None before and after."""
        self.content: Hashable = None
        """The content that the session found; None: not asked, or not in the database."""
        self.since = snapshots.UNKNOWN
        """The start of the database view in which it was found, in monotonic seconds."""
        self.ran = False
        self.error: Exception | None = None
        self.serialized_bytes = 0
        self.version: tuple[str, int] | None = None
        """The DAG's id and the number of the version; None: unknown."""
        self.loaded: Content | None = None
        """The content that Airflow's own load has read for a sound DAG; None: not loaded."""
        self.was_to_be_kept = False
        """Whether its value was offered to the cache as current: if it is not there, then it cannot be kept."""
        self._is_sound = False
        self._found: Content | None = None
        self._read_since = snapshots.UNKNOWN

    @property
    def private(self) -> bool:
        """Whether Airflow gives the DAG to this caller only."""
        return self.dag_id is not None

    @property
    def found_version(self) -> tuple[UUID, Hashable]:
        """The version with the content that it has loaded."""
        return self.key, self._found

    def expect(self, content: Hashable, since: float) -> None:
        """Set the content that this or an earlier session found, and the start of that session's view."""
        self.content, self.since = content, since

    def __call__(self, key: UUID) -> Loaded[Any] | None:
        self.ran = True
        bag = self.bag
        if bag._quarantine_answers(key):  # noqa: SLF001 - a part of the bag
            return None
        warm = bag._load_warm(self)  # noqa: SLF001
        if warm is not None:
            return warm
        if self.renew or not self.private:
            self._read_since = snapshots.view(self.session).since
        dag = bag._load(self)  # noqa: SLF001
        if dag is None:
            return None
        return Loaded(
            dag,
            serialized_bytes=self.serialized_bytes,
            content=self._found,
            version=self.version,
            record_bytes=RECORD_BYTES,
            keep_if=self._is_to_be_kept,
        )

    def found_warm(self, found: WarmDag) -> Loaded[Any]:
        """Take the facts of a DAG from the store."""
        self._found = found.confirmed.content
        self._is_sound = True
        if self.renew or not self.private:
            self._read_since = found.confirmed.since
        return Loaded(
            found.dag,
            serialized_bytes=found.serialized_bytes,
            content=self._found,
            version=(found.confirmed.dag_id, found.order),
            record_bytes=RECORD_BYTES,
            keep_if=self._is_to_be_kept,
            prepared=found.prepared,
        )

    def note(self, serdag: Any) -> None:
        """Take the version number, the size and the content from the row of a sound DAG."""
        _noted(serdag, self._note_version)
        _noted(serdag, self._note_size)
        self._found = rows.content_of(serdag)
        self._is_sound = _as_uuid(serdag.dag_version_id) == self.key and not rows.has_unwritten(self.session)
        self.loaded = self._found if self._is_sound else None

    def _is_to_be_kept(self) -> bool:
        """Confirm the content that was loaded, unless a newer one is known. Runs under the cache's lock."""
        cache = self.bag.dagcache
        if not self._is_sound or cache is None:
            return False
        confirmed = self.bag._confirmed  # noqa: SLF001
        self.was_to_be_kept = confirmed.confirm(self.key, self._found, self._read_since, cache)
        return self.was_to_be_kept

    def _note_version(self, serdag: Any) -> None:
        if serdag.dag_version_id == self.key:
            number = rows.number_of(self.key, self.reader) if self.newest is None else self.newest.number
            self.version = serdag.dag_id, number

    def _note_size(self, serdag: Any) -> None:
        self.serialized_bytes = self.bag._payloads.bytes_of(serdag)  # noqa: SLF001


def _noted(serdag: Any, note: Callable[[Any], None]) -> None:
    try:
        note(serdag)
    except Exception:
        _log.debug("version %s: its size or number is unknown", serdag.dag_version_id, exc_info=True)


def _as_uuid(version_id: Any) -> Any:
    try:
        return UUID(version_id)
    except (AttributeError, TypeError, ValueError):
        return version_id


def _stock_value(kind: type) -> Callable[[Any, Any, float], Any]:
    """The function that makes a value of a bag's dictionary, as this version of Airflow keeps it."""
    modules = (sys.modules.get(base.__module__) for base in kind.__mro__)
    entry: Any = next((found for module in modules if (found := getattr(module, "_CacheEntry", None))), None)
    if getattr(entry, "_fields", None) == ("dag", "dag_hash", "last_validated"):
        return lambda dag, dag_hash, since: entry(dag, dag_hash, since)
    return lambda dag, _dag_hash, _since: dag


def cached_bag(base: type, component: str, make_component: Callable[..., Component]) -> type:
    """A subclass of one of Airflow's bag classes with lookups through a cache."""
    return type(
        f"DagCache{base.__name__}",
        (CachedLookups, base),
        {
            "__module__": __name__,
            "component_name": component,
            "make_component": staticmethod(make_component),
            "count_hit": hit_counter(base),
        },
    )
