"""Two schedulers and an API server on one database, while DAGs change all the time and schedulers are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from dagcache.demo.playground import free_ports
from dagcache.metrics.scrape import Scrape
from tests.in_airflow.conftest import MakeDatabase
from tests.in_airflow.rewriting import IN_PLACE, Writing, read_book
from tests.in_airflow.support import Airflow, answers, fetch, scrapes, variables
from tests.in_airflow.test_scheduler import SMALL, Observer
from tests.in_airflow.witness import HOLD, JOB, TABLE, Lookup, looks_up, read_diaries, revision_of
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

WINDOW = 2  # seconds within which a cached version is not compared with the database
SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "tests.in_airflow.witness.WitnessedExecutor",
    "AIRFLOW__CORE__PARALLELISM": "200",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": str(WINDOW),
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    # Enough for a busy machine: the tasks of a scheduler that is taken for dead are rightly run again.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "1",
}
"""Of all processes."""

_LOOKUPS = 50
"""Of a scheduler, at least: several for each of the waiting runs, which have eight versions that weigh 1.1 MiB."""
_REWRITINGS = 11
"""Of each version that is rewritten in place, at least."""

TaskKey = tuple[str, str, str, int]
"""DAG, run, task and its index if it is mapped."""


class Ends(NamedTuple):
    """How everything ended."""

    runs: dict[tuple[str, str], str]
    tasks: dict[TaskKey, str | None]


class Story(NamedTuple):
    """The events of a run."""

    kills: int
    ends: Ends
    executed: Counter[TaskKey]
    """The number of times each task was run to its end, by the executor of any scheduler."""
    orphans: set[TaskKey]
    """The tasks that schedulers were handling when they were killed."""
    asked: list[Lookup]
    """The API server's answers: the newest version of DAGs."""
    looked_up: list[Lookup]
    """The versions that the schedulers found."""
    longest_loop: float
    """Of any scheduler, in seconds."""
    book: list[Writing]
    told: list[Scrape]
    """By the schedulers' endpoints in the end."""
    logs: str


class Writer:
    """The process that changes DAGs."""

    def __init__(self, process: subprocess.Popen[str], orders: IO[str], book: Path) -> None:
        self._process = process
        self._orders = orders
        self._book = book

    def trigger(self) -> None:
        """Have each DAG triggered once more."""
        self._orders.write("\n")
        self._orders.flush()

    def least_in_place(self) -> int:
        """The number of times that each DAG of `IN_PLACE` was rewritten at least."""
        times = Counter(entry.dag_id for entry in read_book(self._book))
        return min(times[dag_id] for dag_id in IN_PLACE)

    def stop(self) -> list[Writing]:
        """End it; all that it has written."""
        self._orders.close()
        assert self._process.wait(PATIENCE) == 0, "the writer failed"
        return read_book(self._book)


