"""Small DAGs of all shapes: tasks and groups, mapped and nested, with all that they can be given."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.sdk import DAG, Label, Param, TaskGroup, chain, task, task_group

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
IN_A_DAG_FOLDER = "unusual_prefix_"
"""The prefix of Airflow's names for the modules of a DAG folder."""


def _settings(**more: Any) -> dict[str, Any]:
    return {"start_date": BEGIN, "catchup": False, "is_paused_upon_creation": True, **more}


def _empty(*names: str) -> list[EmptyOperator]:
    return [EmptyOperator(task_id=name) for name in names]


def mapped_group() -> DAG:
    """A group that is there twice, between two tasks: Airflow's `partial_subset` damages the graph that it is asked."""
    with DAG("mapped_group", schedule=None, **_settings()) as dag:

        @task
        def only(number: int) -> int:
            return number

        @task_group
        def grp(number: int) -> None:
            only(number)

        before, after = _empty("before", "after")
        before >> grp.expand(number=[1, 2]) >> after
    return dag


def mapped_nested() -> DAG:
    """A group of groups that is mapped, with a mapped task beside it."""
    with DAG("mapped_nested", schedule="@daily", **_settings()) as dag:

        @task
        def numbers() -> list[int]:
            return [1, 2, 3]

        @task
        def double(number: int) -> int:
            return number * 2

        @task
        def total(found: Any) -> int:
            return sum(found)

        @task_group(tooltip="outer")
        def outer(number: int) -> Any:
            first = double.override(task_id="first")(number)

            @task_group
            def inner(value: Any) -> Any:
                return double.override(task_id="second")(value)

            return inner(first)

        given = numbers()
        total.override(task_id="of_groups")(outer.expand(number=[1, 2]))
        total.override(task_id="of_tasks")(double.expand(number=given))
    return dag


def mapped_tasks() -> DAG:
    """All ways to map a task."""
    with DAG("mapped_tasks", schedule=timedelta(hours=6), **_settings()) as dag:

        @task
        def add(a: int, b: int = 1) -> int:
            return a + b

        @task
        def rows() -> list[dict[str, int]]:
            return [{"a": 1}, {"a": 2}]

        BashOperator.partial(task_id="bash", retries=2, pool="narrow", map_index_template="{{ task.env['N'] }}").expand(
            bash_command=["true", "false"], env=[{"N": "1"}, {"N": "2"}]
        )
        add.partial(b=3).expand(a=[1, 2])
        found = rows()
        add.override(task_id="kwargs").expand_kwargs(found)
        add.override(task_id="zipped").expand(a=found.map(lambda row: row["a"]))
        PythonOperator.partial(task_id="python", python_callable=print).expand(op_args=[[1], [2]])
    return dag


def nested_groups() -> DAG:
    """Groups in groups, edges between groups and tasks, labels."""
    with DAG("nested_groups", schedule="0 4 * * *", **_settings(doc_md="# Nested\n\n    indented")) as dag:
        begin, end = _empty("begin", "end")
        with TaskGroup("outer", tooltip="the outer one", ui_color="#aabbcc") as outer:
            first = EmptyOperator(task_id="first")
            with TaskGroup("inner", prefix_group_id=False) as inner:
                chain(*_empty("a", "b", "c"))
            with TaskGroup("beside", default_args={"retries": 7}) as beside:
                _empty("x", "y")
            first >> Label("why") >> inner >> beside
        begin >> outer >> end
        begin >> Label("at once") >> end
    return dag


def setups() -> DAG:
    """Setups and teardowns, in and out of groups."""
    with DAG("setups", schedule=None, **_settings()) as dag:
        create, use, drop = _empty("create", "use", "drop")
        create.as_setup() >> use >> drop.as_teardown(setups=create)
        with TaskGroup("cluster"):
            up, work, more, down = _empty("up", "work", "more", "down")
            up.as_setup() >> [work, more] >> down.as_teardown(setups=up, on_failure_fail_dagrun=True)
        use >> work
        EmptyOperator(task_id="last", trigger_rule="all_done") << [use, more]
    return dag


