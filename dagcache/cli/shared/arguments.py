"""Types of command-line arguments. Each refuses a text with a message that names the accepted forms."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable

from dagcache.errors import ConfigError
from dagcache.sizing.durations import parse_seconds
from dagcache.sizing.limits import ByteLimit

_MOST_DIGITS = 18
_SHOWN = 60  # characters of a refused text


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and least <= int(text) <= most:
            return int(text)
        raise ArgumentTypeError(f"expected a whole number from {least} to {most}, found {text[:_SHOWN]!r}")

    return parse


def number(unit: str, *, most: float, least: float = 0.0) -> Callable[[str], float]:
    """A number of some unit, from ``least`` to ``most``; 0 is never accepted."""
    form = f"a number of {unit} {f'from {least:g} to' if least else 'above 0, at most'} {most:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if value > 0 and least <= value <= most:
            return value
        raise ArgumentTypeError(f"expected {form}, found {text[:_SHOWN]!r}")

    return parse


def seconds_of_setting(setting: str) -> Callable[[str], float]:
    """A duration as the setting of that name accepts it."""

    def parse(text: str) -> float:
        try:
            return parse_seconds(text, setting=setting)
        except ConfigError as error:
            raise ArgumentTypeError(str(error)) from None

    return parse


def byte_limit(text: str) -> ByteLimit:
    """A byte limit as the setting ``max_bytes`` accepts it."""
    try:
        return ByteLimit.parse(text.strip())
    except ConfigError as error:
        raise ArgumentTypeError(str(error)) from None


def byte_limits(text: str) -> list[ByteLimit]:
    """Byte limits, separated by commas."""
    return [byte_limit(part) for part in text.split(",")]


def byte_counts(text: str) -> tuple[int, ...]:
    """Byte limits that are neither shares of the memory nor unbounded: in bytes, ascending, each once."""
    limits = byte_limits(text)
    for limit, part in zip(limits, text.split(","), strict=True):
        if limit.is_relative or limit.unbounded:
            raise ArgumentTypeError(f"expected a number of bytes, such as 512MiB, found {part.strip()!r}")
    return tuple(sorted({limit.resolve(memory=0) for limit in limits}))
