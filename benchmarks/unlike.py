"""Made-up DAGs that are unlike a playground's: one kind of operator each, extreme shapes. For judging predictions."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, Asset, Param, TaskGroup, task
from airflow.serialization.serialized_objects import LazyDeserializedDAG

_START = datetime(2025, 3, 1, tzinfo=timezone.utc)


def unlike_dags(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Serialised DAGs; the same seed gives the same ones."""
    random_ = random.Random(seed)
    return [_dag(number, random_) for number in range(count)]


def _dag(number: int, random_: random.Random) -> dict[str, Any]:
    tasks = int(min(1500, max(1, random_.lognormvariate(3.3, 1.2))))
    fill = random_.choice([_empty, _nested, _long_texts, _task_flow, _arguments, _assets, _dense])
    params = {f"p{index}": Param(index, type="integer") for index in range(random_.choice([0, 0, 0, 5]))}
    dag = DAG(
        f"unlike_{number}{fill.__name__}",
        schedule=random_.choice([None, "@daily", timedelta(hours=2)]),
        start_date=_START,
        catchup=False,
        default_args={"owner": "analysts"} if random_.random() < 0.6 else {},
        doc_md="# doc\n" * random_.randint(0, 60),
        params=params,
    )
    with dag:
        fill(tasks, _Chain(random_), random_)
    data: dict[str, Any] = LazyDeserializedDAG.from_dag(dag).data
    return data


class _Chain:
    """Puts each task behind one of the last ten."""

    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self._recent: list[Any] = []

    def add(self, each: Any, upstreams: int = 1) -> None:
        """Behind so many."""
        for other in self._random.sample(self._recent, min(len(self._recent), upstreams)):
            other.set_downstream(each)
        self._recent = [*self._recent[-9:], each]


def _empty(tasks: int, chain: _Chain, random_: random.Random) -> None:
    for number in range(tasks):
        chain.add(EmptyOperator(task_id=f"e{number}"))


def _nested(tasks: int, chain: _Chain, random_: random.Random, depth: int = 0) -> None:
    with TaskGroup(f"group_{depth}", tooltip="tip"):
        for number in range(min(tasks, 3)):
            chain.add(BashOperator(task_id=f"b{number}", bash_command=f"echo {number}"), random_.randint(1, 2))
        if tasks > 3 and depth < 20:
            _nested(tasks - 3, chain, random_, depth + 1)


def _long_texts(tasks: int, chain: _Chain, random_: random.Random) -> None:
    for number in range(tasks):
        text = "".join(random_.choices(string.ascii_letters + " \n", k=random_.randint(200, 9000)))
        chain.add(BashOperator(task_id=f"sql_{number}", bash_command=f"SELECT é {text} ;", env={"A": "b"}))


def _task_flow(tasks: int, chain: _Chain, random_: random.Random) -> None:
    source, spread = task(_source), task(_spread)
    add = task(retries=3, retry_delay=timedelta(minutes=3), pool="p")(_add)
    last: Any = source(1)
    for number in range(tasks // 2):
        last = add.override(task_id=f"add_{number}")(last, source.override(task_id=f"source_{number}")(number))
    spread.expand(number=[1, 2, 3])


def _source(number: int) -> int:
    return number


def _add(left: int, right: int) -> int:
    return left + right


def _spread(number: int) -> int:
    return number


def _arguments(tasks: int, chain: _Chain, random_: random.Random) -> None:
    for number in range(tasks):
        arguments = {
            f"k{index}": {"a": [random_.random() for _ in range(random_.randint(0, 9))], "b": {"c": str(index) * 5}}
            for index in range(random_.randint(0, 12))
        }
        chain.add(PythonOperator(task_id=f"py.{number}", python_callable=_nothing, op_kwargs=arguments))


def _assets(tasks: int, chain: _Chain, random_: random.Random) -> None:
    for number in range(tasks):
        asset = Asset(f"s3://bucket/{random_.random()}/{number}", extra={"k": "v"})
        chain.add(PythonOperator(task_id=f"as{number}", python_callable=_nothing, outlets=[asset]))


def _dense(tasks: int, chain: _Chain, random_: random.Random) -> None:
    kinds: list[Callable[[str], Any]] = [
        lambda name: PythonSensor(task_id=name, python_callable=_nothing, mode="reschedule", poke_interval=60),
        lambda name: BranchPythonOperator(task_id=name, python_callable=_nothing),
        lambda name: EmptyOperator(task_id=name),
    ]
    for number in range(tasks):
        chain.add(random_.choice(kinds)(f"s{number}"), 8)


def _nothing() -> None:
    """The callable of the Python tasks."""