def parameters() -> DAG:
    """Parameters of all kinds, and the other details of a DAG."""
    settings = _settings(
        end_date=BEGIN + timedelta(days=3650),
        params={
            "plain": 1,
            "text": Param("x", type="string", minLength=1, description="a text", section="one"),
            "choice": Param("a", enum=["a", "b"]),
            "maybe": Param(None, type=["null", "integer"], minimum=0),
            "table": Param({"k": [1, {"n": None}]}, type="object"),
        },
        default_args={"owner": "analysts", "retries": 3, "retry_delay": timedelta(minutes=7)},
        owner_links={"analysts": "https://example.org"},
        tags=["one", "two"],
        max_active_runs=3,
        max_active_tasks=5,
        max_consecutive_failed_dag_runs=2,
        dagrun_timeout=timedelta(hours=2),
        description="Parameters",
        template_searchpath=["/somewhere"],
        render_template_as_native_obj=True,
        dag_display_name="Parameters, displayed",
        fail_fast=False,
    )
    with DAG("parameters", schedule="@weekly", **settings) as dag:
        one = BashOperator(task_id="one", bash_command="echo {{ params.text }}", params={"own": 2}, doc_md="*one*")
        two = BashOperator(task_id="two", bash_command="true", env={"A": "{{ ds }}"}, retry_exponential_backoff=True)
        one >> two
    return dag


def branching() -> DAG:
    """Branches, trigger rules, pools, sensors and links."""
    with DAG("branching", schedule="@hourly", **_settings(tags=["two"])) as dag:
        choose = BranchPythonOperator(task_id="choose", python_callable=lambda: "left")
        left, right = _empty("left", "right")
        wait = ExternalTaskSensor(task_id="wait", external_dag_id="setups", external_task_id="last", mode="reschedule")
        trigger = TriggerDagRunOperator(task_id="trigger", trigger_dag_id="parameters", conf={"a": [1]})
        heavy = EmptyOperator(
            task_id="heavy", pool="narrow", pool_slots=2, priority_weight=10, weight_rule="upstream", queue="other",
            execution_timeout=timedelta(minutes=3), depends_on_past=True, wait_for_downstream=True,
            trigger_rule="none_failed_min_one_success", task_display_name="Heavy, displayed", owner="another",
        )  # fmt: skip
        wait >> choose >> [left, right] >> heavy >> trigger
    return dag


def revised(revision: int) -> DAG:
    """Another version for each revision: tasks come, go, move and change."""
    with DAG("revised", schedule="@daily", description=f"revision {revision}", **_settings()) as dag:
        first = BashOperator(task_id="first", bash_command=f"echo {revision}")
        with TaskGroup("group"):
            later = [EmptyOperator(task_id=f"task_{n}") for n in range(revision, revision + 3)]
        first >> later
        if revision > 1:
            later[0] >> EmptyOperator(task_id="new_one")
        if revision > 2:
            BashOperator.partial(task_id="mapped").expand(bash_command=["true"] * min(revision, 4))
    return dag


def larger(tasks: int = 40) -> DAG:
    """As many tasks as many DAGs have."""
    with DAG("larger", schedule="@daily", **_settings(params={"day": "2026-01-01", "limit": 100})) as dag:
        made: list[Any] = []
        for number in range(tasks):
            each = BashOperator(task_id=f"task_{number:02}", bash_command=f"submit --table {number}", retries=2)
            made[-3:] and made[-3:] >> each
            made.append(each)
    return dag


def all_shapes() -> list[DAG]:
    """One of each; of `revised` the first revision."""
    several = (mapped_group, mapped_nested, mapped_tasks, nested_groups, setups, parameters, branching, larger)
    return [*(make() for make in several), revised(1)]


if __name__.startswith(IN_A_DAG_FOLDER):
    globals().update({each.dag_id: each for each in all_shapes()})
