"""Objects of plugins in a DAG: a thaw gives the same as Airflow's own load, or there is no frozen form."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dagcache.airflow import foreign
from tests.in_airflow.conftest import Recorder
from tests.in_airflow.support import api_bag, write
from tests.in_airflow.test_example_dags import serialization
from tests.support.lockstep import assert_same_graph, in_common


@pytest.fixture
def company(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin's module, as Airflow has loaded it."""
    plugins = importlib.import_module("airflow.plugins_manager")
    plugins.ensure_plugins_loaded()
    module = sys.modules["company"]
    monkeypatch.setattr(foreign, "_failures", Counter())
    yield module
    module.CALENDAR.days.clear()
    module.FickleTimetable.matter = False


@pytest.fixture
def told() -> Iterator[list[logging.LogRecord]]:
    """The lines of dagcache from INFO on."""
    handler, logger = Recorder(logging.INFO), logging.getLogger("dagcache")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(before)


def stock(version: Any, session: Any) -> Any:
    """Airflow's own load of a version, each time another."""
    from airflow.models.serialized_dag import SerializedDagModel

    row = session.query(SerializedDagModel).filter(SerializedDagModel.dag_version_id == version).one()
    return serialization().from_dict(json.loads(json.dumps(row.data)))


def evict_live(bag: Any) -> None:
    """Leave the frozen copies: the next lookup does not get an object that the test holds."""
    for version in list(bag.dagcache):
        bag.dagcache.fetch(version, private=True, renew=True)
    assert bag.dagcache.stats().live_entries == 0


def loaded_and_thawed(bag: Any, version: Any, session: Any) -> tuple[Any, Any]:
    """The DAG as the bag loads it, and as it thaws it."""
    loaded = bag._get_dag(version, session)
    assert bag.dagcache.stats().unfrozen == 0
    evict_live(bag)
    before = bag.dagcache.stats()
    thawed = bag._get_dag(version, session)
    after = bag.dagcache.stats()
    assert after.hits_frozen == before.hits_frozen + 1
    assert thawed is not loaded
    return loaded, thawed


def assert_as_good_as_a_load(bag: Any, version: Any, session: Any) -> Any:
    """A thaw differs from a load in nothing, and shares with the process what two loads share; the thawed DAG."""
    loaded, thawed = loaded_and_thawed(bag, version, session)
    assert_same_graph(loaded, thawed, in_common(stock(version, session), loaded))
    return thawed


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "the module's calendar": lambda company: company.CalendarTimetable(),
    "one for all": lambda company: company.THE_ONE,
    "a wrapper": lambda company: company.WrappingTimetable(),
    "one that says less than its row": lambda company: company.ForgetfulTimetable(["2026-12-24"]),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_thawed_timetable_is_what_a_load_gives(
    schedule: Callable[[Any], Any], company: Any, bag: Any, session: Any
) -> None:
    """It refers to the same objects of the process, and is the process's singleton if the loaded one is."""
    version = write(session, "by_plugin", text=str(schedule), schedule=schedule(company))
    thawed = assert_as_good_as_a_load(bag, version, session)
    company.CALENDAR.days.add("2026-12-25")
    assert len(getattr(thawed.timetable, "calendar", company.CALENDAR).days) == 1
    if type(thawed.timetable) is company.OneTimetable:
        assert thawed.timetable is company.THE_ONE
    if type(thawed.timetable) is company.ForgetfulTimetable:
        assert thawed.timetable.days == ["2026-12-24"]


def test_a_timetable_within_one_of_airflows_is_what_a_load_gives(company: Any, bag: Any, session: Any) -> None:
    """The outer one is Airflow's own class."""
    from airflow.sdk import Asset
    from airflow.timetables.assets import AssetOrTimeSchedule

    schedule = AssetOrTimeSchedule(timetable=company.CalendarTimetable(), assets=[Asset("s3://bucket/key")])
    version = write(session, "within_another", schedule=schedule)
    thawed = assert_as_good_as_a_load(bag, version, session)
    assert thawed.timetable.timetable.calendar is company.CALENDAR


