"""The packages that some commands need beside dagcache."""

from __future__ import annotations

from importlib.util import find_spec


def has_airflow() -> bool:
    """Whether Airflow is installed, and not merely a folder of that name present."""
    try:
        spec = find_spec("airflow")
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
