"""The complete advice: reading, prediction, replay and recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from dagcache.advice import curve, recommend, working_set
from dagcache.advice.curve import Point, Window
from dagcache.advice.history import History, Progress, read_history
from dagcache.advice.recommend import Advice
from dagcache.advice.sampling import Sampled, sample_sizes
from dagcache.advice.sizes import Size
from dagcache.advice.speed import Speed, measured
from dagcache.advice.working_set import Moment
from dagcache.config import DEFAULT_TTL
from dagcache.database.loader import SerializedDagLoader

_BIGGEST = 5


@dataclass(frozen=True, slots=True)
class BigDag:
    """A DAG with one of the heaviest newest versions."""

    dag_id: str
    tasks: int
    live_bytes: int
    frozen_bytes: int
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Inflated:
    """A DAG with far more versions than runs."""

    dag_id: str
    versions: int
    runs: int


@dataclass(frozen=True, slots=True)
class InUse:
    """The bytes that the scheduler uses, or used, at one moment."""

    at: float
    runs: int
    versions: int
    live_bytes: int
    frozen_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """One budget of the curve."""

    max_bytes: int
    busiest: Point
    typical: Point | None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures and the recommendations."""

    database: str
    airflow: str
    as_of: float
    days: float
    cut: bool
    dags: int
    versions: int
    versions_per_day: float
    runs: int
    queued: int
    unexamined: int
    payloads_read: int
    payloads_damaged: int
    versions_measured: int
    now: InUse
    busiest: InUse | None
    biggest: tuple[BigDag, ...]
    inflated: tuple[Inflated, ...]
    replayed_share: float
    loop_seconds: float
    speed: Speed
    """The speed of this machine; all seconds are scaled by it."""
    stock: Point | None
    curve: tuple[Row, ...]
    scheduler: Advice
    ttl: Advice
    workers: int
    api_server: Advice | None


def advise(
    loader: SerializedDagLoader,
    *,
    days: float,
    workers: int,
    budgets: Sequence[int] = (),
    loop_seconds: float = 1.0,
    progress: Progress,
    speed: Speed | None = None,
) -> Report:
    """Read the database and recommend settings.

    Args:
        loader: the loader of the database.
        days: the length of the period that counts.
        workers: workers of the API server, each with a separate cache; 0 = no API server.
        budgets: budgets in bytes to replay, instead of those that are chosen.
        loop_seconds: the assumed duration of one loop of the scheduler.
        progress: called as ``progress(step, done, of)`` after each step; ``of`` is 0 if the total is unknown.
        speed: the speed of this machine; None: it is measured, with Airflow in a process of its own.

    Raises:
        LoadError: the database cannot be read, or is not one of Airflow 3; the message has the details.

    """
    airflow = loader.database.check()
    history = read_history(loader, days=days, progress=progress)
    study = _Study(loader, history, loop_seconds, progress, speed, airflow)
    return study.report(workers, budgets)


