"""The DAGs that the tests of the API server ask for, too."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from tests.in_airflow.zoo.shape import Shape

_GENERAL = (
    *("mapped_group", "mapped_nested", "mapped_tasks", "nested_groups", "setups", "parameters", "branching", "larger"),
    "revised",
)
_PERIODIC = (
    *("cron_interval", "cron_trigger", "cron_several", "delta_interval", "delta_trigger", "events"),
    *("partitioned_cron", "once", "continuous"),
)
_OF_ASSETS = ("of_both", "of_either", "of_alias", "or_time", "of_partitions")
_DAGS = "tests.in_airflow.api_dags"


def _general(name: str) -> Any:
    make = getattr(import_module(f"{_DAGS}.shapes"), name)
    return make(1) if name == "revised" else make()


def _scheduled(name: str) -> Any:
    schedules = import_module(f"{_DAGS}.schedules")
    return next(dag for dag in schedules.all_schedules() if dag.dag_id == name)


SHAPES = [
    *(Shape(name, partial(_general, name)) for name in _GENERAL),
    *(Shape(name, partial(_scheduled, name)) for name in (*_PERIODIC, *_OF_ASSETS, "producer", "approval")),
]
