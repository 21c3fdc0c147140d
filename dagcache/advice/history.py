"""The history of runs and versions, read from the metadata database into plain values.

The version of a run follows Airflow's rule (`DBDagBag.get_dag_for_run`). It is the version that the run was created
with if the run has a bundle version, else the newest version at that moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from uuid import UUID

import sqlalchemy as sa

from dagcache.database.connection import DAG, DAG_RUN, MetadataDatabase, seconds
from dagcache.database.loader import SerializedDagLoader
from dagcache.errors import LoadError

_DAY = 86_400.0
_BATCH = 5_000
MOST_RUNS = 200_000
"""The limit on runs that are read, newest first: about 40 MB."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a DAG."""

    id: UUID
    number: int
    created: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run that was, or is, examined by the scheduler; times in seconds since 1970."""

    dag_id: str
    version_id: UUID | None
    """The fixed version of the run; None: the run follows the newest version."""
    start: float
    end: float | None
    """None: the run is still running."""


@dataclass(slots=True)
class History:
    """The versions and runs of the past days."""

    as_of: float = 0.0
    """The newest activity; for a copy of a database, about the moment of the copy."""
    since: float = 0.0
    versions: dict[str, list[Version]] = field(default_factory=dict)
    """The versions with a serialised DAG, by DAG, oldest first."""
    runs: list[Run] = field(default_factory=list)
    queued: int = 0
    queued_dags: set[str] = field(default_factory=set)
    unexamined: int = 0
    """Running runs of paused or deleted DAGs, which the scheduler ignores."""
    cut: bool = False
    """There were more than `MOST_RUNS` runs; the period is shorter than requested."""
    runs_per_dag: Counter[str] = field(default_factory=Counter)
    """Within the period."""

    @property
    def days(self) -> float:
        """The length of the period."""
        return (self.as_of - self.since) / _DAY

    @property
    def version_count(self) -> int:
        """The number of versions."""
        return sum(map(len, self.versions.values()))

    def newest(self, dag_id: str, at: float | None = None) -> Version | None:
        """The newest version of a DAG, now or at a moment; the first version if there was none yet."""
        versions = self.versions.get(dag_id)
        if not versions:
            return None
        if at is None:
            return versions[-1]
        return versions[newest_index(versions, at)]

    def versions_per_day(self) -> float:
        """The number of versions written per day of the period."""
        return sum(map(self._written, self.versions.values())) / max(self.days, 1 / 24)

    def inflated(self, few: int = 5) -> list[tuple[str, int, int]]:
        """The DAGs with the most excess versions: name, versions written, and runs, within the period.

        A DAG needs at most one version per run, and many DAGs do not change from run to run.
        """
        found = []
        for dag_id, versions in self.versions.items():
            written = self._written(versions)
            if written > 10 and written > 2 * self.runs_per_dag[dag_id]:
                found.append((dag_id, written, self.runs_per_dag[dag_id]))
        return sorted(found, key=lambda each: each[1], reverse=True)[:few]

    def _written(self, versions: Sequence[Version]) -> int:
        """The number of a DAG's versions that were written within the period."""
        return len(versions) - _count_until(versions, self.since)


def newest_index(versions: Sequence[Version], at: float) -> int:
    """The position of a DAG's newest version at a moment; the first if there was none yet."""
    return max(0, _count_until(versions, at) - 1)


def _count_until(versions: Sequence[Version], at: float) -> int:
    return bisect_right(versions, at, key=lambda version: version.created)


def read_history(loader: SerializedDagLoader, *, days: float, progress: Progress) -> History:
    """Read versions and runs; memory is bounded by the number of versions (300 bytes each) and `MOST_RUNS`.

    Raises:
        LoadError: the database cannot be read, or has no version.

    """
    database = loader.database
    history = History()
    with database.load_errors():
        _read_versions(loader, history, progress)
    if not history.versions:
        raise LoadError(f"{database.name}: expected DAG versions with a serialised DAG; found none")
    with database.load_errors():
        _read_runs(database, history, days * _DAY, progress)
    return history


def _read_versions(loader: SerializedDagLoader, history: History, progress: Progress) -> None:
    total = loader.database.rows(sa.select(sa.func.count()).select_from(sa.table("dag_version")))[0][0]
    names: dict[str, str] = {}
    for done, row in enumerate(loader.versions(batch=_BATCH, sizes=False)):
        if row.dag_hash is not None:
            dag_id = names.setdefault(row.dag_id, row.dag_id)
            history.versions.setdefault(dag_id, []).append(Version(row.id, row.version_number, row.created_at))
        if done % _BATCH == 0:
            progress("versions", done, total)
    for versions in history.versions.values():
        versions.sort(key=lambda version: (version.created, version.number))


def _read_runs(database: MetadataDatabase, history: History, period: float, progress: Progress) -> None:
    newest = max(versions[-1].created for versions in history.versions.values())
    columns = (DAG_RUN.c.start_date, DAG_RUN.c.end_date, DAG_RUN.c.last_scheduling_decision)
    moments = database.rows(sa.select(*(sa.func.max(column) for column in columns)))[0]
    history.as_of = max(newest, *(seconds(moment) or 0.0 for moment in moments))
    history.since = history.as_of - period
    passed_over = _passed_over(database)
    for done, row in enumerate(_run_rows(database, history.since)):
        if done == MOST_RUNS:
            history.cut = True
            history.since = max(history.since, min(run.start for run in history.runs))
            break
        if done % _BATCH == 0:
            progress("runs", done, 0)
        _take(row, history, passed_over)


def _passed_over(database: MetadataDatabase) -> set[str]:
    statement = sa.select(DAG.c.dag_id).where(sa.or_(DAG.c.is_paused.is_(sa.true()), DAG.c.is_stale.is_(sa.true())))
    return {row[0] for row in database.rows(statement)}


def _run_rows(database: MetadataDatabase, since: float) -> Iterator[tuple[object, ...]]:
    """The runs that were active within the period, newest first, in batches of some thousand."""
    run = DAG_RUN.c
    moment = datetime.fromtimestamp(since, timezone.utc)
    relevant = sa.or_(run.state.in_(("running", "queued")), run.end_date >= moment)
    columns = (run.id, run.dag_id, run.state, run.start_date, run.end_date, run.bundle_version)
    statement = sa.select(*columns, run.created_dag_version_id).where(relevant).order_by(run.id.desc()).limit(_BATCH)
    last: int | None = None
    while True:
        found = database.rows(statement if last is None else statement.where(run.id < last))
        yield from found
        if len(found) < _BATCH:
            return
        last = found[-1][0]


def _take(row: tuple[object, ...], history: History, passed_over: set[str]) -> None:
    _, dag_id, state, start, end, bundle_version, version_id = row
    assert isinstance(dag_id, str)
    if dag_id not in history.versions:
        return
    history.runs_per_dag[dag_id] += 1
    if state == "queued":
        history.queued += 1
        history.queued_dags.add(dag_id)
        return
    running = state == "running"
    if running and dag_id in passed_over:
        history.unexamined += 1
        return
    started = seconds(start)  # type: ignore[arg-type]
    if started is None:
        return
    ended = None if running else seconds(end)  # type: ignore[arg-type]
    sticks = version_id if bundle_version and isinstance(version_id, UUID) else None
    history.runs.append(Run(dag_id, sticks, started, ended))
