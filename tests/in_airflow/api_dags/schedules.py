"""Small DAGs of all schedules: each timetable, assets in all combinations; and a question to a human."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    CronPartitionTimetable,
    CronTriggerTimetable,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    MultipleCronTriggerTimetable,
    PartitionedAssetTimetable,
    StartOfHourMapper,
    chain,
)
from airflow.timetables.events import EventsTimetable

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
PERIODIC: dict[str, Any] = {
    "cron_interval": CronDataIntervalTimetable("15 3 * * *", timezone="Europe/Berlin"),
    "cron_trigger": CronTriggerTimetable("0 6 * * 1-5", timezone="America/New_York"),
    "cron_several": MultipleCronTriggerTimetable("0 1 * * *", "30 13 * * *", timezone="UTC"),
    "delta_interval": DeltaDataIntervalTimetable(timedelta(hours=12)),
    "delta_trigger": DeltaTriggerTimetable(timedelta(days=2)),
    "events": EventsTimetable([datetime(2026, month, 1, tzinfo=timezone.utc) for month in range(1, 13)]),
    "partitioned_cron": CronPartitionTimetable("0 2 * * *", timezone="UTC"),
    "once": "@once",
    "continuous": "@continuous",
}
ORDERS, ITEMS, RATES = (Asset(name, f"s3://warehouse/{name}") for name in ("orders", "items", "rates"))


def _settings(**more: Any) -> dict[str, Any]:
    return {"start_date": BEGIN, "catchup": False, "is_paused_upon_creation": True, **more}


def _empty(*names: str) -> list[EmptyOperator]:
    return [EmptyOperator(task_id=name) for name in names]


def producer() -> DAG:
    """Writes to assets and to an alias."""
    with DAG("producer", schedule="30 2 * * *", **_settings()) as dag:
        orders = BashOperator(task_id="orders", bash_command="true", outlets=[ORDERS])
        items = BashOperator(task_id="items", bash_command="true", inlets=[ORDERS], outlets=[ITEMS, AssetAlias("any")])
        orders >> items
    return dag


def consumers() -> list[DAG]:
    """Scheduled by assets, in all ways."""
    schedules: dict[str, Any] = {
        "of_both": [ORDERS, ITEMS],
        "of_either": ORDERS | (ITEMS & RATES),
        "of_alias": AssetAlias("any"),
        "or_time": AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 8 * * *", timezone="UTC"), assets=ORDERS),
        "of_partitions": PartitionedAssetTimetable(assets=ORDERS & ITEMS, default_partition_mapper=StartOfHourMapper()),
    }
    found = []
    for name, schedule in schedules.items():
        with DAG(name, schedule=schedule, **_settings()) as dag:
            chain(*_empty("take", "give"))
        found.append(dag)
    return found


def periodic() -> list[DAG]:
    """One of each timetable."""
    found = []
    for name, schedule in PERIODIC.items():
        with DAG(name, schedule=schedule, **_settings(max_active_runs=1)) as dag:
            chain(*_empty("one", "two"))
        found.append(dag)
    return found


def approval() -> DAG:
    """A question to a human."""
    with DAG("approval", schedule=None, **_settings()) as dag:
        ask = ApprovalOperator(task_id="ask", subject="Go on?", body="Really?", defaults="Approve")
        ask >> EmptyOperator(task_id="go_on")
    return dag


def own_timetable() -> DAG:
    """A timetable of a plugin's."""
    plugin: Any = import_module("counting_timetable")  # in the folder of plugins, where Airflow looks for modules
    with DAG("own_timetable", schedule=plugin.CountingTimetable(), **_settings()) as dag:
        chain(*_empty("one", "two"))
    return dag


def all_schedules() -> list[DAG]:
    """One of each, but for the plugin's."""
    return [producer(), approval(), *periodic(), *consumers()]


if __name__.startswith("unusual_prefix_"):  # what Airflow calls the modules of a DAG folder
    globals().update({each.dag_id: each for each in [*all_schedules(), own_timetable()]})
