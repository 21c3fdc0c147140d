"""Objects of a plugin: timetables of all characters, links, weights, mappers, windows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.in_airflow.zoo.shape import Later, Shape, Shapes, chained, dag, empty, sdk

SHAPES = Shapes()


def company() -> Any:
    """The plugin's module, as Airflow has loaded it."""
    import_module("airflow.plugins_manager").ensure_plugins_loaded()
    return sys.modules["company"]


TIMETABLES: dict[str, Callable[[], Any]] = {
    "module_globals": lambda: company().CalendarTimetable(),
    "singleton": lambda: company().THE_ONE,
    "delegating_getattr": lambda: company().WrappingTimetable(),
    "forgetful": lambda: company().ForgetfulTimetable(["2026-12-24"]),
    "state": lambda: company().CountingTimetable(["2026-12-24"]),
    "lock": lambda: company().LockingTimetable(),
    "within_another": lambda: sdk("AssetOrTimeSchedule", "airflow.timetables.assets")(
        timetable=company().LockingTimetable(), assets=[sdk("Asset")("s3://bucket/key")]
    ),
    "mapper_and_window": lambda: sdk("PartitionedAssetTimetable")(
        assets=sdk("Asset")("s3://bucket/key"),
        default_partition_mapper=sdk("RollupMapper", "airflow.partition_mappers.base")(
            upstream_mapper=company().CompanyMapper(), window=company().CompanyWindow()
        ),
    ),
}
"""Timetables with parts of a plugin, by the part."""


def _timetable(name: str) -> Callable[[], Any]:
    def build() -> Any:
        with dag(f"plugin_{name}", schedule=TIMETABLES[name]()) as made:
            chained("one", "two")
        return made

    return build


SHAPES += (Shape(f"plugin_{name}", _timetable(name)) for name in TIMETABLES)


@SHAPES.add()
def plugin_weights() -> None:
    """A strategy of a plugin's. Of one in a mapped task Airflow writes the address, and cannot run it."""
    company().CompanyOperator(task_id="weighed", weight_rule=company().WeighingStrategy())


@SHAPES.add()
def plugin_links() -> None:
    """An operator with a link of a plugin's, once mapped, and one with a link of its own."""
    kind = company().CompanyOperator
    kind(task_id="linked") >> empty("other")
    company().LinkedOperator(task_id="own_link")


@SHAPES.add(deadline=Later(lambda: _custom_deadline()))
def plugin_deadline() -> None:
    """A deadline after a moment that a plugin knows."""
    empty("only")


def _custom_deadline() -> Any:
    from datetime import timedelta

    sdk("DeadlineReference")
    return sdk("DeadlineAlert")(
        reference=company().CompanyReference(),
        interval=timedelta(hours=1),
        callback=sdk("AsyncCallback")(company().note_later, kwargs={}),
    )
