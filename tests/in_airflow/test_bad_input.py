"""Faults of an operator, a database or another Airflow: never worse than stock, never silent."""

from __future__ import annotations

import logging
import socket
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dagcache.airflow import bootstrap, fault_endpoint, hook
from dagcache.airflow.reporting_bag import original
from dagcache.demo.playground import free_ports
from tests.in_airflow.conftest import HOME, Clock, MakeDatabase
from tests.in_airflow.support import (
    CORRUPT,
    go_back_to_stock,
    install_anew,
    run_python,
    scheduler_bag,
    spoil,
    statements_of,
    use_site,
    variables,
    write,
)
from tests.support import postgres


def stock_bag() -> Any:
    """Airflow's own, for any component."""
    from airflow.models.dagbag import DBDagBag

    return DBDagBag(load_op_links=False)


def error_of(lookup: Callable[[], object]) -> BaseException:
    """The error of a lookup."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any error is compared
        lookup()
    return caught.value


# ---- the database ----


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_row_raises_what_stock_raises_and_harms_no_other(
    kind: str, bag: Any, session: Any, engine: Any, complaints: list[logging.LogRecord]
) -> None:
    """Nothing of it is kept: once it is mended, it is read."""
    healthy, corrupt = write(session, "healthy"), write(session, "corrupt", text=kind)
    cached = bag._get_dag(healthy, session)
    spoil(session, corrupt, kind)
    expected = error_of(lambda: stock_bag()._get_dag(corrupt, session))
    session.expunge_all()
    raised = error_of(lambda: bag._get_dag(corrupt, session))
    assert (type(raised), raised.args) == (type(expected), expected.args)
    with statements_of(engine) as heard:
        assert bag._get_dag(healthy, session) is cached
    assert heard.texts == []
    assert list(bag.dagcache) == [healthy]
    stats = bag.dagcache.stats()
    assert (stats.load_failures, stats.internal_errors, complaints) == (1, 0, [])
    assert write(session, "corrupt", text="mended") == corrupt
    session.expunge_all()
    assert bag._get_dag(corrupt, session).description == "mended"


def test_a_version_that_was_never_there_is_none(bag: Any, session: Any) -> None:
    """And is asked for again each time: None is not kept."""
    missing = uuid.uuid4()
    assert bag._get_dag(missing, session) is None
    assert bag._get_dag(missing, session) is None
    stats = bag.dagcache.stats()
    assert (stats.absent, stats.misses, stats.entries) == (2, 2, 0)


def test_a_version_that_was_deleted_is_none_once_the_window_is_over(bag: Any, session: Any, clock: Clock) -> None:
    """And leaves the cache."""
    from airflow.models.dag_version import DagVersion

    version = write(session, "deleted")
    assert bag._get_dag(version, session) is not None
    session.delete(session.get(DagVersion, version))
    session.commit()
    session.expunge_all()
    clock.now += 30
    assert bag._get_dag(version, session) is None
    assert version not in bag.dagcache
    assert bag.get_latest_version_of_dag("deleted", session=session) is None


@pytest.mark.parametrize("outages", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_what_is_cached_keeps_serving_while_the_database_is_away(
    outages: int, cluster: postgres.Cluster, make_database: MakeDatabase, bag: Any, clock: Clock
) -> None:
    """Anything that needs it raises what stock raises; after its return all is well."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.orm import Session

    engine = create_engine(make_database("postgresql"), pool_pre_ping=True)
    with Session(engine) as session:
        versions = [write(session, f"sweep_{number}", text=str(number)) for number in range(6)]

    def lookup(bag: Any, version: uuid.UUID) -> Any:
        with Session(engine) as session:
            return bag._get_dag(version, session)

    for _ in range(outages):
        cached = {version: lookup(bag, version) for version in versions[:3]}
        cluster.stop()
        try:
            expected = error_of(lambda: lookup(stock_bag(), versions[3]))
            assert isinstance(expected, DBAPIError)
            assert type(error_of(lambda: lookup(bag, versions[3]))) is type(expected)
            assert all(lookup(bag, version) is dag for version, dag in cached.items())
            clock.now += 30
            assert type(error_of(lambda: lookup(bag, versions[0]))) is type(expected)
        finally:
            cluster.start()
        assert all(lookup(bag, version) is dag for version, dag in cached.items())
        assert [lookup(bag, version).description for version in versions] == list("012345")
        for version in versions[3:]:
            bag.dagcache.invalidate(version)
    assert bag.dagcache.stats().internal_errors == 0
    bag.dagcache.check_invariants()
    engine.dispose()


# ---- the machine ----


