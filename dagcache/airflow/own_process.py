"""The process in which Airflow runs this package: its home, its role, and whether it only forks workers."""

from __future__ import annotations

import sys
from pathlib import Path


def home() -> Path:
    """Airflow's home directory, as Airflow has it."""
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME)


def serves(component: str) -> bool:
    """Whether this process is the component itself.

    The triggerer and the DAG processor also build the API server's bag, for their in-process execution API.
    """
    return component == "scheduler" or "airflow.api_fastapi.main" in sys.modules


def is_master() -> bool:
    """Whether this process may be gunicorn's master, which builds the application before it forks workers."""
    return "gunicorn.arbiter" in sys.modules
