"""Sweeps as text, and the bags of other versions of Airflow."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagcache.demo import sweep
from dagcache.demo.sweep import Sweep, main, scheduler_bag

OURS = Sweep(2, 700, 0.5, 0.4, 3 << 20, 90, 7, 600, 93, 7)
STOCK = Sweep(1, 700, 12.25, 12.0, -5, 2100, 700, None, None, None)


@pytest.mark.parametrize(
    ("measured", "line"),
    [
        (
            OURS,
            "sweep 2: 700 versions in 0.50 s, RSS +3.0 MiB, 7 of 90 statements read payloads; "
            "600 live, 93 frozen, 7 missed",
        ),
        (
            STOCK,
            "sweep 1: 700 versions in 12.25 s, RSS +0 B, 700 of 2100 statements read payloads; Airflow's own bag",
        ),
    ],
)
def test_a_sweep_is_one_line_with_its_tiers(
    measured: Sweep, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def sweeps(*arguments: object) -> list[Sweep]:
        asked.append(arguments)
        return [measured]

    monkeypatch.setattr(sweep, "sweeps", sweeps)
    assert main(["--sweeps", "3", "--limit", "700", "--entries", "9"]) == 0
    assert capsys.readouterr().out == f"{line}\n"
    assert asked == [(3, 700, 9)]


def runner(monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    """Airflow's module of the scheduler, with these names."""
    module = ModuleType("airflow.jobs.scheduler_job_runner")
    vars(module).update(names)
    for name in ("airflow", "airflow.jobs", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)


def test_the_bag_of_an_airflow_before_3_3_2_has_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    runner(monkeypatch, DBDagBag=lambda **options: options)
    assert scheduler_bag(9) == {"load_op_links": False}


def test_the_bound_of_airflows_bag_is_its_setting_since_3_4(monkeypatch: pytest.MonkeyPatch) -> None:
    runner(monkeypatch, CachedDBDagBag=lambda **options: options)
    configuration = ModuleType("airflow.configuration")
    settings = {("scheduler", "dag_cache_size"): 300}
    vars(configuration)["conf"] = SimpleNamespace(getint=lambda section, name: settings[section, name])
    monkeypatch.setitem(sys.modules, "airflow.configuration", configuration)
    assert scheduler_bag()["cache_size"] == 300


@pytest.mark.parametrize(("entries", "bound"), [(None, 512), (9, 9)])
def test_the_bound_of_airflows_bag_can_be_replaced(
    monkeypatch: pytest.MonkeyPatch, entries: int | None, bound: int
) -> None:
    runner(monkeypatch, CachedDBDagBag=lambda **options: options, SCHEDULER_DAG_CACHE_SIZE=512)
    bag = scheduler_bag(entries)
    assert (bag["cache_size"], bag["load_op_links"]) == (bound, False)
