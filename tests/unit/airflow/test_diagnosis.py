"""The facts that `dagcache doctor` asks for: each is reported or explained, and no line shows a password."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dagcache.airflow import diagnosis
from dagcache.airflow.provider_info import OPTIONS
from tests.support.warm import filled

SECRET = "s3cr3t"
URL = f"postgresql+psycopg2://someone:{SECRET}@host/airflow"


class Conf:
    """A stand-in for Airflow's configuration: the texts, and the source of each."""

    def __init__(self) -> None:
        self.settings: dict[str, tuple[str, str]] = {}
        self.connection = URL
        self.broken: set[str] = set()

    def get(self, section: str, name: str, fallback: str | None) -> str | None:
        """The text of a setting."""
        if name in self.broken or section in self.broken:
            raise ValueError(f"cannot interpolate {SECRET}")
        if section == "database":
            return self.connection if name == "sql_alchemy_conn" else fallback
        return self.settings[name][0] if name in self.settings else fallback

    def getint(self, *_: str, fallback: int) -> int:
        """The number of workers."""
        return fallback

    def as_dict(self, **_: bool) -> dict[str, Any]:
        """The sources."""
        if "as_dict" in self.broken:
            raise ValueError(SECRET)
        return {"dagcache": self.settings}


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Conf:
    """Airflow's configuration in an environment of its own."""
    conf = Conf()
    airflow: Any = ModuleType("airflow")
    airflow.__version__ = "3.3.2"
    configuration: Any = ModuleType("airflow.configuration")
    configuration.conf, configuration.AIRFLOW_HOME = conf, str(tmp_path)
    monkeypatch.setitem(sys.modules, "airflow", airflow)
    monkeypatch.setitem(sys.modules, "airflow.configuration", configuration)
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return conf


class Reporter(diagnosis.Reporter):
    """A reporter with readable lines."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        super().__init__(self.out)

    @property
    def facts(self) -> list[dict[str, Any]]:
        """The reported facts."""
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


@pytest.fixture
def reporter() -> Reporter:
    """One that knows no secret yet."""
    return Reporter()


def test_the_version_and_the_home_are_reported_and_the_password_is_learnt(conf: Conf, reporter: Reporter) -> None:
    """So that no later error shows it."""
    diagnosis.report_airflow(reporter)
    [fact] = reporter.facts
    assert (fact["fact"], fact["version"]) == ("airflow", "3.3.2")
    reporter.report_failure("database", OSError(f"no access for {SECRET}\n at all"), dialect="postgresql")
    assert reporter.facts[1] == {
        "fact": "database",
        "error": "OSError: no access for *** at all",
        "dialect": "postgresql",
    }


def test_a_connection_that_airflow_cannot_read_is_taken_from_the_environment(
    conf: Conf, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is written there."""
    conf.broken.add("database")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", URL)
    diagnosis.report_airflow(reporter)
    assert reporter.secrets.mask(SECRET) == "***"