def test_mappers_and_windows_of_plugins_are_what_a_load_gives(company: Any, bag: Any, session: Any) -> None:
    """They stand in timetables."""
    if not company.mappers:
        pytest.skip("this version of Airflow has no mappers in plugins")
    from airflow.partition_mappers.base import RollupMapper
    from airflow.sdk import Asset, PartitionedAssetTimetable

    rollup = RollupMapper(upstream_mapper=company.CompanyMapper(), window=company.CompanyWindow())
    schedule = PartitionedAssetTimetable(assets=Asset("s3://bucket/key"), default_partition_mapper=rollup)
    version = write(session, "mapped_by_plugin", schedule=schedule)
    thawed = assert_as_good_as_a_load(bag, version, session)
    mapper = thawed.timetable.default_partition_mapper
    assert mapper.upstream_mapper.calendar is mapper.window.calendar is company.CALENDAR


def test_a_weight_strategy_of_a_plugin_is_what_a_load_gives(company: Any, bag: Any, session: Any) -> None:
    """It refers to the process's calendar."""

    def add() -> None:
        company.CompanyOperator(task_id="weighed", weight_rule=company.WeighingStrategy())

    thawed = assert_as_good_as_a_load(bag, write(session, "weighed_by_plugin", add_tasks=add), session)
    assert thawed.get_task("weighed").weight_rule.calendar is company.CALENDAR


def test_a_link_of_a_plugin_is_the_registered_one(company: Any, session: Any) -> None:
    """Where links are loaded: in the API server."""
    version = write(session, "linked_by_plugin", add_tasks=lambda: company.CompanyOperator(task_id="linked"))
    bag = api_bag()
    try:
        loaded, thawed = loaded_and_thawed(bag, version, session)
    finally:
        bag._component.close()
    assert loaded.get_task("linked").operator_extra_links == [company.LINK]
    assert thawed.get_task("linked").operator_extra_links[0] is company.LINK


def test_what_a_plugin_hangs_on_a_dag_beyond_that_has_no_frozen_form(
    company: Any, bag: Any, session: Any, told: list[logging.LogRecord]
) -> None:
    """It is loaded, kept live, counted, and logged once for any number of DAGs."""
    versions = [write(session, f"hung_{number}") for number in range(3)]
    plain = bag._read_dag

    def hang(serdag: Any) -> Any:
        dag = plain(serdag)
        dag.default_args["calendar"] = company.CALENDAR
        return dag

    bag._read_dag = hang
    for version in versions:
        assert bag._get_dag(version, session).default_args["calendar"] is company.CALENDAR
    stats = bag.dagcache.stats()
    assert (stats.unfrozen, stats.live_entries, stats.frozen_entries) == (3, 3, 0)
    assert ["company.Calendar" in record.getMessage() for record in told if "frozen form" in record.msg] == [True]


def test_a_timetable_that_cannot_be_decoded_again_costs_a_load_each_and_then_nothing(
    company: Any, bag: Any, session: Any, told: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version is kept live from then on, and after two failures so are all of its class, with one line for each."""
    versions = [write(session, f"fickle_{number}", schedule=company.FickleTimetable()) for number in range(4)]
    for version in versions:
        bag._get_dag(version, session)
    assert bag.dagcache.stats().unfrozen == 0
    evict_live(bag)
    decode = foreign._decoder()

    def decode_in_a_bad_moment(payload: Any) -> Any:
        company.FickleTimetable.matter = True
        try:
            return decode(payload)
        finally:
            company.FickleTimetable.matter = False

    with monkeypatch.context() as patch:
        patch.setattr(foreign, "_decoder", lambda: decode_in_a_bad_moment)
        for version in versions:
            assert type(bag._get_dag(version, session).timetable) is company.FickleTimetable
    stats = bag.dagcache.stats()
    assert stats.thaw_failures == 4
    assert stats.frozen_entries == 0
    assert stats.live_entries == 4
    assert stats.unfrozen == 4
    assert len([record for record in told if "kept live only" in record.getMessage()]) == 1
    fresh = write(session, "fickle_too", schedule=company.FickleTimetable())
    bag._get_dag(fresh, session)
    assert bag.dagcache.stats().unfrozen == 5
    bag.dagcache.check_invariants()


def test_a_row_that_says_nothing_of_a_timetable_is_no_reason_to_fail(bag: Any, session: Any) -> None:
    rows: list[Any] = [None, [], {}, {"dag": None}, {"dag": {}}, {"dag": {"timetable": object()}}]
    for data in rows:
        row = type("Row", (), {"data": data})()
        assert foreign.timetable_of(row) == ""
    foreign.note(None, "")
    assert list(foreign.rebuilt(object())) == []
