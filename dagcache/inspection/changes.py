"""Changes of a cache's settings at run time, until the process restarts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from dagcache.core.cache import DagCache
from dagcache.errors import ConfigError
from dagcache.sizing.durations import exact_seconds, parse_seconds
from dagcache.sizing.limits import ByteLimit, is_tiny

_log = logging.getLogger("dagcache")

SETTINGS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        "max_bytes": lambda text: ByteLimit.parse(text, setting="max_bytes"),
        "ttl": lambda text: parse_seconds(text, "ttl"),
    }
)
"""The settings that can be changed, each with its reader, which raises ConfigError."""

OF_ZERO: Mapping[str, str] = MappingProxyType({"max_bytes": "unbounded", "ttl": "no expiry"})
"""The meaning of 0, by setting."""


def check(settings: Mapping[str, str]) -> None:
    """Read all values, and change nothing.

    Raises:
        ConfigError: names the setting, the value and the accepted forms.

    """
    if not settings:
        raise ConfigError("setting", "", f"NAME=VALUE, with a name of {', '.join(SETTINGS)}")
    for name, text in settings.items():
        if name not in SETTINGS:
            raise ConfigError("setting", name, f"{' or '.join(SETTINGS)}, as the others cannot be changed at run time")
        SETTINGS[name](text)


def change(cache: DagCache[Any, Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Change all of these settings, or none if one cannot be read. Returns the answer for the client."""
    before, error, note = _in_force(cache), "", ""
    try:
        check(settings)
    except ConfigError as refusal:
        error = str(refusal)
    else:
        if "max_bytes" in settings:
            cache.resize(settings["max_bytes"])
        if "ttl" in settings:
            cache.change_ttl(settings["ttl"])
        _log_changes(cache, before)
        note = _note(cache, settings)
    settings_now = _in_force(cache)
    return {"component": cache.config.name, "pid": os.getpid(), "settings": settings_now, "error": error, "note": note}


def _in_force(cache: DagCache[Any, Any]) -> dict[str, str]:
    return {"max_bytes": str(cache.requested), "ttl": exact_seconds(cache.ttl)}


def _note(cache: DagCache[Any, Any], settings: Mapping[str, str]) -> str:
    """A remark for the operator on a change that has little effect, or too much; empty if there is none."""
    if "max_bytes" in settings and is_tiny(cache.config.resolve(cache.requested)):
        return "this budget holds next to nothing"
    return "mode = observe: nothing is evicted" if cache.config.mode == "observe" else ""


def _log_changes(cache: DagCache[Any, Any], before: Mapping[str, str]) -> None:
    changed = [
        f"{name} = {_shown(name, text)} (was {_shown(name, before[name])})"
        for name, text in _in_force(cache).items()
        if text != before[name]
    ]
    with suppress(Exception):  # a handler of the host's
        message = "settings of the %s were changed over its socket, until it restarts: %s"
        _log.info(message, cache.config.name, ", ".join(changed) or "no value is different")


def _shown(name: str, text: str) -> str:
    return f"0, {OF_ZERO[name]}" if text == "0" else text
