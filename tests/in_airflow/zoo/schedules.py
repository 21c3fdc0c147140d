"""Every timetable of Airflow's own, with mappers and windows of partitions; assets in all combinations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

from tests.in_airflow.zoo.shape import BEGIN, Shape, Shapes, chained, dag, empty, sdk

_OLD = "airflow.timetables"
_MAPPERS = "airflow.partition_mappers"


def _of(name: str, *arguments: Any, module: str = "airflow.sdk", **named: Any) -> Callable[[], Any]:
    """A call of one of Airflow's classes, to be made later. Functions among the arguments are called then, too."""

    def make() -> Any:
        kind = sdk(name, module)
        return kind(*map(_made, arguments), **{key: _made(each) for key, each in named.items()})

    return make


def _made(part: Any) -> Any:
    return part() if callable(part) else part


def _old(module: str, name: str, *arguments: Any, **named: Any) -> Callable[[], Any]:
    return _of(name, *arguments, module=f"{_OLD}.{module}", **named)


def _partitioned(mapper: Callable[[], Any]) -> Callable[[], Any]:
    return _of("PartitionedAssetTimetable", assets=_ASSET, default_partition_mapper=mapper)


def _rollup(window: Callable[[], Any], mapper: Callable[[], Any], **more: Any) -> Callable[[], Any]:
    return _partitioned(_of("RollupMapper", upstream_mapper=mapper, window=window, **more))


_ASSET = _of("Asset", "s3://bucket/key", extra={"a": [1, {"b": None}]})
_DAILY = _old("trigger", "CronTriggerTimetable", "@daily", timezone="UTC")
_HOURLY = _of("StartOfHourMapper", timezone="UTC")

TIMETABLES: dict[str, Callable[[], Any]] = {
    "no schedule": lambda: None,
    "months": _of("relativedelta", months=1, weekday=0, module="dateutil.relativedelta"),
    "a delta": lambda: timedelta(days=2),
    "a cron": lambda: "*/20 3 * * 1-5",
    "a cron with a fixed offset": _old(
        "trigger", "CronTriggerTimetable", "@daily", timezone=_of("FixedTimezone", 19_800, module="pendulum")
    ),
    "a delta with an interval": _old("trigger", "DeltaTriggerTimetable", timedelta(1), interval=timedelta(hours=2)),
    "no events": _old("events", "EventsTimetable", event_dates=[]),
    "restricted events": _old(
        "events", "EventsTimetable", event_dates=[BEGIN, BEGIN + timedelta(1)], restrict_to_events=True
    ),
    "several crons": _old("trigger", "MultipleCronTriggerTimetable", "1 * * * *", "2 * * * *", timezone="Europe/Paris"),
    "several crons with an interval": _old(
        "trigger", "MultipleCronTriggerTimetable", "@hourly", "@daily", timezone="UTC", interval=timedelta(hours=1)
    ),
    "a cron with run_immediately": _old(
        "trigger", "CronTriggerTimetable", "@daily", timezone="UTC", run_immediately=timedelta(1)
    ),
    "an interval by cron in a zone": _old(
        "interval", "CronDataIntervalTimetable", "@daily", timezone="America/New_York"
    ),
    "an interval by delta": _old("interval", "DeltaDataIntervalTimetable", timedelta(3)),
    "an interval by months": _old(
        "interval", "DeltaDataIntervalTimetable", _of("relativedelta", months=1, module="dateutil.relativedelta")
    ),
    "partitions by cron": _of(
        "CronPartitionTimetable", "0 2 * * *", timezone="Asia/Kolkata", run_offset=-1, key_format="%Y/%m/%d"
    ),
    "partitions at run time": _of("PartitionedAtRuntime"),
    "an asset": lambda: [_ASSET()],
    "assets by reference": lambda: [
        sdk("Asset").ref(name="by_name"),
        sdk("Asset").ref(uri="s3://by/uri"),
        _ASSET(),
    ],
    "any of all of assets": lambda: (_named("a") | (_named("b") & _named("c"))) & (_named("d") | _named("e")),
    "an alias and an asset": lambda: sdk("AssetAlias")("alias", group="others") & _named("a"),
    "an asset with watchers": lambda: [_watched()],
    "an asset or a time": _old("assets", "AssetOrTimeSchedule", timetable=_DAILY, assets=lambda: [_ASSET()]),
    "partitions of an asset": _of("PartitionedAssetTimetable", assets=_ASSET),
    "partitions with a mapper for each asset": lambda: sdk("PartitionedAssetTimetable")(
        assets=_named("a") & _named("b") & sdk("Asset").ref(name="by_name"),
        partition_mapper_config={
            _named("a"): _HOURLY(),
            _named("b"): sdk("IdentityMapper")(),
            sdk("Asset").ref(name="by_name"): _of("StartOfDayMapper", timezone="UTC")(),
        },
    ),
    "a chain of mappers": _partitioned(
        _of("ChainMapper", _of("IdentityMapper"), _of("StartOfQuarterMapper", timezone="UTC"))
    ),
    "a product of mappers": _partitioned(
        _of("ProductMapper", _of("AllowedKeyMapper", ["eu", "us"]), _of("StartOfMonthMapper", timezone="UTC"))
    ),
    "a fan-out": _partitioned(
        _of("FanOutMapper", upstream_mapper=_of("StartOfWeekMapper", timezone="UTC"), window=_of("WeekWindow"))
    ),
    "a rollup of categories": _rollup(
        _of("SegmentWindow", ["us", "eu"]), _of("FixedKeyMapper", "all"), wait_policy=_of("MinimumCount", 1)
    ),
    **{
        f"a rollup by {window}": _rollup(_of(window), _of(mapper, timezone="UTC"))
        for window, mapper in (
            ("HourWindow", "StartOfHourMapper"),
            ("DayWindow", "StartOfDayMapper"),
            ("WeekWindow", "StartOfWeekMapper"),
            ("MonthWindow", "StartOfMonthMapper"),
            ("QuarterWindow", "StartOfQuarterMapper"),
            ("YearWindow", "StartOfYearMapper"),
        )
    },
}
"""Schedules of all kinds, by name."""


