"""The settings of ``[dagcache]``: name, default and description, for reading and for Airflow's provider schema.

Airflow's providers manager calls `get_provider_info` in each process, also in task processes, so that
``airflow config list --section dagcache`` shows the settings. This module therefore imports the standard library only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

SECTION: Final = "dagcache"


@dataclass(frozen=True, slots=True)
class Option:
    """One setting in airflow.cfg, or ``AIRFLOW__DAGCACHE__<NAME>`` in the environment."""

    name: str
    kind: str
    default: str
    example: str
    description: str
    sensitive: bool = False
    """Whether it is a secret: Airflow also takes it from ``<name>_cmd`` and ``<name>_secret``, and does not show it."""


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        "mode",
        "string",
        "enforce",
        "observe",
        "enforce: keep the DAG versions within max_bytes. observe: account and report, evict nothing. off: Airflow's"
        " own cache, as if dagcache were not installed.",
    ),
    Option(
        "max_bytes",
        "string",
        "25%",
        "512MiB",
        "The byte limit of the cache in each process: 512MiB, 1.5GB, 268435456, or a percentage of the container's"
        " memory limit (else of the machine's memory), which several API server workers share. 0: unbounded.",
    ),
    Option(
        "ttl",
        "string",
        "10800",
        "3600",
        "Seconds without a lookup after which a DAG version leaves the cache. 0: never.",
    ),
    Option(
        "frozen", "boolean", "True", "False", "Also keep each DAG version as compressed bytes, a few per cent of it."
    ),
    Option(
        "memory_limit",
        "string",
        "auto",
        "2GiB",
        "The memory that percentages and watermarks refer to. auto: the container's limit (cgroup v2 or v1), else the"
        " machine's memory. Or bytes: the container's memory use is then ignored.",
    ),
    Option(
        "high_watermark",
        "float",
        "0.90",
        "0.85",
        "The cache shrinks while the memory use of the process or its container, without reclaimable memory, is above"
        " this share of the memory limit.",
    ),
    Option(
        "low_watermark",
        "float",
        "0.80",
        "0.75",
        "The cache grows back quickly, up to max_bytes, while that memory use is below this share of the memory limit,"
        " and slowly between the two shares.",
    ),
    Option(
        "gc_freeze",
        "boolean",
        "False",
        "True",
        "Hide the objects that exist when the cache starts, and the live DAGs it keeps, from the garbage collector"
        " (gc.freeze). Pauses are shorter; garbage among these objects is not collected.",
    ),
    Option(
        "metrics_host",
        "string",
        "::",
        "127.0.0.1",
        "The address that the Prometheus endpoint listens on. ::, all addresses, IPv6 and IPv4. 0.0.0.0: all of IPv4.",
    ),
    Option(
        "metrics_port",
        "string",
        "11780-11811",
        "9095",
        "A port, or a range of which each process takes the first free one. 0: no endpoint.",
    ),
    Option(
        "airflow_metrics",
        "string",
        "30",
        "1m",
        "Seconds between two reports of the main figures through Airflow's own metrics, if [metrics] turns StatsD,"
        " Datadog or OpenTelemetry on. 0: no reports.",
    ),
    Option(
        "attribution",
        "boolean",
        "True",
        "False",
        "Open a local socket for the process's user and root: it reports the DAGs in the cache (dagcache top --dags)"
        " and accepts new limits (dagcache set).",
    ),
    Option(
        "metrics_targets",
        "string",
        "",
        "/var/run/dagcache/targets",
        "The directory where each process announces its endpoint for Prometheus' file_sd. Empty: dagcache/targets in"
        " AIRFLOW_HOME.",
    ),
    Option(
        "trace",
        "string",
        "",
        "/var/lib/dagcache/traces",
        "The directory in which each process records its lookups, for dagcache replay. Empty: no recording.",
    ),
    Option(
        "trace_max_bytes",
        "string",
        "64MiB",
        "256MiB",
        "The size of a process's trace at which recording ends. 0: no limit.",
    ),
    Option(
        "trace_ids",
        "string",
        "hashed",
        "plain",
        "hashed: a trace has hashes in place of the ids of DAGs and versions. plain: it has the ids.",
    ),
    Option(
        "quarantine",
        "string",
        "0",
        "5m",
        "The time for which a DAG version with unreadable content is served as missing, so that it does not stop the"
        " scheduler. Airflow continues with the other DAGs, and fails queued tasks of this one. 0: as in Airflow, the"
        " error ends the scheduler's loop.",
    ),
    Option(
        "warm_start",
        "string",
        "",
        "disk",
        "disk: keep frozen copies on a local disk, from which a restarted process thaws DAG versions instead of loading"
        " them. database: keep them in tables of a PostgreSQL, MySQL or MariaDB database. Empty: off.",
    ),
    Option(
        "warm_start_path",
        "string",
        "",
        "/var/lib/dagcache/warm",
        "The directory of these copies. Its parent must exist, and its mode is 0700. Empty: dagcache-warm in"
        " AIRFLOW_HOME.",
    ),
    Option(
        "warm_start_max_bytes",
        "string",
        "256MiB",
        "1GiB",
        "The size of these copies, of all processes together. On disk, no more are written then; in a database, the"
        " oldest ones are removed. 0: no limit.",
    ),
    Option(
        "warm_start_url",
        "string",
        "",
        "postgresql+psycopg2://dagcache:password@host/warm",
        "The database of these copies with warm_start = database, as a URL of SQLAlchemy. Empty: Airflow's metadata"
        " database.",
        sensitive=True,
    ),
    Option(
        "warm_start_key",
        "string",
        "",
        "a-long-random-text",
        "The secret with which these copies are signed, 16 characters or more. Required for warm_start = database."
        " Empty: a key derived from Airflow's own secret, which task workers often have as well.",
        sensitive=True,
    ),
)


def known_names() -> set[str]:
    """All names that a setting can have, with those of the command and the secrets backend for a secret."""
    names = {option.name for option in OPTIONS}
    return names | {f"{option.name}{end}" for option in OPTIONS if option.sensitive for end in ("_cmd", "_secret")}


def names_in_environment() -> set[str]:
    """The names that variables of the environment set, known or not."""
    prefix = f"AIRFLOW__{SECTION.upper()}__"
    return {name.removeprefix(prefix).lower() for name in os.environ if name.startswith(prefix)}


def get_provider_info() -> dict[str, Any]:
    """The settings in the form of Airflow's provider schema."""
    return {
        "package-name": "dagcache",
        "name": "dagcache",
        "description": "A byte-budgeted, memory-aware cache of deserialised DAG versions.",
        "cli": ["dagcache.airflow.commands.get_commands"],
        "config": {
            SECTION: {
                "description": "The cache of deserialised DAG versions in the scheduler and the API server.",
                "options": {option.name: _described(option) for option in OPTIONS},
            }
        },
    }


def _described(option: Option) -> dict[str, Any]:
    described: dict[str, Any] = {"sensitive": True} if option.sensitive else {}
    return described | {
        "description": option.description,
        "version_added": "0.1.0",
        "type": option.kind,
        "example": option.example,
        "default": option.default.replace("%", "%%"),  # configparser interpolates
    }