def test_a_home_that_cannot_be_written_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, session: Any, complaints: list[logging.LogRecord]
) -> None:
    """The endpoint is there all the same, and the cache serves."""
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    install_anew(
        "scheduler", monkeypatch, metrics_port=free_ports(1)[0], metrics_targets=in_the_way / "targets", mode="enforce"
    )
    bag = scheduler_bag()
    version = write(session, "unwritable")
    assert bag._get_dag(version, session) is bag._get_dag(version, session)
    assert bag._component.exposition.port is not None
    assert [record.levelname for record in complaints] == ["WARNING"]
    assert str(in_the_way) in complaints[0].getMessage()
    bag._component.close()


def test_a_taken_port_leaves_the_next_of_the_range(
    monkeypatch: pytest.MonkeyPatch, complaints: list[logging.LogRecord]
) -> None:
    """Without a word: several processes of one machine share a range."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        install_anew("scheduler", monkeypatch, metrics_port=f"{first}-{first + 20}")
        bag = scheduler_bag()
        assert first < bag._component.exposition.port <= first + 20
        bag._component.close()
    assert complaints == []


def test_a_single_port_that_is_taken_is_one_warning_and_no_endpoint(
    monkeypatch: pytest.MonkeyPatch, session: Any, complaints: list[logging.LogRecord]
) -> None:
    """The cache serves."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        install_anew("scheduler", monkeypatch, metrics_port=taken.getsockname()[1])
        bag = scheduler_bag()
        version = write(session, "no_port")
        assert bag._get_dag(version, session) is bag._get_dag(version, session)
        assert bag._component.exposition.port is None
        bag._component.close()
    assert [record.levelname for record in complaints] == ["WARNING"]


# ---- the settings ----

WHICH_CLASS = """
import importlib
for name in ("airflow.jobs.scheduler_job_runner", "airflow.api_fastapi.common.dagbag"):
    module = importlib.import_module(name)
    bag = getattr(module, "CachedDBDagBag", None) or module.DBDagBag
    print("class from", bag.__module__)
"""


def test_a_setting_that_cannot_be_read_is_one_error_line_and_stock(tmp_path: Path) -> None:
    """For each component; Airflow's processes start as if dagcache were not there."""
    output = run_python(WHICH_CLASS, variables(tmp_path, f"sqlite:///{tmp_path}/airflow.db", max_bytes="10XB"))
    assert output.count("class from airflow.models.dagbag") == 2
    lines = [line for line in output.splitlines() if "10XB" in line]
    assert len(lines) == 2
    assert all("max_bytes" in line and "512MiB" in line and "Traceback" not in output for line in lines)


def test_a_percentage_that_is_not_escaped_in_the_file_is_one_error_line_and_stock(tmp_path: Path) -> None:
    """It says how to write it."""
    (tmp_path / "airflow.cfg").write_text("[dagcache]\nmax_bytes = 25%\n")
    output = run_python(WHICH_CLASS, variables(tmp_path, f"sqlite:///{tmp_path}/airflow.db"))
    assert output.count("class from airflow.models.dagbag") == 2
    assert len([line for line in output.splitlines() if "max_bytes" in line and "%%" in line]) == 2


def test_a_percentage_that_is_escaped_in_the_file_is_a_share_of_the_memory(tmp_path: Path) -> None:
    """As it is by default."""
    (tmp_path / "airflow.cfg").write_text("[dagcache]\nmax_bytes = 25%%\n")
    output = run_python(WHICH_CLASS, variables(tmp_path, f"sqlite:///{tmp_path}/airflow.db"))
    assert output.count("class from dagcache.airflow.bag") == 2


def test_off_leaves_stock_without_a_word(monkeypatch: pytest.MonkeyPatch, complaints: list[logging.LogRecord]) -> None:
    """However the other settings are set."""
    install_anew("scheduler", monkeypatch, mode="off", max_bytes="10XB")
    module, name = use_site("scheduler")
    assert getattr(module, name).__module__ == "airflow.models.dagbag"
    assert complaints == []


# ---- another Airflow ----


class WithoutLoad:
    """A bag that loads by another name."""

    def _read_dag(self, serdag: Any) -> Any: ...

    def get_latest_version_of_dag(self, dag_id: str, *, session: Any) -> Any:
        """As Airflow's."""


class WithOtherArguments(WithoutLoad):
    """A bag that loads by other arguments."""

    def _get_dag(self, version_id: Any, team: str, session: Any) -> Any: ...


