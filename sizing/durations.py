"""Durations as people write them: ``10800``, ``3h``, ``90m``."""

from __future__ import annotations

import logging
import math
import re
from datetime import timedelta

from dagcache.errors import ConfigError, shown

_log = logging.getLogger("dagcache")

MAX_SECONDS = 100 * 365 * 86_400
"""The longest duration that is accepted, a hundred years: every clock and timeout can still hold it."""

ACCEPTED = (
    "seconds (10800 or 0.5), a number with a unit (30s, 90m, 3h, 1d), or a timedelta, at most 100 years; 0 turns it off"
)

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = re.compile(r"(-?[0-9]{1,19}(?:\.[0-9]{0,18})?) ?([smhdSMHD]?)", re.ASCII)


def parse_seconds(value: object, setting: str = "ttl") -> float:
    """Read a duration in seconds from a setting; a negative one warns and means 0.

    Raises `ConfigError`, naming the setting and the accepted forms, for everything else.
    """
    seconds = _seconds(value, setting)
    if seconds < 0:
        _log.warning("%s = %s is negative: taken as 0", setting, shown(value))
        return 0.0
    if seconds > MAX_SECONDS:
        raise ConfigError(setting, value, ACCEPTED)
    return seconds


def exact_seconds(seconds: float) -> str:
    """A duration as `parse_seconds` reads it, exact to a nanosecond: ``3600``, ``0.5``."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".")


def _seconds(value: object, setting: str) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and len(value) <= 64:
        match = _NUMBER.fullmatch(value.strip())
        if match:
            return float(match[1]) * _UNITS[match[2].lower()]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            seconds = math.inf
        if math.isfinite(seconds):
            return seconds
    raise ConfigError(setting, value, ACCEPTED)