@contextmanager
def writing(env: dict[str, str], dag_ids: Iterable[str]) -> Iterator[Writer]:
    """A process that changes DAGs, once its own are in the database."""
    home = Path(env["AIRFLOW_HOME"])
    book = home / "book.jsonl"
    command = [sys.executable, "-m", "tests.in_airflow.rewriting", str(book), *dag_ids]
    with (home / "writer.log").open("w") as log:
        process = subprocess.Popen(
            command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        assert any(line == "ready\n" for line in lines), (home / "writer.log").read_text()[-4000:]
        yield Writer(process, process.stdin, book)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            pipe.close()


class Asker:
    """Asks an API server for one DAG after the other, and takes down which revision it is given."""

    def __init__(self, env: dict[str, str], dag_ids: Iterable[str]) -> None:
        self.heard: list[Lookup] = []
        self._base = env["AIRFLOW__API__BASE_URL"]
        token = json.loads(fetch(f"{self._base}/auth/token"))["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        self._dag_ids = cycle(dag_ids)

    def ask(self) -> None:
        """For the next DAG's newest version."""
        dag_id = next(self._dag_ids)
        since = time.monotonic()
        answer = json.loads(fetch(f"{self._base}/api/v2/dags/{dag_id}/details", self._headers))
        self.heard.append(Lookup(since, dag_id, revision_of(answer["doc_md"])))


class Schedulers:
    """Two of them, each with its own home, and the events."""

    def __init__(self, running: ExitStack, env: dict[str, str], observer: Observer, writer: Writer, dags: int) -> None:
        self.orphans: set[TaskKey] = set()
        self.logs: list[str] = []
        self.meanwhile: Callable[[], object] = bool
        """Is called again and again while something is waited for."""
        self._env = env
        self._observer = observer
        self._writer = writer
        self._dags = dags
        self._rounds = 1  # Airflow itself makes each DAG run once
        self._stack = running
        self._running = {name: self._start(name) for name in ("one", "other")}

    def _start(self, name: str) -> Airflow:
        home = Path(self._env["AIRFLOW_HOME"]) / name
        home.mkdir(exist_ok=True)
        for file in (HOLD, JOB):
            (home / file).unlink(missing_ok=True)
        own = {"AIRFLOW_HOME": str(home), "AIRFLOW__DAGCACHE__METRICS_PORT": str(free_ports(1)[0])}
        return self._stack.enter_context(Airflow(self._env | own, "scheduler", "--skip-serve-logs"))

    def wait_until_they_run(self) -> None:
        """And look DAGs up."""
        for scheduler in self._running.values():
            self._wait(scheduler, "the scheduler looks DAGs up", partial(looks_up, scheduler.home, scheduler.pid))

    def kill_and_replace(self, name: str) -> None:
        """Kill a scheduler that has queued tasks and not yet run them, and once those are taken over start another."""
        victim = self._running[name]
        (survivor,) = (scheduler for other, scheduler in self._running.items() if other != name)
        (victim.home / HOLD).touch()
        self.trigger()
        job = int((victim.home / JOB).read_text())
        held = f"state = 'queued' AND queued_by_job_id = {job}"
        self._wait(
            survivor, "the victim has tasks in its hands", lambda: self._observer.tasks(held)[1:]
        )  # one may be ending
        victim.kill()
        self.logs.append(victim.log)
        self.orphans |= {tuple(key) for *key, _ in self._observer.tasks(held)}
        self._wait(survivor, "its tasks are taken over", lambda: not self._observer.tasks(held))
        self._running[name] = self._start(name)
        self.wait_until_they_run()

    def trigger(self) -> None:
        """Have each DAG run once more."""
        self._writer.trigger()
        self._rounds += 1

    def wait_for_runs(self) -> None:
        """All that were asked for; not those that wait."""
        ended = f"""
            SELECT count(*) FROM dag_run
            WHERE state IN ('success', 'failed') AND dag_id NOT LIKE '{IN_PLACE[0][:-4]}%'
        """
        expected = self._dags * self._rounds
        one = self._running["one"]
        self._wait(one, "the runs end", lambda: self._observer.ask(ended) == [(expected,)])

    def finish(self) -> list[Scrape]:
        """Let the waiting runs end, then the schedulers; the metrics of their endpoints."""
        for scheduler in self._running.values():  # one of them may just have begun
            several = partial(looks_up, scheduler.home, scheduler.pid, times=_LOOKUPS)
            self._wait(scheduler, "it has looked up the DAGs of the waiting runs several times", several)
        one = self._running["one"]
        self._wait(one, "many versions are rewritten in place", lambda: self._writer.least_in_place() >= _REWRITINGS)
        self._observer.change("UPDATE task_instance SET state = 'success' WHERE state = 'deferred'")
        open_runs = "SELECT dag_id FROM dag_run WHERE state NOT IN ('success', 'failed')"
        self._wait(one, "the waiting runs end", lambda: not self._observer.ask(open_runs))
        told = [scrape for scheduler in self._running.values() for scrape in scrapes(scheduler.home).values()]
        for scheduler in self._running.values():
            scheduler.stop()
            self.logs.append(scheduler.log)
        return told

    def homes(self) -> list[Path]:
        """Where they write."""
        return [scheduler.home for scheduler in self._running.values()]

    def _wait(self, scheduler: Airflow, what: str, happened: Callable[[], object]) -> None:
        def meanwhile_happened() -> object:
            self.meanwhile()
            return happened()

        scheduler.wait_for(what, meanwhile_happened)


def ends(observer: Observer) -> Ends:
    """As they are now."""
    runs = observer.ask("SELECT dag_id, run_id, state FROM dag_run")
    return Ends(
        {(dag, run): state for dag, run, state in runs}, {tuple(key): state for *key, state in observer.tasks()}
    )


def live_through(home: Path, url: str, *, dags: int, rounds: int, kills: int, asked: bool, **settings: object) -> Story:
    """Have two schedulers run some of the hundred DAGs so often while those change, and kill one in some rounds."""
    env = variables(home, url, **settings) | SETTINGS
    observer = Observer(url)
    observer.change(TABLE)
    observer.change(f"UPDATE dag SET is_paused = (dag_id !~ '_[0-9]+$' OR right(dag_id, 3)::int >= {dags})")
    dag_ids = [dag_id for (dag_id,) in observer.ask("SELECT dag_id FROM dag WHERE NOT is_paused ORDER BY dag_id")]
    assert len(dag_ids) == dags
    with ExitStack() as running:
        writer = running.enter_context(writing(env, dag_ids))
        schedulers = Schedulers(running, env, observer, writer, dags)
        asker = None
        if asked:
            server_env = env | {"AIRFLOW__DAGCACHE__METRICS_PORT": "0"}
            server = running.enter_context(Airflow(server_env, "api-server"))
            server.wait_for("the API server answers", lambda: answers(env))
            asker = Asker(env, [*IN_PLACE, *dag_ids])
            schedulers.meanwhile = asker.ask
        schedulers.wait_until_they_run()
        schedulers.wait_for_runs()
        for number, name in zip(range(rounds), cycle(("one", "other")), strict=False):
            if number < kills:
                schedulers.kill_and_replace(name)
            else:
                schedulers.trigger()
            schedulers.wait_for_runs()
        told = schedulers.finish()
        book = writer.stop()
    diaries = [diary for path in schedulers.homes() for diary in read_diaries(path)]
    executed = observer.ask("SELECT dag_id, run_id, task_id, map_index FROM ended")
    return Story(
        kills=kills,
        ends=ends(observer),
        executed=Counter(map(tuple, executed)),
        orphans=schedulers.orphans,
        asked=asker.heard if asker else [],
        looked_up=[lookup for diary in diaries for lookup in diary.lookups],
        longest_loop=max(diary.longest_loop for diary in diaries),
        book=book,
        told=told,
        logs="".join(schedulers.logs),
    )


def worst_staleness(lookups: Iterable[Lookup], writings: Iterable[tuple[str, Writing]]) -> float:
    """The longest time, in seconds, for which found content had been out of date at its lookup; 0 if it never was."""
    revisions: dict[str, list[int]] = defaultdict(list)
    times: dict[str, list[float]] = defaultdict(list)
    for key, entry in writings:
        revisions[key].append(entry.revision)
        times[key].append(entry.at)

    def staleness(lookup: Lookup) -> float:
        following = bisect_right(revisions[lookup.key], lookup.revision)
        return lookup.since - times[lookup.key][following] if following < len(times[lookup.key]) else 0.0

    return max([0.0, *map(staleness, lookups)])


class Stories(NamedTuple):
    """The same with the cache and with Airflow's own."""

    ours: Story
    stock: Story


class Form(NamedTuple):
    """How much is done."""

    dags: int
    rounds: int
    kills: int
    stock_kills: int


FORMS = [
    pytest.param(Form(dags=12, rounds=1, kills=1, stock_kills=0), id="short"),
    pytest.param(Form(dags=40, rounds=5, kills=5, stock_kills=5), id="long", marks=pytest.mark.soak),
]


@pytest.fixture(scope="module", params=FORMS)
def stories(
    request: pytest.FixtureRequest, make_database: MakeDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Stories:
    """Lived through once for all tests: a minute on an idle machine, the long form many."""
    form: Form = request.param
    home = tmp_path_factory.mktemp("several")
    url = make_database("postgresql")
    stock = live_through(
        home / "stock", url, dags=form.dags, rounds=form.rounds, kills=form.stock_kills, asked=False, mode="off"
    )
    url = make_database("postgresql")
    ours = live_through(
        home / "ours", url, dags=form.dags, rounds=form.rounds, kills=form.kills, asked=True, max_bytes=SMALL
    )
    return Stories(ours, stock)


def test_all_ends_as_it_does_with_airflows_own_cache(stories: Stories) -> None:
    """Runs and tasks, of each kind of end; the short form of stock has no kill."""
    ours, stock = stories
    assert ours.ends == stock.ends
    assert set(ours.ends.runs.values()) == {"success", "failed"}
    assert set(ours.ends.tasks.values()) == {"success", "failed", "skipped", "upstream_failed"}


@pytest.mark.parametrize("whose", Stories._fields)
def test_no_task_is_lost_and_none_runs_twice(whose: str, stories: Stories) -> None:
    """Not those that a scheduler had in its hands when it was killed, either: another ran them, once."""
    story: Story = getattr(stories, whose)
    ended = {key for key, state in story.ends.tasks.items() if state in {"success", "failed"}}
    assert story.executed == Counter(key for key in ended if key[0] not in IN_PLACE)
    assert story.orphans <= set(story.executed)
    assert bool(story.orphans) == bool(story.kills)


def test_no_scheduler_finds_a_version_that_is_out_of_date_for_longer_than_the_window(
    stories: Stories, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """And a loop: the session of a loop may hold the row as it was."""
    ours = stories.ours
    worst = worst_staleness(ours.looked_up, [(entry.version_id, entry) for entry in ours.book])
    record_testsuite_property("scheduler_staleness_seconds", worst)
    record_testsuite_property("longest_loop_seconds", ours.longest_loop)
    assert 0 < worst <= WINDOW + ours.longest_loop


def test_the_api_server_tells_no_dag_that_is_out_of_date(
    stories: Stories, record_testsuite_property: Callable[[str, object], None]
) -> None:
    ours = stories.ours
    worst = worst_staleness(ours.asked, [(entry.dag_id, entry) for entry in ours.book])
    record_testsuite_property("api_server_staleness_seconds", worst)
    assert worst == 0
    assert len({(lookup.key, lookup.revision) for lookup in ours.asked}) > 20, "hardly anything was asked for"


def test_versions_change_in_place_and_new_ones_come(stories: Stories) -> None:
    """The control: without such changes the other tests would prove little."""
    in_place = Counter(entry.version_id for entry in stories.ours.book if entry.dag_id in IN_PLACE)
    others = {entry.version_id for entry in stories.ours.book if entry.dag_id not in IN_PLACE}
    assert len(in_place) == len(IN_PLACE)
    assert min(in_place.values()) >= _REWRITINGS
    assert len(others) > len({key[0] for key in stories.ours.ends.runs}), "hardly any version is new"


def test_the_caches_are_far_too_small_and_keep_to_their_budget(stories: Stories) -> None:
    """They evict and thaw all the time; none fails."""
    ours, stock = stories
    assert len(ours.told) == 2
    for scrape in ours.told:
        assert scrape.total("dagcache_demotions_total") > 0
        assert scrape.total("dagcache_hits_total", tier="frozen") > 0
        resident = scrape.total("dagcache_bytes") - scrape.total("dagcache_bytes", tier="waiting")
        assert resident <= scrape.total("dagcache_max_bytes") == 2**20
        assert scrape.total("dagcache_load_failures_total") == scrape.total("dagcache_thaw_failures_total") == 0
    assert "dagcache failed" not in ours.logs
    assert stock.told == []
