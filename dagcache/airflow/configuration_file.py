"""Airflow's own settings, from the environment and ``airflow.cfg``. Airflow is not imported, which takes seconds."""

from __future__ import annotations

import os
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from pathlib import Path


def airflow_home() -> Path:
    """Airflow's home directory, by the environment of this process."""
    return _expanded(os.environ.get("AIRFLOW_HOME") or "~/airflow")


def airflow_cfg() -> Path:
    """The configuration file, by the environment of this process. It may not exist."""
    return _expanded(os.environ.get("AIRFLOW_CONFIG") or str(airflow_home() / "airflow.cfg"))


def airflow_setting(section: str, option: str) -> str:
    """A setting, or an empty text. As in Airflow, the environment precedes the file.

    A file that cannot be read or parsed has no settings: Airflow itself reports it.
    """
    chosen = os.environ.get(f"AIRFLOW__{section.upper()}__{option.upper()}")
    if chosen is None:
        chosen = _in_file(section, option)
    return chosen.strip()


def _expanded(path: str) -> Path:
    """A path with the user's home for ``~``. Without a home, the path stays as it is, as in Airflow."""
    return Path(os.path.expanduser(path))  # Path.expanduser raises for a user id without an entry


def _in_file(section: str, option: str) -> str:
    parser = RawConfigParser(strict=False, inline_comment_prefixes=("#",))
    try:
        parser.read(airflow_cfg(), encoding="utf-8")
        return parser.get(section, option, fallback="").replace("%%", "%")  # Airflow interpolates %
    except (OSError, ValueError, ConfigParserError):
        return ""
