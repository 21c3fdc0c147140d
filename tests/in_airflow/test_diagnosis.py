"""The facts of `dagcache doctor` about a real Airflow, found in this process. `test_doctor.py` runs the command."""

from __future__ import annotations

import io
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import dagcache.airflow
from dagcache.airflow import bootstrap as bootstrap_module
from dagcache.airflow import diagnosis
from dagcache.airflow.bootstrap import SITES
from dagcache.airflow.diagnosis import Reporter
from dagcache.airflow.hook import BAG_NAMES
from tests.in_airflow.support import go_back_to_stock, use_site

COMPONENTS = ("scheduler", "api_server")


@pytest.fixture(autouse=True)
def _use_sites() -> None:
    """In a process of the command they are imported by it."""
    for module in SITES:
        import_module(module)


def facts(name: str) -> list[dict[str, Any]]:
    """The report of one step."""
    out = io.StringIO()
    getattr(diagnosis, f"report_{name}")(Reporter(out))
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_hooked_component_is_reported_with_the_class_that_the_cached_bag_extends(component: str) -> None:
    bootstrap, *components = facts("components")
    module, name = use_site(component)
    assert bootstrap == {"fact": "bootstrap", "loaded": True}
    [found] = [each for each in components if each["component"] == component]
    assert (found["hooked"], found["module"], found["name"]) == (True, module.__name__, name)
    assert found["class"] == f"dagcache.airflow.bag.DagCache{name}"
    assert found["replaced"] == f"airflow.models.dagbag.{name}"
    assert found["unknown"] == ""


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_with_airflows_own_bag_is_reported_as_not_hooked(
    component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_back_to_stock(component, monkeypatch)
    _, name = use_site(component)
    hooked = {each["component"]: each["hooked"] for each in facts("components")[1:]}
    assert hooked == {each: each != component for each in COMPONENTS}
    [found] = [each for each in facts("components")[1:] if each["component"] == component]
    assert (found["class"], found["replaced"]) == (f"airflow.models.dagbag.{name}", "")
    assert found["unknown"] == "", "this version of Airflow is supported"


def test_a_use_site_without_a_bag_class_is_reported_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = use_site("scheduler")
    for name in BAG_NAMES:
        monkeypatch.delattr(module, name, raising=False)
    [found] = [each for each in facts("components")[1:] if each["component"] == "scheduler"]
    assert (found["hooked"], found["name"]) == (False, None)
    assert found["unknown"].startswith("no class CachedDBDagBag or DBDagBag at the use site")


def test_an_environment_that_did_not_load_the_entry_point_has_no_hook_to_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The settings are reported nevertheless."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])  # the import below installs the hook
    monkeypatch.setattr(dagcache.airflow, "bootstrap", bootstrap_module)
    monkeypatch.delitem(sys.modules, "dagcache.airflow.bootstrap")
    bootstrap, *components = facts("components")
    assert bootstrap["loaded"] is False
    assert [("hooked" in each, each["enabled"]) for each in components] == [(False, True)] * 2


def test_a_database_that_answers_is_reported_by_its_place(airflows_database: Any) -> None:
    url = airflows_database.url
    [found] = facts("database")
    assert found == {
        "fact": "database",
        "dialect": url.get_backend_name(),
        "host": url.host,
        "port": url.port,
        "database": url.database,
    }


def test_a_database_without_airflows_tables_is_reported_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the driver."""
    from airflow import settings
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

    (tmp_path / "empty.db").touch()
    engine = create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    monkeypatch.setattr(settings, "engine", engine)
    monkeypatch.setattr(settings, "Session", sessionmaker(engine))
    [found] = facts("database")
    engine.dispose()
    assert found["database"] == str(tmp_path / "empty.db")
    assert "no such table" in found["error"]


def test_the_facts_end_with_the_database_and_an_error_is_one_of_them(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the whole command, which ends its process. This process has no database file."""
    codes: list[int] = []
    stdout = os.dup(1)
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(diagnosis, "_connections_as_written", lambda: ["sqlite:////one.db"])
    try:
        diagnosis.main()
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"fact"')]
    names = [line["fact"] for line in lines]
    assert (names[0], names[-1], codes) == ("airflow", "database", [0])
    assert names.count("component") == len(COMPONENTS)
    assert lines[-1]["error"] == "there is no such file"