@pytest.mark.parametrize(
    ("found", "said"), [(None, "no class"), (len, "no class"), (WithoutLoad, "_get_dag"), (WithOtherArguments, "team")]
)
def test_an_airflow_of_unknown_shape_is_left_alone(found: Any, said: str, complaints: list[logging.LogRecord]) -> None:
    module = ModuleType("airflow.jobs.scheduler_job_runner")
    if found is not None:
        module.DBDagBag = found  # type: ignore[attr-defined]
    bootstrap.install(module)
    assert original(getattr(module, "DBDagBag", None)) is found
    assert [record.levelname for record in complaints] == ["ERROR"]
    assert said in complaints[0].getMessage()


def test_a_table_of_unknown_shape_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, complaints: list[logging.LogRecord]
) -> None:
    """The hook checks all that a lookup needs when it is installed, not at the first request."""
    from airflow.models.serialized_dag import SerializedDagModel

    site, name = use_site("scheduler")
    go_back_to_stock("scheduler", monkeypatch)
    stock = getattr(site, name)
    monkeypatch.delattr(SerializedDagModel, "latest_item_select_object")
    bootstrap.install(site)
    assert original(getattr(site, name)) is stock
    assert "latest_item_select_object" in complaints[0].getMessage()


def test_a_cache_that_cannot_be_built_leaves_a_bag_that_is_airflows_own(
    monkeypatch: pytest.MonkeyPatch, session: Any, complaints: list[logging.LogRecord]
) -> None:
    """In its dictionary, by its rules."""
    from dagcache.airflow import component

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("on purpose")

    exported: list[tuple[str, str]] = []
    monkeypatch.setattr(fault_endpoint, "export", lambda *fault: exported.append(fault))
    monkeypatch.setattr(component, "DagCache", broken)
    bag = scheduler_bag()
    assert exported == [("scheduler", "error")]
    version = write(session, "unbuilt")
    assert bag.dagcache is None
    assert bag._get_dag(version, session) is bag._get_dag(version, session)
    assert list(bag._dags) == [version]
    assert [record.levelname for record in complaints] == ["ERROR"]


def test_a_fault_of_the_cache_costs_a_log_line_and_a_load_the_way_airflow_does_it(
    monkeypatch: pytest.MonkeyPatch, bag: Any, session: Any, complaints: list[logging.LogRecord]
) -> None:
    """The lookup is answered, each kind of it."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("on purpose")

    version = write(session, "faulty", text="read")
    monkeypatch.setattr(bag.dagcache, "fetch", broken)
    assert bag._get_dag(version, session).description == "read"
    assert bag.get_latest_version_of_dag("faulty", session=session).description == "read"
    monkeypatch.undo()
    assert bag._get_dag(version, session).description == "read"
    monkeypatch.setattr(bag.dagcache, "get_or_load", broken)
    assert bag._get_dag(version, session).description == "read"
    assert [record.levelname for record in complaints] == ["ERROR"], "one line a minute"


@pytest.mark.parametrize("step", ["note", "share_strings", "share_immutables", "are_as_asked"])
def test_a_step_of_ours_that_fails_within_a_load_costs_a_log_line(
    monkeypatch: pytest.MonkeyPatch, bag: Any, session: Any, complaints: list[logging.LogRecord], step: str
) -> None:
    """The DAG is served. If its content is unknown, it is not kept."""
    from dagcache.airflow import bag as module
    from dagcache.airflow import operator_links

    def broken(*_: Any) -> None:
        raise RuntimeError("on purpose")

    owner = {"note": module._Load, "are_as_asked": operator_links}
    monkeypatch.setattr(owner.get(step, module), step, broken)
    version = write(session, f"failing_{step}", text="read")
    assert bag._get_dag(version, session).description == "read"
    assert [record.levelname for record in complaints] == ["WARNING"]
    assert (version in bag.dagcache) == (step not in ("note", "are_as_asked"))


def test_installing_twice_changes_nothing() -> None:
    """Nor does looking out for the use sites twice."""
    module, name = use_site("scheduler")
    ours = getattr(module, name)
    finders = list(sys.meta_path)
    assert hook.install(module, "scheduler")
    bootstrap.watch()
    assert getattr(module, name) is ours
    assert sys.meta_path == finders


def test_both_use_sites_have_the_bag_and_nobody_else_has() -> None:
    """The short-lived bags of triggers and clears stay Airflow's own."""
    import airflow.models.dagbag as stock

    for component in ("scheduler", "api_server"):
        module, name = use_site(component)
        bag_class = getattr(module, name)
        assert (bag_class.component_name, bag_class.__bases__[1]) == (component, getattr(stock, name))
    assert stock.DBDagBag.__module__ == "airflow.models.dagbag"
    assert HOME.exists()
