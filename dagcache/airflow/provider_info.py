"""What Airflow's providers manager asks for: it makes ``airflow config list --section dagcache`` show the settings."""

from __future__ import annotations

from typing import Any

from dagcache.airflow.options import OPTIONS, SECTION, Option


def get_provider_info() -> dict[str, Any]:
    """Describe the settings in the form of Airflow's provider schema. Imports nothing of Airflow."""
    return {
        "package-name": "dagcache",
        "name": "dagcache",
        "description": "A byte-budgeted, memory-aware cache of deserialised DAG versions.",
        "config": {
            SECTION: {
                "description": "The cache of deserialised DAG versions in the scheduler and the API server.",
                "options": {option.name: _described(option) for option in OPTIONS},
            }
        },
    }


def _described(option: Option) -> dict[str, Any]:
    return {
        "description": option.description,
        "version_added": "0.1.0",
        "type": option.kind,
        "example": option.example,
        "default": option.default.replace("%", "%%"),  # configparser interpolates
    }