def test_connections_are_found_as_they_are_written(conf: Conf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the environment and in airflow.cfg, which may be unreadable."""
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "one")
    assert diagnosis._connections_as_written() == ["one"]
    (tmp_path / "airflow.cfg").write_text("[database]\nsql_alchemy_conn = two\n", encoding="utf-8")
    assert diagnosis._connections_as_written() == ["one", "two"]
    (tmp_path / "airflow.cfg").write_bytes(b"sql_alchemy_conn = \xff")
    assert diagnosis._connections_as_written() == ["one"]


def test_each_setting_is_reported_with_its_source(
    conf: Conf, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that a command or a secrets backend gives is not shown, nor is it in a later error."""
    conf.settings = {
        "max_bytes": ("1GiB", "env var"),
        "ttl": ("60", "airflow.cfg"),
        "metrics_host": (SECRET, "cmd"),
        "mode": ("enforce", "default"),
        "warm_start_key": (f"key {SECRET}", "airflow.cfg"),
        "max_byte": ("1", "airflow.cfg"),
    }
    monkeypatch.setenv("AIRFLOW__DAGCACHE__TLL", "1")
    diagnosis.report_settings(reporter)
    [fact] = reporter.facts
    rows = {row["name"]: (row["value"], row["source"]) for row in fact["settings"]}
    assert set(rows) == {option.name for option in OPTIONS}
    assert rows["max_bytes"] == ("1GiB", "environment")
    assert rows["ttl"] == ("60", "airflow.cfg")
    assert rows["metrics_host"] == ("***", "hidden")
    assert rows["mode"] == ("enforce", "default")
    assert rows["warm_start_key"] == ("***", "airflow.cfg")
    assert rows["frozen"] == ("True", "default")
    assert fact["unknown"] == ["max_byte", "tll"]
    assert reporter.secrets.mask(SECRET) == "***"


def test_a_setting_that_airflow_cannot_read_is_explained_without_its_text(
    conf: Conf, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the sources are then those of the environment."""
    monkeypatch.setenv("AIRFLOW__DAGCACHE__TTL", "60")
    conf.broken |= {"max_bytes", "as_dict"}
    diagnosis.report_settings(reporter)
    rows = {row["name"]: row for row in reporter.facts[0]["settings"]}
    assert rows["max_bytes"]["error"].startswith("Airflow cannot read it (ValueError)")
    assert rows["ttl"]["source"] == "environment"
    assert SECRET not in reporter.out.getvalue()


def test_the_settings_of_a_component_are_reported_as_it_uses_them(conf: Conf, reporter: Reporter) -> None:
    """The budget in bytes, and the memory that it is a share of."""
    conf.settings = {"max_bytes": ("25%", "env var"), "memory_limit": ("4GiB", "env var")}
    settled = diagnosis._settled(reporter, "scheduler")
    assert (settled["max_bytes"], settled["budget"], settled["memory_source"]) == ("25%", 2**30, "memory_limit")
    assert settled["targets"].endswith("/dagcache/targets")
    conf.settings = {"max_bytes": ("64MiB", "env var")}
    assert diagnosis._settled(reporter, "scheduler")["memory_source"] != "memory_limit"


def test_settings_that_a_component_refuses_are_explained(conf: Conf, reporter: Reporter) -> None:
    """With the reason."""
    conf.settings = {"max_bytes": ("10XB", "env var")}
    assert "max_bytes = '10XB'" in diagnosis._settled(reporter, "scheduler")["refused"]


def test_a_fact_that_cannot_be_found_out_is_reported_as_an_error(reporter: Reporter) -> None:
    """In its place."""

    def fail(_: object) -> None:
        raise LookupError("gone")

    diagnosis._attempt(reporter, "components", fail, module="m")
    assert reporter.facts == [{"fact": "components", "error": "LookupError: gone", "module": "m"}]


# ---- the database ----


@pytest.fixture
def database(conf: Conf, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The URL of Airflow's engine, and the effect of a query."""
    pytest.importorskip("sqlalchemy")
    from sqlalchemy.engine import make_url

    def use(url: str, ask: Any = lambda: None) -> None:
        settings: Any = ModuleType("airflow.settings")
        settings.engine = SimpleNamespace(url=make_url(url))
        monkeypatch.setitem(sys.modules, "airflow.settings", settings)
        monkeypatch.setattr(sys.modules["airflow"], "settings", settings, raising=False)
        monkeypatch.setattr(diagnosis, "_ask_database", ask)
        conf.connection = url

    return use


def test_a_database_that_answers_is_named_without_user_and_password(database: Any, reporter: Reporter) -> None:
    """By its kind, host and name."""
    database(URL)
    diagnosis.report_database(reporter)
    expected = {"fact": "database", "dialect": "postgresql", "host": "host", "port": None, "database": "airflow"}
    assert reporter.facts == [expected]


def test_a_database_that_fails_is_explained_without_the_password(database: Any, reporter: Reporter) -> None:
    def fail() -> None:
        raise OSError(f"no access to {URL} with {SECRET}")

    database(URL, fail)
    diagnosis.report_database(reporter)
    assert reporter.facts[0]["error"] == "OSError: no access to *** with ***"


def test_a_database_that_does_not_answer_is_given_up(
    database: Any, reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time limit."""
    from threading import Event

    end = Event()
    monkeypatch.setattr(diagnosis, "DATABASE_SECONDS", 0.01)
    database(URL, end.wait)
    diagnosis.report_database(reporter)
    end.set()
    assert reporter.facts[0]["error"] == "TimeoutError: no answer within 0.01 s"


@pytest.mark.parametrize("password", ["12/s3cr3t", "12?s3cr3t@s3cr3t/x", "p@s3cr3t"])
def test_the_host_of_an_ambiguous_url_is_not_named(database: Any, reporter: Reporter, password: str) -> None:
    """It may be a part of the password."""
    database(f"postgresql+psycopg2://someone:{password}@host/airflow")
    diagnosis.report_database(reporter)
    assert SECRET not in reporter.out.getvalue()
    assert (reporter.facts[0]["host"], reporter.facts[0]["database"]) == (None, None)


def test_a_missing_file_of_sqlite_is_reported_and_not_created(
    database: Any, reporter: Reporter, tmp_path: Path
) -> None:
    """Asking SQLite would create it."""
    database(f"sqlite:///{tmp_path}/missing.db")
    diagnosis.report_database(reporter)
    assert reporter.facts[0]["error"] == "there is no such file"
    assert list(tmp_path.iterdir()) == []


def test_the_warm_store_is_reported_with_its_content(conf: Conf, reporter: Reporter, tmp_path: Path) -> None:
    """And without its key."""
    conf.settings = {"warm_start": ("disk", "airflow.cfg"), "warm_start_key": (f"a long {SECRET} key", "airflow.cfg")}
    filled(tmp_path / "dagcache-warm", 3)
    diagnosis.report_warm_start(reporter)
    [fact] = reporter.facts
    assert (fact["kind"], fact["path"]) == ("disk", str(tmp_path / "dagcache-warm"))
    [generation] = fact["generations"]
    assert (generation["records"], generation["is_in_use"], generation["parts"]["python"]) == (3, True, "3.11")
    assert fact["has_separate_key"]
    assert SECRET not in str(fact)


def test_a_warm_store_that_no_process_has_made_yet_is_missing(conf: Conf, reporter: Reporter, tmp_path: Path) -> None:
    conf.settings = {
        "warm_start": ("disk", "airflow.cfg"),
        "warm_start_path": (str(tmp_path / "warm"), "airflow.cfg"),
        "warm_start_key": ("k" * 16, "airflow.cfg"),
    }
    diagnosis.report_warm_start(reporter)
    [fact] = reporter.facts
    assert (fact["missing"], fact.get("error")) == (True, None)


def test_a_warm_store_that_no_process_can_make_is_an_error(conf: Conf, reporter: Reporter, tmp_path: Path) -> None:
    """The directory is created, and its parent is not."""
    conf.settings = {
        "warm_start": ("disk", "airflow.cfg"),
        "warm_start_path": (str(tmp_path / "missing" / "warm"), "airflow.cfg"),
        "warm_start_key": ("k" * 16, "airflow.cfg"),
    }
    diagnosis.report_warm_start(reporter)
    [fact] = reporter.facts
    assert (fact.get("missing"), fact["error"]) == (None, "its parent directory does not exist, and is not created")


def test_no_fact_is_reported_of_a_warm_store_of_a_cache_that_is_off(conf: Conf, reporter: Reporter) -> None:
    conf.settings = {"mode": ("off", "airflow.cfg"), "warm_start": ("disk", "airflow.cfg")}
    diagnosis.report_warm_start(reporter)
    conf.settings = {"ttl": ("soon", "airflow.cfg")}
    diagnosis.report_warm_start(reporter)
    assert reporter.facts == []
