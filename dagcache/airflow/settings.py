"""The settings of ``[dagcache]`` as checked values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dagcache.airflow.provider_info import OPTIONS
from dagcache.config import CacheConfig, parse_switch
from dagcache.errors import ConfigError
from dagcache.metrics.ports import parse_ports
from dagcache.sizing.durations import parse_seconds
from dagcache.traces.recording import IDS, parse_max_bytes

MODES = ("enforce", "observe", "off")

UNPROVEN_SHARE = 0.25
"""The share of the budget for live copies that were not used again after their first burst. A starting scheduler looks
all versions up before it returns to one. With all of them live at first, a process with 98 MiB for 10,000 frozen
versions grew by 141 MiB."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one component."""

    enabled: bool
    """False with ``mode = off``; the other settings then have their defaults."""
    cache: CacheConfig
    high_watermark: float
    """The share of the memory limit above which the cache shrinks."""
    low_watermark: float
    """The share of the memory limit below which the cache grows back."""
    gc_freeze: bool
    metrics_host: str
    metrics_ports: tuple[int, ...]
    """The ports to try in turn; empty: no endpoint."""
    airflow_metrics: float
    """Seconds between two reports through Airflow's own metrics; 0 = none."""
    attribution: bool
    """Whether to open the per-DAG usage socket."""
    metrics_targets: str
    """The directory for ``file_sd``; empty: below AIRFLOW_HOME."""
    trace: str
    """The directory for traces; empty: no recording."""
    trace_max_bytes: int
    """The limit of a trace in bytes; 0 = no limit."""
    trace_ids: str
    """The form of ids in a trace: ``"hashed"`` or ``"plain"``."""
    quarantine: float
    """Seconds for which a version with unreadable content is served as missing; 0 = off."""
    warm_start: str = ""
    """The kind of the warm store; empty: none. This text and the next two are read where the store is made, so that a
    fault in them turns off the store and not the cache."""
    warm_start_path: str = ""
    """The directory of the warm store; empty: below AIRFLOW_HOME."""
    warm_start_max_bytes: str = ""
    """The limit of the warm store, as text."""


def read_settings(get: Callable[[str], str | None], component: str, workers: int = 1) -> Settings:
    """Read and check all settings but secrets; ``get(name)`` gives the text of one, or None where it is not set.

    Raises:
        ConfigError: (a ValueError) names the setting, the value and the accepted forms.

    """
    defaults = {option.name: option.default for option in OPTIONS if not option.sensitive}
    texts = {name: default if (text := get(name)) is None else text for name, default in defaults.items()}
    mode = _choice(texts, "mode", MODES)
    if mode == "off":
        texts = {**defaults, "mode": "enforce"}
    high, low = _share(texts, "high_watermark"), _share(texts, "low_watermark")
    if low > high:
        raise ConfigError("low_watermark", texts["low_watermark"], f"at most high_watermark = {high}")
    return Settings(
        enabled=mode != "off",
        cache=CacheConfig(
            max_bytes=texts["max_bytes"],
            ttl=texts["ttl"],
            name=component,
            mode=texts["mode"],
            frozen=texts["frozen"],
            memory_limit=texts["memory_limit"],
            workers=workers,
        ),
        high_watermark=high,
        low_watermark=low,
        gc_freeze=parse_switch(texts["gc_freeze"], "gc_freeze"),
        metrics_host=texts["metrics_host"].strip(),
        metrics_ports=parse_ports(texts["metrics_port"]),
        airflow_metrics=parse_seconds(texts["airflow_metrics"], "airflow_metrics"),
        attribution=parse_switch(texts["attribution"], "attribution"),
        metrics_targets=texts["metrics_targets"].strip(),
        trace=texts["trace"].strip(),
        trace_max_bytes=parse_max_bytes(texts["trace_max_bytes"], "trace_max_bytes"),
        trace_ids=_choice(texts, "trace_ids", IDS),
        quarantine=parse_seconds(texts["quarantine"], "quarantine"),
        warm_start=texts["warm_start"].strip().lower(),
        warm_start_path=texts["warm_start_path"].strip(),
        warm_start_max_bytes=texts["warm_start_max_bytes"],
    )


def _choice(texts: dict[str, str], name: str, accepted: tuple[str, ...]) -> str:
    text = texts[name].strip().lower()
    if text not in accepted:
        raise ConfigError(name, texts[name], ", ".join(accepted))
    return text


def _share(texts: dict[str, str], name: str) -> float:
    try:
        share = float(texts[name])
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ConfigError(name, texts[name], "a share of the memory limit above 0 and at most 1, as 0.9")
    return share
