"""The bounds of Airflow's own bags that are set and have no effect."""

from __future__ import annotations

import sys
from configparser import RawConfigParser
from types import ModuleType
from typing import Any

import pytest

from dagcache.airflow.ineffective import settings_without_effect


class Defaults(RawConfigParser):
    """As Airflow's configuration: it says that it has each option, because each has a default."""

    def has_option(self, section: str, option: str) -> bool:
        """Always."""
        return True


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> RawConfigParser:
    """Airflow's configuration, with nothing in airflow.cfg and nothing in the environment."""
    for section in ("SCHEDULER", "API"):
        for name in ("DAG_CACHE_SIZE", "DAG_CACHE_TTL", "DAG_CACHE_SIZE_CMD"):
            monkeypatch.delenv(f"AIRFLOW__{section}__{name}", raising=False)
    conf = Defaults()
    module = ModuleType("airflow.configuration")
    vars(module)["conf"] = conf
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.configuration", module)
    return conf


def test_defaults_do_not_count(conf: RawConfigParser) -> None:
    assert settings_without_effect("scheduler") == settings_without_effect("api_server") == []


def test_each_component_has_the_settings_of_its_section_in_airflow_cfg(conf: RawConfigParser) -> None:
    conf.read_string("[scheduler]\ndag_cache_size = 9\n[api]\ndag_cache_ttl_cmd = echo 5\n")
    assert settings_without_effect("scheduler") == ["[scheduler] dag_cache_size"]
    assert settings_without_effect("api_server") == ["[api] dag_cache_ttl"]


def test_a_default_that_airflow_has_written_into_the_file_does_not_count(conf: Any) -> None:
    """A new airflow.cfg has all of them."""
    conf.read_string("[api]\ndag_cache_size = 64\ndag_cache_ttl = 5\n")
    conf.get_default_value = lambda _section, name: {"dag_cache_size": 64, "dag_cache_ttl": 3600}[name]
    assert settings_without_effect("api_server") == ["[api] dag_cache_ttl"]


@pytest.mark.parametrize("form", ["", "_CMD", "_SECRET"])
def test_a_variable_of_the_environment_counts_in_each_form(
    conf: RawConfigParser, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW__API__DAG_CACHE_SIZE{form}", "64")
    assert settings_without_effect("api_server") == ["[api] dag_cache_size"]
    assert settings_without_effect("scheduler") == []


def test_a_configuration_of_another_kind_has_nothing_set(monkeypatch: pytest.MonkeyPatch, conf: Any) -> None:
    """A future Airflow may read its settings in another way: the start of a component must not fail for that."""
    vars(sys.modules["airflow.configuration"])["conf"] = object()
    assert settings_without_effect("scheduler") == []
