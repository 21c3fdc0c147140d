"""Tasks and DAGs with all that they can be given: parameters, callbacks, deadlines, weights, names, zones."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.in_airflow.zoo.shape import (
    BEGIN,
    Later,
    Shape,
    Shapes,
    bash,
    chained,
    dag,
    empty,
    numbers,
    sdk,
    show,
    show_each,
)

SHAPES = Shapes()


def _note(context: Any = None, **_: Any) -> None:
    """A callback."""


async def _note_later(**_: Any) -> None:
    """A callback of a deadline."""


@SHAPES.add(steps=0)
def no_tasks() -> None:
    """A DAG without a task."""


@SHAPES.add()
def one_task() -> None:
    """The smallest one that runs."""
    empty("only")


@SHAPES.add(
    params=Later(
        lambda: {
            "plain": 1,
            "text": sdk("Param")(
                "x", type="string", minLength=1, maxLength=9, pattern="^x", description="text", section="s"
            ),
            "date": sdk("Param")("2026-01-01", type="string", format="date"),
            "choice": sdk("Param")("a", enum=["a", "b", None], values_display={"a": "A"}),
            "maybe": sdk("Param")(None, type=["null", "integer"], minimum=0),
            "array": sdk("Param")(["a"], type="array", items={"type": "string"}, examples=["a", "b"]),
            "table": sdk("Param")({"k": [1, {"n": None}]}, type="object", properties={"k": {"type": "array"}}),
            "nothing": None,
        }
    ),
    render_template_as_native_obj=True,
)
def params_with_schemas() -> None:
    """Of the DAG, of a task and of a mapped task."""
    bash("own", "{{ params.text }}", params={"own": sdk("Param")(2, type="integer", title="own"), "plain": 7})
    show_each("mapped", params={"mapped": sdk("Param")("m", type="string")}).expand(value=[1, 2])
    chained("one", "two")


@SHAPES.add(
    on_success_callback=_note,
    on_failure_callback=[_note, _note],
    default_args={"on_retry_callback": _note, "on_execute_callback": _note, "on_skipped_callback": _note},
)
def callbacks() -> None:
    """Of the DAG and of its tasks, one and several."""
    empty("own", on_success_callback=_note, on_failure_callback=[_note])
    show_each("mapped", on_failure_callback=_note).expand(value=[1])


@SHAPES.add(deadline=Later(lambda: [_alert(name) for name in ("DAGRUN_LOGICAL_DATE", "DAGRUN_QUEUED_AT")]))
def deadlines_by_run() -> None:
    """Two deadlines after moments of a run."""
    empty("only")


@SHAPES.add(deadline=Later(lambda: _alert("FIXED_DATETIME", datetime(2030, 1, 1, tzinfo=BEGIN.tzinfo))))
def deadline_at_a_fixed_time() -> None:
    """A moment in the row."""
    empty("only")


@SHAPES.add(deadline=Later(lambda: _alert("AVERAGE_RUNTIME", 5, 2)))
def deadline_by_earlier_runs() -> None:
    """Numbers in the row."""
    empty("only")


def _alert(reference: str, *arguments: Any) -> Any:
    found = getattr(sdk("DeadlineReference"), reference)
    return sdk("DeadlineAlert")(
        reference=found(*arguments) if arguments else found,
        interval=timedelta(hours=1),
        callback=sdk("AsyncCallback")(_note_later, kwargs={"text": "late", "numbers": [1, 2]}),
    )


@SHAPES.add()
def weight_rules() -> None:
    """All of Airflow's."""
    made = [empty(f"by_{rule}", weight_rule=rule, priority_weight=5) for rule in ("upstream", "downstream", "absolute")]
    made[0] >> made[1] >> made[2]


@SHAPES.add()
def trigger_rules() -> None:
    """Each rule after a task that succeeds and one that may be skipped."""
    first, other = empty("first"), empty("other")
    for rule in sdk("TriggerRule"):
        if rule.value not in ("all_done_setup_success", "always"):
            [first, other] >> empty(f"rule_{rule.value}", trigger_rule=rule)
    empty("rule_always", trigger_rule="always")


