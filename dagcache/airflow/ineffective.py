"""The bounds of Airflow's own bags, which have no effect while the cache is in: one that an operator has set is named.

Airflow 3.2.2 has ``[api] dag_cache_size`` and ``dag_cache_ttl``, Airflow 3.4 also those in ``[scheduler]``.
"""

from __future__ import annotations

import os
from configparser import RawConfigParser
from contextlib import suppress
from typing import Any, cast

_SECTIONS = {"scheduler": "scheduler", "api_server": "api"}
_NAMES = ("dag_cache_size", "dag_cache_ttl")
_FORMS = ("", "_CMD", "_SECRET")


def settings_without_effect(component: str) -> list[str]:
    """The settings of Airflow's own bag of a component that are set in the environment or in airflow.cfg.

    As ``"[scheduler] dag_cache_size"``. Airflow's defaults do not count.
    """
    from airflow.configuration import conf

    section = _SECTIONS[component]
    return [f"[{section}] {name}" for name in _NAMES if _is_set(conf, section, name)]


def _is_set(conf: Any, section: str, name: str) -> bool:
    if any(f"AIRFLOW__{section.upper()}__{name.upper()}{form}" in os.environ for form in _FORMS):
        return True
    with suppress(Exception):  # another kind of configuration: nothing is known to be set
        # Not the method of Airflow's subclass, which also finds defaults.
        reader = cast("RawConfigParser", conf)
        if any(RawConfigParser.has_option(reader, section, f"{name}{form.lower()}") for form in _FORMS[1:]):
            return True
        return RawConfigParser.has_option(reader, section, name) and not _is_default(conf, section, name)
    return False


def _is_default(conf: Any, section: str, name: str) -> bool:
    """Whether a setting has Airflow's default: `airflow db migrate` writes all defaults into a new airflow.cfg."""
    with suppress(Exception):  # another kind of configuration
        return bool(conf.get(section, name) == str(conf.get_default_value(section, name)))
    return False
