"""The settings of ``[dagcache]``: name, default and description, for reading and for Airflow's provider schema.

Airflow's providers manager calls `get_provider_info` in each process, also in task processes, so that
``airflow config list --section dagcache`` shows the settings. This module therefore imports the standard library only.
"""

from __future__ import annotations

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
        "What percentages and watermarks are of. auto: the container's limit (cgroup v2 or v1), else the machine's"
        " memory. Or bytes: then the container's use is not looked at.",
    ),
    Option(
        "high_watermark",
        "float",
        "0.90",
        "0.85",
        "The cache shrinks while the memory that the process or its container uses, without what the kernel can"
        " reclaim, is above this share of the memory limit.",
    ),
    Option(
        "low_watermark",
        "float",
        "0.80",
        "0.75",
        "The cache grows back soon, up to max_bytes, while that memory is below this share of the memory limit, and"
        " slowly between the two shares.",
    ),
    Option(
        "gc_freeze",
        "boolean",
        "False",
        "True",
        "Move all objects that are there when the cache starts, and the live DAGs it keeps, out of the garbage"
        " collector's sight (gc.freeze): shorter pauses; what they lose later is not collected.",
    ),
    Option(
        "metrics_host",
        "string",
        "0.0.0.0",
        "127.0.0.1",
        "The address that the Prometheus endpoint listens on.",
    ),
    Option(
        "metrics_port",
        "string",
        "11780-11789",
        "9095",
        "A port, or a range of which each process takes the first free one. 0: no endpoint.",
    ),
    Option(
        "attribution",
        "boolean",
        "True",
        "False",
        "Tell the user whose process it is, through a local socket that only that user and root can open, which DAGs"
        " fill the cache (dagcache top --dags).",
    ),
    Option(
        "metrics_targets",
        "string",
        "",
        "/var/run/dagcache/targets",
        "Where each process writes its endpoint down for Prometheus' file_sd. Empty: dagcache/targets in AIRFLOW_HOME.",
    ),
    Option(
        "trace",
        "string",
        "",
        "/var/lib/dagcache/traces",
        "The directory in which each process records its lookups, for dagcache replay. Empty: nothing is recorded.",
    ),
    Option(
        "trace_max_bytes",
        "string",
        "64MiB",
        "256MiB",
        "How large the trace of a process may become: then recording ends. 0: no limit.",
    ),
    Option(
        "trace_ids",
        "string",
        "hashed",
        "plain",
        "hashed: a trace names no DAG and no version. plain: it does.",
    ),
    Option(
        "quarantine",
        "string",
        "0",
        "5m",
        "For how long a DAG version whose content cannot be read is served as missing, so that it does not stop the"
        " scheduler: Airflow then goes on with the other DAGs, and fails queued tasks of this one. 0: as in Airflow,"
        " the error ends the scheduler's loop.",
    ),
)


def get_provider_info() -> dict[str, Any]:
    """The settings in the form of Airflow's provider schema."""
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
