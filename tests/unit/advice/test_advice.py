"""The adviser's results from a database: histories, working sets, sizes, costs and recommendations."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from dagcache.advice import curve, history, recommend, sampling, sizes
from dagcache.advice import report as reporting
from dagcache.advice.curve import Point
from dagcache.advice.history import History, Version, read_history
from dagcache.advice.report import Report, advise
from dagcache.advice.sampling import sample_sizes
from dagcache.advice.sizes import Features, Size, features, frozen_bytes, live_bytes, size_of
from dagcache.advice.speed import Speed
from dagcache.advice.working_set import Moment, Use, active, moments, reuse_gaps, sweep, uses
from dagcache.core.entry import ENTRY_OVERHEAD
from dagcache.database.loader import SerializedDagLoader
from dagcache.errors import LoadError
from dagcache.freezing.zdict import VALUES, Dictionary
from dagcache.traces.replay import replay
from tests.support.databases import EPOCH, Database
from tests.support.databases import payload as unparsed_payload

BORN = EPOCH.timestamp()
DAY = 86_400.0
MIB = 1 << 20


def no_progress(step: str, done: int, of: int) -> None:
    """Progress without output."""


def payload(dag_id: str, tasks: int = 5, *, text: str = "") -> dict[str, Any]:
    """A serialised DAG as it comes from a database: equal parts are separate objects."""
    content: dict[str, Any] = json.loads(json.dumps(unparsed_payload(dag_id, tasks, text=text)))
    return content


def key(number: int) -> UUID:
    """A version's id; its last bits are spread as those of real ones are."""
    return UUID(int=(number << 80) + number * 0x9E37_79B9 % 0xFFFF_FFFF)


def report(loader: SerializedDagLoader, **options: Any) -> Report:
    """The whole advice, with a machine of a known speed."""
    return advise(loader, **{"days": 7.0, "workers": 2, "progress": no_progress, "speed": Speed(), **options})


# ---- history ----


def test_a_run_of_a_bundle_version_sticks_to_its_version(database: Database, loader: SerializedDagLoader) -> None:
    """As Airflow looks it up."""
    first = database.version("etl", 1)
    database.version("etl", 2, created=50)
    database.run("etl", 10, 100, version=first)
    found = uses(read_history(loader, days=7, progress=no_progress))
    assert found == [Use(first, "etl", BORN + 10, BORN + 100)]


def test_a_run_without_a_bundle_version_follows_the_newest(database: Database, loader: SerializedDagLoader) -> None:
    first = database.version("etl", 1)
    second = database.version("etl", 2, created=50)
    third = database.version("etl", 3, created=80)
    database.version("etl", 4, created=200)
    database.run("etl", 10, 100)
    database.execute("UPDATE dag_run SET created_dag_version_id = ?", third.hex)
    assert uses(read_history(loader, days=7, progress=no_progress)) == [
        Use(first, "etl", BORN + 10, BORN + 50),
        Use(second, "etl", BORN + 50, BORN + 80),
        Use(third, "etl", BORN + 80, BORN + 100),
    ]


def test_a_running_run_has_no_end(database: Database, loader: SerializedDagLoader) -> None:
    """It holds its last version still."""
    version = database.version("etl")
    database.run("etl", -5)
    assert uses(read_history(loader, days=7, progress=no_progress)) == [Use(version, "etl", BORN - 5, None)]


def test_runs_that_the_scheduler_does_not_examine_are_left_out(database: Database, loader: SerializedDagLoader) -> None:
    """Of paused and vanished DAGs, unstarted, queued, finished long ago, or of a DAG without a serialised form."""
    for number, dag_id in enumerate(("paused", "stale", "queued", "old", "unstarted")):
        database.version(dag_id, number, created=10 * DAY)
    database.version("bare", serialized=False)
    database.execute("UPDATE dag SET is_paused = 1 WHERE dag_id = 'paused'")
    database.execute("UPDATE dag SET is_stale = 1 WHERE dag_id = 'stale'")
    database.run("paused", 10 * DAY)
    database.run("stale", 10 * DAY)
    database.run("queued", None, state="queued")
    database.run("old", DAY, 2 * DAY)
    database.run("unstarted", None)
    database.run("bare", 10 * DAY)
    found = read_history(loader, days=7, progress=no_progress)
    assert (found.runs, found.queued, found.unexamined) == ([], 1, 2)
    assert found.newest("bare") is None


def test_the_newest_activity_is_what_the_period_ends_with(database: Database, loader: SerializedDagLoader) -> None:
    """A copy of a database may be old."""
    database.version("etl", created=3 * DAY)
    database.run("etl", 4 * DAY, 5 * DAY)
    found = read_history(loader, days=2, progress=no_progress)
    assert (found.as_of, found.days) == (BORN + 5 * DAY, 2.0)


