"""The cache's settings: one frozen value, validated once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, Literal

from dagcache.errors import ConfigError, shown
from dagcache.sizing.durations import parse_seconds
from dagcache.sizing.limits import ByteLimit
from dagcache.sizing.memory import memory_limit

DEFAULT_TTL: Final = 10_800
"""Seconds."""

Mode = Literal["enforce", "observe"]
Oversize = Literal["bypass", "raise"]

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


@dataclass(frozen=True, slots=True, init=False)
class CacheConfig:
    """The settings of a cache. Values are normalised, so equal settings in different forms compare equal.

    Raises:
        ConfigError: (a ValueError) names the setting, the value and the accepted forms. A negative size or time is a
            warning in the log and then 0.

    """

    max_bytes: ByteLimit
    """The byte limit: ``"512MiB"``, ``"1.5GB"``, ``268435456``, ``"25%"`` of `memory_limit`; 0 = unbounded."""
    ttl: float
    """Idle seconds after which an entry leaves; 0 = never."""
    max_age: float
    """Seconds after its load or assignment after which an entry leaves, used or not; 0 = never."""
    jitter: float
    """A share, 0.0 to 0.5: `ttl` and `max_age` of each entry are shorter by a random part of it."""
    negative_ttl: float
    """Seconds for which a lookup remembers that its loader found no value; 0 = it does not."""
    name: str
    """The name of the cache in logs, statistics and metrics."""
    mode: Mode
    """``"enforce"``, or ``"observe"``: account and report, evict nothing."""
    frozen: bool
    """Keep a frozen copy of every entry."""
    oversize: Oversize
    """The treatment of a value that weighs more than the budget: ``"bypass"`` (serve, do not keep) or ``"raise"``."""
    memory_limit: int
    """The base of percentages, in bytes; 0 = detect (container, else machine)."""
    unproven_share: float
    """A share of the budget, 0.0 to 1.0: what live copies of newcomers take at most, until they are used again after
    their first burst of uses; twice as much during a burst. A value that exceeds the share alone is live from its
    second lookup on. A starting scheduler, for example, loads many values in a row. Without this limit most of their
    live copies would have to leave again, and the allocator would not get all of their memory back."""
    workers: int
    """Worker processes that share the memory: a percentage is divided by their number."""

    def __init__(
        self,
        *,
        max_bytes: ByteLimit | str | int = "25%",
        ttl: float | str | timedelta = DEFAULT_TTL,
        max_age: float | str | timedelta = 0,
        jitter: float | str = 0.0,
        negative_ttl: float | str | timedelta = 0,
        name: str = "default",
        mode: str = "enforce",
        frozen: bool | str = True,
        oversize: str = "bypass",
        memory_limit: ByteLimit | str | int = "auto",
        workers: int | str = 1,
        unproven_share: float | str = 1.0,
    ) -> None:
        assign = object.__setattr__  # the value is frozen only after this
        assign(self, "max_bytes", ByteLimit.parse(max_bytes, setting="max_bytes"))
        assign(self, "ttl", parse_seconds(ttl, setting="ttl"))
        assign(self, "max_age", parse_seconds(max_age, setting="max_age"))
        assign(self, "jitter", _share(jitter, "jitter", most=0.5))
        assign(self, "negative_ttl", parse_seconds(negative_ttl, setting="negative_ttl"))
        assign(self, "name", _text(name, "name"))
        assign(self, "mode", _choice(mode, "mode", ("enforce", "observe")))
        assign(self, "frozen", parse_switch(frozen, "frozen"))
        assign(self, "oversize", _choice(oversize, "oversize", ("bypass", "raise")))
        assign(self, "memory_limit", _memory(memory_limit))
        assign(self, "workers", _count(workers, "workers"))
        assign(self, "unproven_share", _share(unproven_share, "unproven_share"))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **defaults: Any) -> CacheConfig:
        """Settings from ``DAGCACHE_<NAME>`` in the environment, over the given defaults.

        Raises:
            ConfigError: as the constructor does.

        """
        environ = os.environ if environ is None else environ
        settings = dict(defaults)
        for field in fields(cls):
            text = environ.get(f"DAGCACHE_{field.name.upper()}")
            if text is not None:
                settings[field.name] = text
        return cls(**settings)

    def budget(self) -> int:
        """The byte limit in bytes, now: a percentage follows the memory limit; 0 = unbounded."""
        return self._in_bytes(self.max_bytes)

    def resolve(self, limit: ByteLimit | str | int) -> int:
        """Any byte limit in bytes, by this configuration's memory and workers.

        Raises:
            ConfigError: the limit cannot be read.

        """
        return self._in_bytes(ByteLimit.parse(limit, setting="max_bytes"))

    def _in_bytes(self, limit: ByteLimit) -> int:
        if not limit.is_relative:
            return limit.resolve(0)
        return limit.resolve(self.memory_limit or memory_limit().bytes, self.workers)


def parse_switch(value: object, setting: str) -> bool:
    """A bool, or its text: true or false, yes or no, on or off, 1 or 0, in upper or lower case.

    Raises:
        ConfigError: names the setting, the value and the accepted forms.

    """
    if isinstance(value, bool):
        return value
    text = value.strip().lower() if isinstance(value, str) else None
    if text not in _TRUE | _FALSE:
        raise ConfigError(setting, value, "true or false (also yes/no, on/off, 1/0)")
    return text in _TRUE


def _text(value: object, setting: str) -> str:
    if not isinstance(value, str) or not value.strip() or not _is_unicode(value):
        raise ConfigError(setting, value, "a text that is not empty, of characters that UTF-8 can encode")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: it would break the whole exposition
        return False
    return True


def _choice(value: object, setting: str, accepted: tuple[str, ...]) -> str:
    text = value.strip().lower() if isinstance(value, str) else None
    if text not in accepted:
        raise ConfigError(setting, value, ", ".join(accepted))
    return text


def _memory(value: ByteLimit | str | int) -> int:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return 0
    try:
        limit = ByteLimit.parse(value, setting="memory_limit")
    except ConfigError as error:
        raise ConfigError("memory_limit", value, "auto, or bytes as 512MiB, 1.5GB, 268435456") from error
    if limit.is_relative:
        raise ConfigError("memory_limit", value, "auto, or bytes as 512MiB, 1.5GB, 268435456")
    return limit.resolve(0)


def _count(value: object, setting: str) -> int:
    text = str(shown(value)).strip()
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or not 1 <= int(text[:7]) <= 100_000:
        raise ConfigError(setting, value, "a whole number from 1 to 100000")
    return int(text)


def _share(value: object, setting: str, most: float = 1.0) -> float:
    try:
        share = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        share = -1.0
    if not 0 <= share <= most:
        raise ConfigError(setting, value, f"a number from 0.0 to {most}")
    return share
