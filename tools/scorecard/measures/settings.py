"""Random settings: each text is a value or a ConfigError, for every setting.

``python -m tools.scorecard.measures.settings NUMBER [SEED]``.
"""

from __future__ import annotations

import functools
import json
import logging
import random
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from dagcache import ByteLimit, CacheConfig, ConfigError
from dagcache.airflow.provider_info import OPTIONS
from dagcache.airflow.settings import read_settings
from dagcache.metrics.ports import parse_ports
from dagcache.sizing.durations import MAX_SECONDS, parse_seconds
from dagcache.sizing.limits import MAX_BYTES

_SOUND = ("512MiB", "1.5GB", "268435456", "25%", "0", "10800", "3h", "90m", "9095", "9095-9104", "0.9", "true", "auto")
_UNITS = (
    *("", "B", "KiB", "MiB", "gib", "Ti", "kB", "MB", "G", "m", "Mb"),
    *("%", "%%", "s", "h", "d", "x", "\u00b5s"),
)
_SIGNS = ("", "", "", "", "-", "+", "--", " ")
_ODD = (
    "nan",
    "inf",
    "-inf",
    "1e30",
    "None",
    "True",
    "",
    " ",
    "0x10",
    "1_000",
    "1,5",
    "\x00",
    "\u0661",
    "\uff15",
    "\ud800",
)
_PIECES = "0123456789.-+%eE_ ,:;/\\'\"\t\n\x00kKmMgGtTiIbBsShHdD\u00a0\u2212\u0660\uff11\u20ac\U0001f600"


def random_text(rng: random.Random) -> str:
    """Something that an operator, an editor or an accident might write."""
    kind = rng.randrange(6)
    if kind == 0:
        return _damaged(rng.choice(_SOUND), rng)
    if kind == 1:
        return f"{rng.choice(_SIGNS)}{_digits(rng)}{rng.choice(_UNITS)}"
    if kind == 2:
        return f"{rng.choice(_SIGNS)}{_digits(rng)}.{_digits(rng)}{rng.choice(_UNITS)}"
    if kind == 3:
        return _digits(rng) + rng.choice("-\u2013:,.. ") + _digits(rng)
    if kind == 4:
        return rng.choice(_ODD) + rng.choice(_UNITS)
    return "".join(rng.choices(_PIECES, k=rng.randrange(12)))


def _digits(rng: random.Random) -> str:
    return str(rng.randrange(10 ** rng.choice((1, 2, 3, 5, 9, 19, 30, 4000 if rng.random() < 0.01 else 12))))


def _damaged(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(_PIECES) + text[place + rng.randrange(2) :]


def _is_budget(limit: ByteLimit) -> bool:
    return 0 <= limit.nbytes <= MAX_BYTES and 0 <= limit.percent <= 100 and ByteLimit.parse(str(limit)) == limit


def _is_sound(config: CacheConfig) -> bool:
    durations = (config.ttl, config.max_age, config.negative_ttl)
    is_timed = all(0 <= seconds <= MAX_SECONDS for seconds in durations) and 0 <= config.jitter <= 1
    return is_timed and 0 <= config.budget() <= MAX_BYTES and config.workers >= 1


def _read_variable(name: str, text: str) -> bool:
    return _is_sound(CacheConfig.from_env({name: text}))


def _read_option(name: str, text: str) -> bool:
    settings = read_settings({name: text}.get, "scheduler")
    return _is_sound(settings.cache) and 0 < settings.low_watermark <= settings.high_watermark <= 1


_FIELDS = ("MAX_BYTES", "TTL", "MODE", "FROZEN", "OVERSIZE", "MEMORY_LIMIT", "WORKERS", "NAME")

READERS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "a byte limit": lambda text: _is_budget(ByteLimit.parse(text)),
        "a duration": lambda text: 0 <= parse_seconds(text) <= MAX_SECONDS,
        "ports": lambda text: all(1 <= port <= 65535 for port in parse_ports(text)),
        **{f"DAGCACHE_{name}": functools.partial(_read_variable, f"DAGCACHE_{name}") for name in _FIELDS},
        **{f"[dagcache] {option.name}": functools.partial(_read_option, option.name) for option in OPTIONS},
    }
)
"""How each setting is read; False where a value is accepted that is none."""


def try_texts(number: int, seed: int) -> dict[str, Any]:
    """Give so many texts to all readers in turn; the results that were neither a value nor a ConfigError."""
    rng = random.Random(seed)
    values = errors = 0
    wrong: list[str] = []
    readers = list(READERS.items())
    for turn in range(number):
        text = random_text(rng)
        name, read = readers[turn % len(readers)]
        try:
            sound = read(text)
        except ConfigError as error:
            errors += 1
            if not str(error):
                wrong.append(f"{name} = {text!r}: no message")
        except Exception as error:
            wrong.append(f"{name} = {text!r}: {type(error).__name__}: {error}")
        else:
            values += 1
            if not sound:
                wrong.append(f"{name} = {text!r} was accepted")
    return {"texts": number, "values": values, "errors": errors, "wrong": wrong}


if __name__ == "__main__":
    logging.getLogger("dagcache").setLevel(logging.ERROR)  # negative numbers are warnings
    print(json.dumps(try_texts(int(sys.argv[1]), int((sys.argv[2:] or ["1"])[0]))))  # noqa: T201