def test_no_more_than_the_newest_runs_are_read(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches. The period is shortened to that of the read runs."""
    monkeypatch.setattr(history, "MOST_RUNS", 5)
    monkeypatch.setattr(history, "_BATCH", 2)
    database.version("etl")
    for number in range(8):
        database.run("etl", number * 3600, number * 3600 + 60)
    steps: list[str] = []
    found = read_history(loader, days=7, progress=lambda step, done, of: steps.append(step))
    assert found.cut
    assert [run.start - BORN for run in found.runs] == [number * 3600 for number in (7, 6, 5, 4, 3)]
    assert found.since == BORN + 3 * 3600
    assert "runs" in steps


def test_an_empty_database_says_so(loader: SerializedDagLoader) -> None:
    with pytest.raises(LoadError, match="expected DAG versions with a serialised DAG; found none"):
        read_history(loader, days=7, progress=no_progress)


def test_the_newest_version_at_a_moment_is_found() -> None:
    """The first one, before there was any."""
    versions = [Version(key(number), number, 10.0 * number) for number in (1, 2, 3)]
    found = History(versions={"etl": versions})
    at = [found.newest("etl", moment) for moment in (0.0, 10.0, 29.9, 30.0, 99.0)]
    assert at == [versions[0], versions[0], versions[1], versions[2], versions[2]]
    assert found.newest("etl") == versions[2]


def test_versions_beyond_what_runs_need_are_told() -> None:
    """Many versions and few runs; most versions first; not what ran as often, nor what was written before."""
    found = History(as_of=10 * DAY, since=3 * DAY)
    for dag_id, count, created, runs in (
        ("inflated", 40, 4 * DAY, 3),
        ("worse", 50, 4 * DAY, 0),
        ("busy", 40, 4 * DAY, 30),
        ("few", 10, 4 * DAY, 0),
        ("before", 40, DAY, 0),
    ):
        found.versions[dag_id] = [Version(key(number), number, created) for number in range(count)]
        found.runs_per_dag[dag_id] = runs
    assert found.inflated() == [("worse", 50, 0), ("inflated", 40, 3)]
    assert found.inflated(few=1) == [("worse", 50, 0)]
    assert found.versions_per_day() == pytest.approx(140 / 7)
    assert found.version_count == 180


# ---- working sets ----


def test_what_was_in_use_is_told_from_moment_to_moment() -> None:
    """A version of several runs counts once. Use before the period counts from its beginning."""
    found = [
        Use(key(1), "a", 0.0, 40.0),
        Use(key(1), "a", 20.0, 30.0),
        Use(key(2), "b", 30.0, None),
        Use(key(3), "c", 1.0, 5.0),
    ]
    steps = moments(found, {key(1): 100, key(2): 10, key(3): 1}, since=10.0, as_of=50.0)
    by_time = [(step.at, step.runs, step.versions, step.full_bytes, lasted) for step, lasted in steps]
    assert [each for each in by_time if each[4]] == [
        (10.0, 1, 1, 100, 10.0),
        (20.0, 2, 1, 100, 10.0),
        (30.0, 2, 2, 110, 10.0),
        (40.0, 1, 1, 10, 10.0),
    ]


def test_what_is_active_at_a_moment_began_before_and_has_not_ended() -> None:
    """In the order in which it began."""
    found = [Use(key(1), "a", 5.0, 10.0), Use(key(2), "b", 1.0, None), Use(key(3), "c", 11.0, None)]
    assert [use.version_id for use in active(found, 9.9)] == [key(2), key(1)]
    assert [use.version_id for use in active(found, 10.0)] == [key(2)]


def test_a_sweep_examines_twenty_runs_a_loop_in_turn() -> None:
    """Those first that were not looked at for the longest time; each loop looks all of its runs up a second time."""
    found = [Use(key(number), "a", float(number), None) for number in range(30)]
    lookups = list(sweep(found, 100.0, laps=2, loop_seconds=0.5))
    loops = [[*range(20)], [*range(20, 30), *range(10)], [*range(10, 30)]]
    assert [use.start for _, use, _ in lookups] == [start for loop in loops for start in [*loop, *loop]]
    assert [at for at, _, _ in lookups] == [100 + 0.25 * half for half in range(6) for _ in range(20)]
    assert [loop for _, _, loop in lookups] == [0] * 40 + [1] * 40 + [2] * 40


def test_a_sweep_takes_up_what_begins_and_lets_go_of_what_ends() -> None:
    """At the time at which it does."""
    found = [Use(key(1), "a", 0.0, 2.5), Use(key(2), "b", 1.5, None)]
    lookups = [(at, use.dag_id) for at, use, _ in sweep(found, 0.0, laps=6, loop_seconds=1.0)]
    loops = [(0.0, "a"), (1.0, "a"), (2.0, "ba"), (3.0, "b"), (4.0, "b")]
    assert lookups == [(at + half, dag_id) for at, dag_ids in loops for half in (0.0, 0.5) for dag_id in dag_ids]


def test_a_sweep_over_nothing_ends() -> None:
    """It goes on when something begins, and ends when nothing will."""
    assert list(sweep([], 0.0, laps=3, loop_seconds=1.0)) == []
    ends = sweep([Use(key(1), "a", 70.0, 71.5)], 0.0, laps=3, loop_seconds=1.0)
    assert [at for at, _, _ in ends] == [70.0, 70.5, 71.0, 71.5]


def test_gaps_are_the_times_in_which_nobody_used_a_version() -> None:
    """Overlapping runs have no gap between them, and a present use ends no gap."""
    found = [
        Use(key(1), "a", 0.0, 10.0),
        Use(key(1), "a", 5.0, 8.0),
        Use(key(1), "a", 70.0, 80.0),
        Use(key(1), "a", 90.0, None),
        Use(key(1), "a", 95.0, 96.0),
        Use(key(2), "b", 500.0, 501.0),
    ]
    assert reuse_gaps(found) == [10.0, 60.0]


# ---- sizes ----


def test_more_tasks_weigh_more_in_every_respect() -> None:
    """About in proportion."""
    small, large = (size_of(features(payload("etl", tasks))) for tasks in (20, 200))
    for name in ("live_bytes", "load_seconds", "thaw_seconds"):
        assert 2.5 < getattr(large, name) / getattr(small, name) < 11  # a part of a thaw is the same for all
    assert small.frozen_bytes < large.frozen_bytes
    assert (small.tasks, large.tasks) == (20, 200)


def test_a_text_weighs_its_bytes_live_and_little_frozen() -> None:
    """It is one block of memory, and compresses."""
    plain, long = (features(payload("etl", 10, text=text)) for text in ("x", "x" * 10_000))
    assert live_bytes(long) - live_bytes(plain) == pytest.approx(100_000, rel=0.1)
    assert frozen_bytes(long) - frozen_bytes(plain) < 5_000


def test_text_beyond_ascii_weighs_what_a_thawed_copy_of_it_does() -> None:
    """Freezing leaves the UTF-8 form on the loaded string; a thawed string has none."""
    plain, accented = (features(payload("etl", 1, text=text)) for text in ("e" * 10_000, "é" * 10_000))
    assert accented.shadow_bytes == pytest.approx(plain.shadow_bytes, rel=0.01)


def test_an_attribute_of_a_row_and_a_template_field_without_a_value_take_the_same_room() -> None:
    """Airflow sets the template fields that a row leaves out to None."""
    bare, given, named = (payload("etl", 50) for _ in range(3))
    for number in range(50):
        bare["dag"]["tasks"][number]["__var"]["template_fields"] = []
        given["dag"]["tasks"][number]["__var"] |= {"template_fields": [], **{f"f{n}": None for n in range(30)}}
        named["dag"]["tasks"][number]["__var"]["template_fields"] = [f"f{n}" for n in range(30)]
    lists = 50 * 8 * 32  # the names of the fields
    assert features(given).shadow_bytes > features(bare).shadow_bytes + 50 * 400
    assert features(named).shadow_bytes == pytest.approx(features(given).shadow_bytes + lists, rel=0.02)


def test_defaults_of_a_row_are_attributes_of_each_task() -> None:
    """The row has them once."""
    plain, with_defaults = payload("etl", 50), payload("etl", 50)
    with_defaults["client_defaults"] = {"tasks": {f"default_{number}": 3 for number in range(30)}}
    assert features(with_defaults).shadow_bytes > features(plain).shadow_bytes + 50 * 400


def test_a_sensor_has_a_set_of_rules_of_its_own() -> None:
    """Other tasks share one."""
    plain, sensors = payload("etl", 50), payload("etl", 50)
    for each in sensors["dag"]["tasks"]:
        each["__var"]["_is_sensor"] = True
    assert features(sensors).shadow_bytes > features(plain).shadow_bytes + 50 * 200


def test_tasks_and_groups_are_counted() -> None:
    """A mapped task is a task, too; a group may hold tasks that are not there."""
    content = payload("etl", 3)
    content["dag"]["tasks"][0]["__var"]["_is_mapped"] = True
    content["dag"]["tasks"][0]["__var"]["params"] = None
    content["dag"]["tasks"][1]["__var"]["downstream_task_ids"] = ["gone"]
    content["dag"]["task_group"]["children"]["gone"] = ["operator", "gone"]
    found = features(content)
    assert (found.tasks, found.mapped) == (3, 1)


def old_and_new(content: dict[str, Any]) -> tuple[Features, Features]:
    """The features of a payload in Airflow 3.1 and in a later one."""
    old, new = (features(json.loads(json.dumps(content)), airflow=each) for each in ("Airflow 3.1", "Airflow 3.3"))
    return old, new


def test_tasks_of_airflow_3_1_have_more_attributes_and_parameters_of_their_own() -> None:
    """With some numbers of attributes, the others need a larger dict."""
    more = []
    for filled in range(25):
        content = payload("etl", 50)
        for each in content["dag"]["tasks"]:
            each["__var"] |= {"params": None, **{f"f{n}": None for n in range(filled)}}
        old, new = old_and_new(content)
        more.append(old.shadow_bytes - new.shadow_bytes)
    assert min(more) > 50 * 100
    assert max(more) > 50 * 450


def test_mapped_tasks_of_airflow_3_1_weigh_what_their_shadows_do() -> None:
    """Later ones have parameters and a dict beside that."""
    content = payload("etl", 50)
    for each in content["dag"]["tasks"]:
        each["__var"]["_is_mapped"] = True
    old, new = old_and_new(content)
    assert (old.mapped, new.mapped) == (0, 50)
    assert live_bytes(old) < live_bytes(new) - 50 * 400


def test_the_database_tells_which_airflow_has_its_tasks(database: Database, loader: SerializedDagLoader) -> None:
    """By its revision."""
    found = []
    database.run("etl", 10, None, version=database.version("etl", data=payload("etl", 50)))
    for revision in ("d2f4e1b3c5a7", "509b94a1042d", "9cffe90fa0c0"):
        database.execute("UPDATE alembic_version SET version_num = ?", revision)
        told = report(loader)
        found.append((told.airflow, told.now.live_bytes))
    expected = [
        (each, live_bytes(features(payload("etl", 50), airflow=each)))
        for each in ("Airflow 3.3", "Airflow 3.1", "Airflow 3.4")
    ]
    assert found == expected
    assert len({size for _, size in found}) == 3


def test_parameters_weigh_in_each_task() -> None:
    """Airflow copies a DAG's into each task, and the cache keeps them apart."""
    without, equal = payload("etl", 50), payload("etl", 50)
    for one, other in zip(without["dag"]["tasks"], equal["dag"]["tasks"], strict=True):
        one["__var"]["params"] = None
        other["__var"]["params"] = [["limit", {"default": 1}]]
    assert features(equal).shadow_bytes - features(without).shadow_bytes > 50 * 200


def test_frozen_sizes_are_told_with_a_dictionary_of_what_was_seen_before() -> None:
    """As the cache has one; the very first are not helped by it."""
    dictionary = Dictionary()
    first = features(payload("dag_0"), dictionary)
    for number in range(1, VALUES):
        features(payload(f"dag_{number}"), dictionary)
    assert features(payload("dag_0"), dictionary).deflated_bytes < 0.7 * first.deflated_bytes
    assert features(payload("dag_0")) == first


def test_versions_that_were_sampled_before_there_was_a_dictionary_are_measured_again(
    database: Database, loader: SerializedDagLoader
) -> None:
    """Otherwise a small deployment's frozen copies would be predicted too large."""
    for number in range(VALUES + 5):
        version = database.version(f"dag_{number:03d}", 1)
        database.run(f"dag_{number:03d}", 10, None, version=version)
    frozen = report(loader).now.frozen_bytes / (VALUES + 5)
    assert frozen < 0.8 * size_of(features(payload("dag_000"))).frozen_bytes


@pytest.mark.parametrize(
    "junk",
    [{}, {"dag": None}, {"dag": {"tasks": 3}}, {"dag": {"tasks": [{}]}}, {"dag": {"tasks": [], "task_group": []}}],
)
def test_what_is_no_dag_is_a_value_error(junk: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected a serialised DAG"):
        features(junk)


def test_a_very_deep_payload_is_a_value_error() -> None:
    """Not an overflow of the stack."""
    content = payload("etl", 1)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    content["dag"]["tasks"][0]["__var"]["deep"] = deep
    with pytest.raises(ValueError, match="RecursionError"):
        features(content)
    while deep:
        deep = deep.pop()


def test_groups_that_cannot_be_pickled_for_their_depth_are_a_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one DAG do not end the advice. The depth depends on the interpreter."""

    def dumps(*_: object) -> bytes:
        raise RecursionError

    monkeypatch.setattr(sizes, "pickle", SimpleNamespace(dumps=dumps))
    with pytest.raises(ValueError, match="groups within groups"):
        features(payload("etl"))


def test_seconds_follow_the_machine_and_bytes_do_not() -> None:
    """Loads and thaws each by their own factor; a disposal as a thaw."""
    here = size_of(features(payload("etl")))
    there = here.at_speed(2.0, 3.0)
    assert there.load_seconds == 2 * here.load_seconds
    assert there.thaw_seconds == 3 * here.thaw_seconds
    assert there.release_seconds == pytest.approx(3 * here.release_seconds)
    assert (there.live_bytes, there.frozen_bytes) == (here.live_bytes, here.frozen_bytes)


def test_a_size_knows_what_it_takes_of_a_budget() -> None:
    """With the cache's own records; and scales as a whole."""
    size = Size(1000, 100, 5, 0.5, 0.1)
    assert size.full_cost - size.frozen_cost > size.live_bytes
    assert size.frozen_cost > size.frozen_bytes
    assert size.scaled(2.0) == Size(2000, 200, 10, 1.0, 0.2)


# ---- sampling ----


def sampled(loader: SerializedDagLoader, versions: dict[UUID, str], first: set[UUID] | None = None) -> Any:
    """In the seconds of the machine of the measurements."""
    return sample_sizes(loader, versions, first=first or set(), progress=no_progress)


def test_versions_that_were_not_read_scale_with_their_length(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a DAG."""
    monkeypatch.setattr(sampling, "_BIGGEST", 0)
    short = database.version("etl", 1, data=payload("etl", 10))
    long = database.version("etl", 2, data=payload("etl", 20))
    found = sampled(loader, {short: "etl", long: "etl"})
    assert (found.read, found.measured, found.damaged) == (1, 2, 0)
    assert found.sizes[long].live_bytes / found.sizes[short].live_bytes == pytest.approx(2, rel=0.05)
    exact = {size_of(features(payload("etl", tasks))).live_bytes for tasks in (10, 20)}
    assert len(exact & {size.live_bytes for size in found.sizes.values()}) == 1


def test_versions_scale_with_their_own_dag_and_not_with_others(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DAG of long texts weighs less for its length than one of many tasks."""
    monkeypatch.setattr(sampling, "_BIGGEST", 0)
    versions = {database.version("etl", number, data=payload("etl", 20)): "etl" for number in (1, 2)}
    versions[database.version("texts", data=payload("texts", 5, text="x" * 50_000))] = "texts"
    found = sampled(loader, versions)
    assert found.read == 2
    exact = size_of(features(payload("etl", 20))).live_bytes
    assert [found.sizes[version].live_bytes for version, dag_id in versions.items() if dag_id == "etl"] == [exact] * 2


def test_a_dag_of_which_nothing_was_read_is_like_others_of_its_length(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compressed ones like compressed ones; without a model, like the mean."""
    monkeypatch.setattr(sampling, "_MOST_PAYLOADS", 1)
    big = database.version("big", data=payload("big", 40))
    small = database.version("small", data=payload("small", 10))
    squeezed = database.compressed_version("squeezed")
    found = sampled(loader, {big: "big", small: "small", squeezed: "squeezed"})
    assert found.read == 1
    lengths = [len(json.dumps(payload(name, tasks))) for name, tasks in (("big", 40), ("small", 10))]
    ratio = found.sizes[big].live_bytes / found.sizes[small].live_bytes
    assert ratio == pytest.approx(lengths[0] / lengths[1], rel=0.01)
    assert found.sizes[squeezed] == found.sizes[big]


def test_what_was_not_even_measured_is_like_its_dag(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of each DAG comes first, then those that matter most."""
    monkeypatch.setattr(sampling, "_MOST_LENGTHS", 3)
    versions = {database.version("etl", number): "etl" for number in range(5)}
    other = database.version("other")
    wanted = list(versions)[1]
    found = sampled(loader, {**versions, other: "other"}, first={wanted})
    assert found.measured == 3
    assert {wanted, other} <= found.payload_bytes.keys()
    assert found.sizes.keys() == {*versions, other}


def test_damaged_payloads_are_counted_and_left_out(database: Database, loader: SerializedDagLoader) -> None:
    """As long as one can be read."""
    versions = {
        database.version("etl"): "etl",
        database.version("broken", data="{"): "broken",
        database.version("strange", data="{}"): "strange",
        database.version("lost"): "lost",
    }
    database.execute("DELETE FROM serialized_dag WHERE dag_id = 'lost'")
    found = sampled(loader, versions)
    assert (found.read, found.damaged) == (4, 2)
    assert all(size.live_bytes > 0 for size in found.sizes.values())


def test_a_database_in_which_nothing_can_be_read_says_so(database: Database, loader: SerializedDagLoader) -> None:
    """Rather than advising on guesses."""
    with pytest.raises(LoadError, match="none of the 1 that were read is one"):
        sampled(loader, {database.version("etl", data="{"): "etl"})


# ---- the curve ----


def window(versions: int = 40, runs: int = 40, loop_seconds: float = 1.0) -> curve.Window:
    """A sweep over that many versions, each of 100 kB live and 2 kB frozen."""
    found = [Use(key(number % versions), f"dag_{number % versions}", number / 10, None) for number in range(runs)]
    size = {key(number): Size(100_000, 2_000, 10, 0.010, 0.001) for number in range(versions)}
    at = Moment(100.0, runs, versions, 0)
    return curve.window(found, at, size, {key(1): 7}, loop_seconds)


def test_a_budget_for_everything_costs_nothing_once_it_is_warm() -> None:
    """All lookups are live hits. As much as a quarter of the budget is for values that left and are held."""
    found = curve.point(window(), 40 * 150_000, 10_800.0)
    assert (found.live, found.frozen, found.missed, found.seconds_per_sweep, found.busy) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert found.held_bytes <= 40 * 110_000


def test_a_budget_for_the_frozen_copies_thaws_and_does_not_load() -> None:
    """A millisecond each on average, with the spread that thaws have, and 0.9 for a disposal; 40 runs are two loops.

    The second lookup of a loop gets the DAG that the first one holds.
    """
    found = curve.point(window(), 40 * 3_000 + 150_000, 10_800.0)
    assert found.missed == 0.0
    assert found.frozen == pytest.approx(0.5, abs=0.02)
    assert found.seconds_per_sweep == pytest.approx(40 * 0.0019, rel=0.05)
    assert found.busy == pytest.approx(found.seconds_per_sweep / 2.0)


def test_a_budget_below_that_loads() -> None:
    """And costs the more, the smaller it is."""
    costs = [curve.point(window(), budget, 10_800.0).seconds_per_sweep for budget in (60_000, 100_000, 400_000)]
    assert costs[0] > costs[1] > costs[2]


def test_a_budget_is_replayed_as_a_scheduler_holds_and_admits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the DAGs of a loop; a part of the versions stands for all with the same part of the budget."""
    replays: list[tuple[Any, ...]] = []

    def noted(lookups: Any, *rest: Any) -> Any:
        replays.append(rest)
        return replay(lookups, *rest)

    monkeypatch.setattr(curve, "replay", noted)
    curve.point(window(), 1_000_000, 600.0)
    assert [each.session for each in window().lookups[:80]] == [0] * 40 + [1] * 40
    monkeypatch.setattr(curve, "_MOST_VERSIONS", 20)
    curve.point(window(), 1_000_000, 600.0)
    assert replays == [(1_000_000, 600.0, 0.25)] * 2 + [(500_000, 600.0, 0.25)] * 2


def test_the_records_of_a_bag_take_their_part_of_the_budget() -> None:
    """With room for the frozen copies alone, more lookups load."""
    found, budget = window(), 40 * (2_000 + ENTRY_OVERHEAD)
    without = [dataclasses.replace(each, record_bytes=0) for each in found.lookups]
    expected = curve.point(dataclasses.replace(found, lookups=without), budget, 10_800.0)
    assert curve.point(found, budget, 10_800.0).missed > expected.missed + 0.1


def test_a_loop_of_fewer_runs_ends_its_session() -> None:
    """The second lookup of each gets the DAG that the first one holds. The next loop may find one that still waits."""
    found = curve.point(window(7, 7), 7 * 3_000 + 20_000, 10_800.0)
    assert 0.5 <= found.live < 0.6


def test_versions_that_are_held_leave_less_room_for_live_ones() -> None:
    """A quarter of the budget at most."""
    once = [each for each in window(loop_seconds=5.0).lookups if each.at % 5.0 == 0.0]  # the first pass of each loop
    lookups, budget = once, 40 * 3_000 + 2_000_000
    unknown = [dataclasses.replace(each, session=None) for each in lookups]
    free = replay(unknown, budget, 10_800.0, 0.25).live_hits
    held = replay(lookups, budget, 10_800.0, 0.25).live_hits
    assert held == replay(unknown, budget, 10_800.0, 0.25, 20).live_hits
    assert 0.6 * free < held < 0.9 * free


def test_the_cache_that_counts_entries_misses_always_or_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep over one version more than it holds has a miss for each run; the second lookup is a hit."""
    monkeypatch.setattr(curve, "STOCK_ENTRIES", 40)
    assert curve.stock(window(40)).missed == 0.0
    monkeypatch.setattr(curve, "STOCK_ENTRIES", 39)
    assert curve.stock(window(40)).missed == 0.5
    assert curve.stock(window(40)).seconds_per_sweep == pytest.approx(window(40).uncached_seconds)


def test_very_many_versions_are_represented_by_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same share of the budget, and about the same result."""
    whole = curve.point(window(400, 400), 400 * 3_000 + 20_000_000, 10_800.0)
    monkeypatch.setattr(curve, "_MOST_VERSIONS", 200)
    part = window(400, 400)
    assert part.share == 0.5
    assert 150 < len(part.versions) < 250
    found = curve.point(part, 400 * 3_000 + 20_000_000, 10_800.0)
    assert found.seconds_per_sweep == pytest.approx(whole.seconds_per_sweep, rel=0.2)
    assert found.missed == whole.missed == 0.0


def test_the_busiest_and_three_typical_moments_are_replayed() -> None:
    """Weighted by how long they lasted; idle times and repetitions are left out."""
    steps = [(Moment(float(at), runs, runs, 10 * runs), lasted) for at, runs, lasted in
             ((0, 1, 60.0), (1, 0, 999.0), (2, 5, 30.0), (3, 9, 10.0), (4, 20, 0.0))]  # fmt: skip
    assert [moment.runs for moment in curve.choose_moments(steps)] == [20, 1, 5]
    assert curve.choose_moments([(Moment(0.0, 0, 0, 0), 5.0)]) == []
    assert [moment.runs for moment in curve.choose_moments([(Moment(0.0, 3, 3, 9), 0.0)])] == [3]


def test_an_unbounded_budget_and_a_mean_of_points() -> None:
    """Zero means no limit. All fields are averaged except the most bytes held."""
    assert curve.point(window(), 0, 10_800.0).live == 1.0
    found = curve.mean([Point(5, 1.0, 0.0, 0.0, 2.0, 0.2, 7), Point(5, 0.0, 0.5, 0.5, 4.0, 0.4, 9)])
    assert dataclasses.replace(found, busy=0.0) == Point(5, 0.5, 0.25, 0.25, 3.0, 0.0, 9)
    assert found.busy == pytest.approx(0.3)


# ---- recommendations ----


def test_the_smallest_limit_that_loads_nothing_twice_and_thaws_little_is_recommended() -> None:
    """Little is a tenth of the cost of loads. A quarter is added."""
    points = [
        Point(20 * MIB, 0.5, 0.49, 0.01, 1.8, 0.5, 0),
        Point(40 * MIB, 0.0, 1.0, 0.0, 2.2, 0.1, 0),
        Point(80 * MIB, 0.5, 0.5, 0.0, 2.0, 0.05, 0),
        Point(160 * MIB, 1.0, 0.0, 0.0, 0.0, 0.0, 0),
    ]
    found = recommend.scheduler_limit(points, uncached_seconds=20.0, idle_bytes=0, everything=120 * MIB)
    assert (found.value, found.nbytes) == ("104MiB", 104 * MIB)
    with_idle = recommend.scheduler_limit(points, uncached_seconds=20.0, idle_bytes=16 * MIB, everything=120 * MIB)
    assert with_idle.value == "120MiB"
    assert any("wait, frozen" in reason for reason in with_idle.reasons)


def test_nothing_beyond_what_everything_takes_is_recommended() -> None:
    """With any budgets, but at least 16 MiB."""
    points = [Point(900 * MIB, 1.0, 0.0, 0.0, 0.0, 0.0, 0)]
    assert recommend.scheduler_limit(points, uncached_seconds=1.0, idle_bytes=0, everything=8 * MIB).value == "16MiB"
    costly = [Point(64 * MIB, 0.0, 0.0, 1.0, 9.0, 1.0, 0)]
    assert recommend.scheduler_limit(costly, uncached_seconds=9.0, idle_bytes=0, everything=9**20).value == "80MiB"


def test_each_api_worker_needs_a_limit_of_its_own() -> None:
    """All newest versions frozen, and the largest live."""
    found = recommend.worker_limit(10 * MIB, [MIB] * 100, workers=4)
    assert found.value == "96MiB"
    assert "4 x 96MiB = 384MiB" in found.reasons[-1]


@pytest.mark.parametrize(
    ("gaps", "sweep_seconds", "ttl"),
    [
        ([], 1.0, "10800"),
        ([60.0] * 100, 1.0, "10800"),
        ([60.0] * 94 + [20_000.0] * 6, 1.0, "21600"),
        ([60.0] * 96 + [20_000.0] * 4, 1.0, "10800"),
        ([80_000.0], 1.0, "90000"),
        ([60.0, 700_000.0, 700_000.0], 1.0, "10800"),
        ([], 2_000.0, "21600"),
        ([], 20_000.0, "200000"),
    ],
)
def test_the_ttl_covers_usual_pauses_and_ten_sweeps(gaps: list[float], sweep_seconds: float, ttl: str) -> None:
    """Pauses of more than a day are not waited for."""
    assert recommend.idle_time(gaps, sweep_seconds).value == ttl


def test_budgets_worth_a_look_span_from_less_than_frozen_to_more_than_live() -> None:
    """Ascending, and different ones."""
    found = recommend.candidates(10 * MIB, 400 * MIB)
    assert found == sorted(set(found))
    assert found[0] < 10 * MIB < found[1]
    assert found[-1] > 400 * MIB
    assert recommend.candidates(0, 0) == [MIB // 4]


@pytest.mark.parametrize(("nbytes", "neat"), [(1, 1), (16, 16), (17, 18), (33, 36), (65, 72), (130, 144), (1000, 1024)])
def test_limits_are_neat_numbers(nbytes: int, neat: int) -> None:
    """Never below what was asked for."""
    assert recommend.neat(nbytes * MIB) == neat * MIB
    assert recommend.neat(nbytes * MIB - 1) == neat * MIB


def test_limits_are_written_as_they_are_set() -> None:
    """In MiB, or in whole GiB if they are large."""
    assert [recommend.format_limit(each * MIB) for each in (16, 1024, 4096, 4608)] == [
        "16MiB",
        "1024MiB",
        "4GiB",
        "4608MiB",
    ]


# ---- all of it ----


def test_a_report_says_what_is_in_use_and_what_to_set(database: Database, loader: SerializedDagLoader) -> None:
    """On a small database: thirty DAGs that are running, and two that ran."""
    for number in range(30):
        version = database.version(f"dag_{number}", created=DAY, data=payload(f"dag_{number}", 5 + number))
        database.run(f"dag_{number}", 2 * DAY + number, version=version)
    database.version("ended", created=DAY)
    database.run("ended", 2 * DAY, 2 * DAY + 10)
    found = report(loader)
    assert (found.airflow, found.dags, found.versions, found.runs) == ("Airflow 3.3", 31, 31, 31)
    assert (found.now.runs, found.now.versions) == (30, 30)
    assert found.busiest is not None
    assert found.busiest.versions in (30, 31)
    assert [dag.dag_id for dag in found.biggest] == [f"dag_{number}" for number in (29, 28, 27, 26, 25)]
    assert found.scheduler.value == "16MiB"
    assert found.ttl.value == "10800"
    assert found.api_server is not None
    assert found.curve[-1].busiest.live > 0.8  # thirty versions, of which twenty are held
    assert json.loads(json.dumps(dataclasses.asdict(found)))["speed"]["dags"] == 0


def test_a_report_on_chosen_budgets(database: Database, loader: SerializedDagLoader) -> None:
    """In ascending order; without an API server."""
    database.run("etl", 5, version=database.version("etl"))
    found = report(loader, budgets=(2 * MIB, MIB), workers=0)
    assert [row.max_bytes for row in found.curve] == [MIB, 2 * MIB]
    assert found.api_server is None


def test_a_database_without_runs_gets_advice_as_well(database: Database, loader: SerializedDagLoader) -> None:
    """Without a curve, the least limit is enough."""
    database.version("etl")
    found = report(loader)
    assert (found.busiest, found.curve, found.stock) == (None, (), None)
    assert found.scheduler.value == "16MiB"
    assert found.scheduler.reasons == ("no run was active in the period",)


def test_versions_that_wait_for_their_next_run_get_room(database: Database, loader: SerializedDagLoader) -> None:
    """Frozen, as long as the TTL keeps them; those in use are counted already."""
    for number in range(20):
        version = database.version(f"dag_{number}", data=payload(f"dag_{number}", 50))
        database.run(f"dag_{number}", DAY, None if number == 0 else DAY + 60, version=version)
    reasons = report(loader).scheduler.reasons
    frozen = size_of(features(payload("dag_1", 50))).frozen_cost
    reason = next(reason for reason in reasons if "wait, frozen" in reason)
    assert float(reason.split()[0]) == pytest.approx(19 * frozen / 1024, rel=0.05)


def test_a_version_that_is_gone_is_not_looked_up(database: Database, loader: SerializedDagLoader) -> None:
    """A run may refer to one that was cleaned up."""
    kept = database.version("etl", 1)
    gone = database.version("etl", 2)
    database.run("etl", 5, version=gone)
    database.run("etl", 6, version=kept)
    database.execute("DELETE FROM serialized_dag WHERE dag_version_id = ?", gone.hex)
    assert report(loader).now.versions == 1


def test_the_seconds_are_those_of_this_machine(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured with the DAGs that are in use."""
    for number in range(3):
        database.run(f"dag_{number}", 5, version=database.version(f"dag_{number}", data=payload(f"dag_{number}", 9)))
    timed: list[Any] = []

    def measured(samples: Any) -> Speed:
        timed.extend(samples)
        return Speed(loads=10.0, thaws=1.0, dags=len(samples))

    monkeypatch.setattr(reporting, "measured", measured)
    there, here = (report(loader, speed=speed, budgets=(4096, MIB)) for speed in (Speed(), None))
    assert sorted(json.loads(text)["dag"]["dag_id"] for text, _ in timed) == ["dag_0", "dag_1", "dag_2"]
    assert here.speed.dags == 3
    assert here.now == there.now
    ours, theirs = here.curve[0].busiest, there.curve[0].busiest
    assert ours.missed == theirs.missed > 0
    assert ours.frozen == theirs.frozen
    assert 8 <= ours.seconds_per_sweep / theirs.seconds_per_sweep <= 10  # nearly all of it are loads
    thawing, faster = (report(loader, speed=Speed(1.0, thaws), budgets=(16_000,)).curve[0].busiest for thaws in (2, 1))
    assert thawing.missed == 0.0 < thawing.frozen
    assert thawing.seconds_per_sweep == pytest.approx(2 * faster.seconds_per_sweep)


def test_large_dags_are_not_timed_and_no_more_than_fit(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their loads would take long."""
    texts = {tasks: len(json.dumps(payload("dag", tasks))) for tasks in range(1, 9)}
    versions = {database.version(f"dag_{n}", data=payload(f"dag_{n}", n)): f"dag_{n}" for n in texts}
    monkeypatch.setattr(sampling, "_MOST_BYTES_OF_ONE", texts[6] + 20)
    assert sorted(size.tasks for _, size in sampled(loader, versions).samples) == [1, 2, 3, 4, 5, 6]
    monkeypatch.setattr(sampling, "_MOST_TIMED", 4)
    samples = sampled(loader, versions).samples
    assert len({size.tasks for _, size in samples}) == len(samples) == 4
    monkeypatch.setattr(sampling, "_MOST_TIMED_BYTES", len(samples[0].text) + 10)
    assert len(sampled(loader, versions).samples) < 4


def test_dags_in_use_are_timed_rather_than_others(
    database: Database, loader: SerializedDagLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may be of another kind."""
    monkeypatch.setattr(sampling, "_BIGGEST", 0)
    versions = {database.version(f"dag_{n}", data=payload(f"dag_{n}", 1 + n)): f"dag_{n}" for n in range(6)}
    used = list(versions)[:2]
    samples = sampled(loader, versions, first=set(used)).samples
    assert sorted(size.tasks for _, size in samples) == [1, 2]