@SHAPES.add()
def renamed_tasks() -> None:
    """Tasks with an id that was set after they were added: Airflow keeps the earlier one in its dict of tasks."""
    one, other = empty("one"), empty("other")
    one >> other
    one.task_id = "renamed"


@SHAPES.add(
    dag_display_name="Δοκιμή, with emoji 🦒",
    description="naïve — “quoted”",
    tags=["étiquette", "标签"],
    doc_md="# Überschrift\n\n\U0001f600",
    owner_links={"größe": "https://example.org/ü"},
    default_args={"owner": "größe"},
)
def unicode_everywhere() -> None:
    """Names, texts, commands and groups beyond ASCII."""
    with sdk("TaskGroup")("γκρουπ", tooltip="подсказка"):
        bash("задача", "echo '\u2028 ñ'", env={"ΚΛΕΙΔΊ": "値"}, task_display_name="任务")
        empty("z_" + "é" * 50, doc_md="e\u0301 is not é") >> sdk("Label")("→") >> empty("ω")


@SHAPES.add(
    end_date=BEGIN + timedelta(days=9000),
    template_searchpath=["/somewhere"],
    user_defined_macros={"macro": _note},
    user_defined_filters={"filter": _note},
    jinja_environment_kwargs={"trim_blocks": True},
    max_active_runs=3,
    max_active_tasks=5,
    max_consecutive_failed_dag_runs=2,
    dagrun_timeout=timedelta(hours=2, microseconds=1),
    access_control={"role": {"DAGs": {"can_read"}}},
    sla_miss_callback=None,
    auto_register=False,
    fail_fast=True,
)
def settings_of_all_kinds() -> None:
    """Of a DAG and of a task."""
    bash(
        "all", "true", retries=3, retry_delay=timedelta(seconds=7), max_retry_delay=timedelta(hours=1),
        retry_exponential_backoff=True, execution_timeout=timedelta(minutes=3, microseconds=5), depends_on_past=True,
        wait_for_downstream=True, pool="narrow", pool_slots=2, queue="other", run_as_user="nobody",
        email="a@example.org",
        do_xcom_push=False, max_active_tis_per_dag=2, max_active_tis_per_dagrun=1, inlets=[], outlets=[],
        resources={"cpus": 2, "ram": 512}, executor_config={"KubernetesExecutor": {"request_memory": "1Gi"}},
        doc="plain", doc_json='{"a": 1}', doc_rst="rst", doc_yaml="a: 1", end_date=BEGIN + timedelta(days=8000),
        map_index_template="{{ 1 }}", ignore_first_depends_on_past=False, logger_name="own",
    )  # fmt: skip


@SHAPES.add(start_date=Later(lambda: datetime(2026, 1, 1, tzinfo=sdk("FixedTimezone", "pendulum")(19_800))))
def a_fixed_offset_as_zone() -> None:
    """A zone without a name, as `pendulum` makes it from an offset."""
    empty("own", start_date=datetime(2025, 12, 31, tzinfo=sdk("FixedTimezone", "pendulum")(-3600, name="own")))
    empty("other")


@SHAPES.add(start_date=Later(lambda: datetime(2026, 1, 1, tzinfo=sdk("timezone", "pendulum")("Europe/Amsterdam"))))
def a_named_zone() -> None:
    """A zone with summer time, and tasks with others."""
    empty("berlin", start_date=datetime(2025, 7, 1, tzinfo=sdk("timezone", "pendulum")("Europe/Berlin")))
    empty("std", start_date=datetime(2025, 7, 1, tzinfo=sdk("ZoneInfo", "zoneinfo")("Asia/Tokyo")))


@SHAPES.add()
def results_as_arguments() -> None:
    """Results of tasks in templates: in lists, in dicts, by key."""
    first = numbers()
    show("nested", {"list": [first, {"again": first}], "text": "{{ ds }}"})
    bash("command", first)