def _named(name: str) -> Any:
    return sdk("Asset")(name, f"s3://bucket/{name}")


def _watched() -> Any:
    trigger = sdk("FileDeleteTrigger", "airflow.providers.standard.triggers.file")(filepath="/nowhere")
    return sdk("Asset")("watched", watchers=[sdk("AssetWatcher")(name="watcher", trigger=trigger)])


def _scheduled(name: str) -> Callable[[], Any]:
    def build() -> Any:
        """With values of all kinds that Airflow's decoder knows."""
        zone = timezone(timedelta(hours=5, minutes=30))
        values = {
            "moment": BEGIN.astimezone(zone),
            "span": timedelta(1),
            "set": {f"element {number}" for number in range(40)},
            "tuple": (1, (2.5, None)),
            "nested": {"a": [{"b": True}]},
        }
        tags = [f"tag {number}" for number in range(30)]
        with dag(name.replace(" ", "_"), schedule=TIMETABLES[name](), tags=tags, default_args=values) as made:
            for number in range(3):
                empty(f"task_{number}", executor_config=values, start_date=BEGIN.astimezone(zone))
        return made

    return build


SHAPES = Shapes(Shape(name.replace(" ", "_"), _scheduled(name)) for name in TIMETABLES)


@SHAPES.add()
def outlets_of_all_kinds() -> None:
    """Assets, references, aliases, with groups and further data, in and out."""
    alias = sdk("AssetAlias")("alias", group="others")
    asset = sdk("Asset")("asset", "s3://bucket/asset", group="reports", extra={"owner": {"team": ["a"]}})
    empty("in_and_out", inlets=[asset, sdk("Asset").ref(name="asset")], outlets=[alias, asset, _watched()])
    chained("one", "two")