class _Study:
    """The figures of one database, step by step."""

    def __init__(
        self,
        loader: SerializedDagLoader,
        history: History,
        loop_seconds: float,
        progress: Progress,
        speed: Speed | None,
        airflow: str,
    ) -> None:
        self._airflow = airflow
        self._history = history
        self._progress = progress
        self._loop_seconds = loop_seconds
        known = {version.id: dag_id for dag_id, versions in history.versions.items() for version in versions}
        self._uses = [use for use in working_set.uses(history) if use.version_id in known]
        self._now = working_set.active(self._uses, history.as_of)
        dags = {use.version_id: use.dag_id for use in self._uses}
        dags |= {versions[-1].id: dag_id for dag_id, versions in history.versions.items()}
        first = {use.version_id for use in self._now}
        self._sampled: Sampled = sample_sizes(loader, dags, first=first, progress=progress, airflow=airflow)
        self._speed = speed or self._measured()
        self._sampled.at_speed(self._speed)
        self._sizes = self._sampled.sizes
        self._orders = {
            version.id: version.number
            for versions in history.versions.values()
            for version in versions
            if version.id in self._sizes
        }
        self._database = loader.database.name

    def _measured(self) -> Speed:
        self._progress("loads and thaws", 0, 0)
        return measured(self._sampled.samples)

    def report(self, workers: int, budgets: Sequence[int]) -> Report:
        history, sampled = self._history, self._sampled
        full = {version: size.full_cost for version, size in self._sizes.items()}
        steps = working_set.moments(self._uses, full, history.since, history.as_of)
        chosen = curve.choose_moments(steps)
        windows = [curve.window(self._uses, each, self._sizes, self._orders, self._loop_seconds) for each in chosen]
        busiest = self._in_use(chosen[0]) if chosen else None
        rows = self._curve(windows, budgets, busiest)
        newest = self._newest()
        ttl = recommend.idle_time(
            working_set.reuse_gaps(self._uses), max((window.sweep_seconds for window in windows), default=0.0)
        )
        return Report(
            database=self._database,
            airflow=self._airflow,
            as_of=history.as_of,
            days=history.days,
            cut=history.cut,
            dags=len(history.versions),
            versions=history.version_count,
            versions_per_day=history.versions_per_day(),
            runs=len(history.runs),
            queued=history.queued,
            unexamined=history.unexamined,
            payloads_read=sampled.read,
            payloads_damaged=sampled.damaged,
            versions_measured=sampled.measured,
            now=self._in_use(Moment(history.as_of, len(self._now), 0, 0)),
            busiest=busiest,
            biggest=self._biggest(newest),
            inflated=tuple(Inflated(*each) for each in history.inflated()),
            replayed_share=min((window.share for window in windows), default=1.0),
            loop_seconds=self._loop_seconds,
            speed=self._speed,
            stock=curve.stock(windows[0]) if windows else None,
            curve=rows,
            scheduler=self._scheduler(rows, windows, int(ttl.value)),
            ttl=ttl,
            workers=workers,
            api_server=self._api_server(newest, workers),
        )

    def _in_use(self, moment: Moment) -> InUse:
        versions = {use.version_id for use in working_set.active(self._uses, moment.at)}
        sizes = [self._sizes[version] for version in versions]
        return InUse(
            moment.at,
            moment.runs,
            len(versions),
            sum(size.live_bytes for size in sizes),
            sum(size.frozen_bytes for size in sizes),
        )

    def _curve(self, windows: list[Window], budgets: Sequence[int], busiest: InUse | None) -> tuple[Row, ...]:
        if busiest is None:
            return ()
        frozen, everything = self._whole(windows[0])
        chosen = sorted(budgets) or recommend.candidates(frozen, everything)
        rows = []
        for number, max_bytes in enumerate(chosen):
            points = []
            for done, window in enumerate(windows):
                self._progress("replay", number * len(windows) + done, len(chosen) * len(windows))
                points.append(curve.point(window, max_bytes, DEFAULT_TTL))
            rows.append(Row(max_bytes, points[0], curve.mean(points[1:]) if points[1:] else None))
        return tuple(rows)

    def _whole(self, window: Window) -> tuple[int, int]:
        """The bytes of all versions of a window: frozen only, and with both copies."""
        sizes = [self._sizes[version] for version in window.versions]
        frozen = sum(size.frozen_cost for size in sizes)
        return round(frozen / window.share), round(sum(size.full_cost for size in sizes) / window.share)

    def _scheduler(self, rows: tuple[Row, ...], windows: list[Window], ttl: int) -> Advice:
        if not windows:
            limit = recommend.scheduler_limit([_IDLE], uncached_seconds=0.0, idle_bytes=0, everything=0)
            return Advice(limit.setting, limit.value, limit.nbytes, ("no run was active in the period",))
        _, everything = self._whole(windows[0])
        return recommend.scheduler_limit(
            [row.busiest for row in rows],
            uncached_seconds=windows[0].uncached_seconds,
            idle_bytes=self._idle_bytes(ttl),
            everything=everything,
        )

    def _idle_bytes(self, ttl: int) -> int:
        """The bytes of frozen versions at the end of the period that are idle, but not for longer than the TTL."""
        held = {use.version_id for use in self._now}
        lately = {
            use.version_id for use in self._uses if use.end is not None and use.end > self._history.as_of - ttl
        } - held
        return sum(self._sizes[version].frozen_cost for version in lately)

    def _newest(self) -> dict[str, tuple[UUID, Size]]:
        return {
            dag_id: (versions[-1].id, self._sizes[versions[-1].id])
            for dag_id, versions in self._history.versions.items()
        }

    def _biggest(self, newest: dict[str, tuple[UUID, Size]]) -> tuple[BigDag, ...]:
        heaviest = sorted(newest.items(), key=lambda item: item[1][1].live_bytes, reverse=True)[:_BIGGEST]
        return tuple(
            BigDag(dag_id, size.tasks, size.live_bytes, size.frozen_bytes, self._sampled.payload_bytes.get(version, 0))
            for dag_id, (version, size) in heaviest
        )

    def _api_server(self, newest: dict[str, tuple[UUID, Size]], workers: int) -> Advice | None:
        if not workers:
            return None
        sizes = [size for _, size in newest.values()]
        frozen = sum(size.frozen_cost for size in sizes)
        return recommend.worker_limit(frozen, [size.live_bytes for size in sizes], workers)


_IDLE = Point(0, 1.0, 0.0, 0.0, 0.0, 0.0, 0)