@SHAPES.add()
def sensors_and_deferred() -> None:
    """Sensors of all modes, and an operator that starts in the triggerer."""
    sensors = "airflow.providers.standard.sensors"
    sdk("TimeDeltaSensor", f"{sensors}.time_delta")(task_id="delta", delta=timedelta(seconds=1), deferrable=True)
    sdk("FileSensor", f"{sensors}.filesystem")(task_id="file", filepath="/nowhere", mode="reschedule", soft_fail=True)
    sdk("DateTimeSensor", f"{sensors}.date_time")(task_id="moment", target_time=BEGIN, poke_interval=7, timeout=70)


@SHAPES.add()
def branches_and_short_circuits() -> None:
    """Operators that skip others."""
    python = "airflow.providers.standard.operators.python"
    choose = sdk("BranchPythonOperator", python)(task_id="choose", python_callable=_note)
    stop = sdk("ShortCircuitOperator", python)(
        task_id="stop", python_callable=_note, ignore_downstream_trigger_rules=False
    )
    latest = sdk("LatestOnlyOperator", "airflow.providers.standard.operators.latest_only")(task_id="latest")
    choose >> [empty("left"), empty("right")] >> stop >> latest >> empty("end", trigger_rule="none_failed")


@SHAPES.add()
def calls_of_other_dags() -> None:
    """Triggers of other DAGs, and waits for them."""
    trigger = sdk("TriggerDagRunOperator", "airflow.providers.standard.operators.trigger_dagrun")
    sensor = sdk("ExternalTaskSensor", "airflow.providers.standard.sensors.external_task")
    wait = sensor(task_id="wait", external_dag_id="one_task", external_task_ids=["only"], execution_delta=timedelta(1))
    wait >> trigger(
        task_id="call", trigger_dag_id="one_task", conf={"a": [1, {"b": "{{ ds }}"}]}, wait_for_completion=True
    )


@SHAPES.add()
def values_of_all_kinds() -> None:
    """In the configuration of an executor: what Airflow's encoder knows."""
    from uuid import UUID

    values = {
        "bytes": "text", "float": 0.1, "big": 2**70, "negative": -0.0, "nothing": None, "set": {"a", "b", "c"},
        "tuple": (1, ("2", [3])), "moment": BEGIN, "span": timedelta(microseconds=1), "dict": {"a": {}, "b": []},
        "uuid": str(UUID(int=7)), "months": sdk("relativedelta", "dateutil.relativedelta")(months=2, days=-1),
    }  # fmt: skip
    empty("only", executor_config=values)


@SHAPES.add()
def zones_as_values() -> None:
    """A named zone, a fixed offset, and UTC."""
    zone = sdk("timezone", "pendulum")
    empty("only", executor_config={"zones": [zone("Europe/Oslo"), zone(7_200), zone("UTC")]})


@SHAPES.add()
def assets_as_values() -> None:
    """Assets, and the keys by which Airflow finds them."""
    from airflow.sdk.definitions.asset import AssetAliasUniqueKey, AssetUniqueKey

    asset = sdk("Asset")("asset", "s3://bucket/asset")
    keys = [AssetUniqueKey("asset", "s3://bucket/asset"), AssetAliasUniqueKey("alias")]
    empty("only", executor_config={"assets": [asset, sdk("AssetAlias")("alias"), *keys]})


@SHAPES.add()
def exceptions_as_values() -> None:
    """Built-in ones, and Airflow's."""
    from airflow.exceptions import AirflowException, AirflowSkipException

    errors = [KeyError("key"), AttributeError("name"), AirflowException("text"), AirflowSkipException("skipped")]
    empty("only", executor_config={"errors": errors})


@SHAPES.add()
def connection_as_value() -> None:
    """A row of Airflow's own database, without a session."""
    from airflow.models.connection import Connection

    empty("only", executor_config={"connection": Connection(conn_id="c", conn_type="http", host="example.org")})


def _pod() -> Any:
    kubernetes = "kubernetes.client.models"
    container = sdk("V1Container", kubernetes)(name="base", resources={"limits": {"cpu": "1"}})
    pod = sdk("V1Pod", kubernetes)(spec=sdk("V1PodSpec", kubernetes)(containers=[container]))
    with dag("a_pod") as made:
        empty("only", executor_config={"pod_override": pod})
        chained("one", "two")
    return made


SHAPES.append(Shape("a_pod", _pod))
