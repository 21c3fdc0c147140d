"""The names that frozen DAGs from a store may refer to: Airflow's serialised classes, plain values, and our own calls.

Not on the list: anything that looks names up, the classes and functions of a deployment's own modules, and the calls
that take plugins' links and timetables from the process. A version that needs one of these is not stored.
"""

from __future__ import annotations

from dagcache.freezing.restricted import AllowList

_CLASSES_OF = (
    "airflow.models.expandinput",
    "airflow.models.mappedoperator",
    "airflow.models.xcom_arg",
    "airflow.partition_mappers.",
    "airflow.serialization.definitions.",
    "airflow.serialization.serialized_objects",  # until Airflow 3.1
    "airflow.task.priority_strategy",
    "airflow.ti_deps.deps.",
    "airflow.timetables.",
    "airflow.triggers.base",
)
_ASSETS = ("Asset", "AssetAlias", "AssetAll", "AssetAny", "AssetNameRef", "AssetUriRef")
"""Those of the Task SDK, of which loaded DAGs have instances until Airflow 3.1."""
_NAMES = (
    ("_weakref", "proxy"),
    *(("airflow.sdk.definitions.asset", name) for name in _ASSETS),
    ("airflow.sdk.definitions.asset", "AssetAliasUniqueKey"),
    ("airflow.sdk.definitions.asset", "AssetUniqueKey"),
    ("airflow.sdk.definitions.operator_resources", "CpuResource"),
    ("airflow.sdk.definitions.operator_resources", "DiskResource"),
    ("airflow.sdk.definitions.operator_resources", "GpuResource"),
    ("airflow.sdk.definitions.operator_resources", "RamResource"),
    ("airflow.sdk.definitions.operator_resources", "Resource"),
    ("airflow.sdk.definitions.operator_resources", "Resources"),
    ("airflow.sdk.definitions.param", "Param"),  # until Airflow 3.1, as the next one
    ("airflow.sdk.definitions.param", "ParamsDict"),
    ("airflow.utils.types", "DagRunType"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("collections", "OrderedDict"),
    ("collections", "deque"),
    ("dagcache.airflow.graphs", "zone_by_name"),
    ("dagcache.freezing.hubs", "empty_instance"),
    ("dagcache.freezing.hubs", "itself"),
    ("dagcache.freezing.set_order", "joined"),
    ("dagcache.freezing.set_order", "seeded_frozenset"),
    ("dagcache.freezing.set_order", "seeded_set"),
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("dateutil._common", "weekday"),
    ("dateutil.relativedelta", "relativedelta"),
    ("decimal", "Decimal"),
    ("pendulum.date", "Date"),
    ("pendulum.datetime", "DateTime"),
    ("pendulum.duration", "Duration"),
    ("pendulum.interval", "Interval"),
    ("pendulum.time", "Time"),
    ("pendulum.tz", "fixed_timezone"),
    ("pendulum.tz.timezone", "FixedTimezone"),
    ("pendulum.tz.timezone", "Timezone"),
    ("re", "_compile"),
    ("uuid", "UUID"),
    ("zoneinfo", "ZoneInfo"),
)


def allow_list() -> AllowList:
    """The list, without an object looked up yet."""
    return AllowList(_NAMES, _CLASSES_OF)
