"""Byte limits as people write them: ``512MiB``, ``1.5GB``, ``25%``, ``0``."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from dagcache.errors import ConfigError, shown

_log = logging.getLogger("dagcache")

MAX_BYTES = 2**63 - 1
"""The largest accepted byte count: the maximum of a signed 64-bit field."""

ACCEPTED = (
    "a whole number of bytes (268435456), a number with a unit"
    " (512MiB or 512Mi: powers of 1024; 1.5GB or 1.5G: powers of 1000; K, M, G, T),"
    " a share of memory (25%, above 0% up to 100%), or 0 for no limit"
)

_LONGEST_TEXT = 64
_TINY = 16 * 1024
_NUMBER = re.compile(r"(-?(?:[0-9]{1,19}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})) ?([A-Za-z]*|%)", re.ASCII)


def _unit_table() -> dict[str, int]:
    """Accepted spellings: as written, all lower case, all upper case; bare letters only as the SI has them.

    ``m`` is refused because it is a thousandth in Kubernetes and 1024**2 in Docker; ``Mb`` means megabits.
    """
    table: dict[str, int] = {"": 1, "B": 1, "k": 1000}
    for power, letter in enumerate("KMGT", start=1):
        table[letter] = 1000**power
        for spelling, size in ((f"{letter}iB", 1024), (f"{letter}i", 1024), (f"{letter}B", 1000)):
            for text in (spelling, spelling.lower(), spelling.upper()):
                table[text] = size**power
    table["kB"] = 1000
    return table


_UNITS = _unit_table()
_PRINTED = [("", 1), *((unit, size) for unit, size in _UNITS.items() if re.fullmatch("[KMGT](iB|B)", unit))]


@dataclass(frozen=True)
class ByteLimit:
    """A limit in bytes, as a share of memory, or none; a value, so it can be shared between threads.

    Exactly one of ``nbytes`` and ``percent`` is above zero; both are zero when there is no limit.
    """

    nbytes: int = 0
    percent: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        """Refuse what `parse` could not have produced."""
        if not (0 <= self.nbytes <= MAX_BYTES and 0 <= self.percent <= 100) or (self.nbytes and self.percent):
            raise ConfigError("ByteLimit", (self.nbytes, self.percent), ACCEPTED)

    @classmethod
    def parse(cls, value: object, setting: str = "max_bytes") -> ByteLimit:
        """Read a limit from a setting; fractions of a byte are dropped, a negative value warns and means 0.

        Raises `ConfigError`, naming the setting and the accepted forms, for everything else.
        """
        if isinstance(value, ByteLimit):
            return value
        number, unit = _split(value, setting)
        if number < 0:
            _log.warning("%s = %s is negative: taken as 0, which means no limit", setting, shown(value))
            return cls()
        if unit == "%":
            return cls._from_percent(number, value, setting)
        exact = Fraction(number) * _UNITS[unit]
        # Half a byte rounded down would be 0, and 0 lifts the limit altogether.
        if exact > MAX_BYTES or 0 < exact < 1:
            raise ConfigError(setting, value, ACCEPTED)
        return cls(nbytes=math.floor(exact))

    @classmethod
    def _from_percent(cls, number: Decimal, value: object, setting: str) -> ByteLimit:
        if not 0 < number <= 100:
            raise ConfigError(setting, value, ACCEPTED)
        return cls(percent=number)

    @property
    def is_relative(self) -> bool:
        """Whether the limit is a share of memory."""
        return self.percent > 0

    @property
    def unbounded(self) -> bool:
        """Whether there is no limit."""
        return not self.nbytes and not self.percent

    def resolve(self, memory: int, shares: int = 1) -> int:
        """Bytes that this limit grants, 0 for no limit.

        A percentage of ``memory`` bytes is divided by ``shares``, the number of processes that take their
        part of it, and is never less than one byte. An absolute limit ignores both. Raises ValueError if a
        percentage meets a ``memory`` or ``shares`` that is not positive.
        """
        if not self.is_relative:
            return self.nbytes
        if memory < 1 or shares < 1:
            raise ValueError(f"memory and shares must be positive, not {memory} and {shares}")
        return max(1, math.floor(Fraction(self.percent) * memory / (100 * shares)))

    def __str__(self) -> str:
        """The shortest exact spelling, which `parse` reads back."""
        if self.is_relative:
            return f"{self.percent:f}%"
        spellings = [f"{self.nbytes // size}{unit}" for unit, size in _PRINTED if self.nbytes % size == 0]
        return min(spellings, key=len) if self.nbytes else "0"


def _split(value: object, setting: str) -> tuple[Decimal, str]:
    """The number and its unit, exactly; the unit is '%' or a key of the unit table."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf:
        return Decimal(value), ""
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        match = _NUMBER.fullmatch(value.strip())
        if match and (match[2] == "%" or match[2] in _UNITS):
            return Decimal(match[1]), match[2]
    raise ConfigError(setting, value, ACCEPTED)


def is_tiny(budget: int) -> bool:
    """Whether a budget in bytes is too small for the frozen form of a single DAG of usual size; 0 is unbounded."""
    return 0 < budget < _TINY


def format_limit(nbytes: int) -> str:
    """A byte limit for people; 0 is ``unbounded``."""
    return format_bytes(nbytes) if nbytes else "unbounded"


def format_bytes(nbytes: int) -> str:
    """A byte count for people, in powers of 1024: ``512 B``, ``1.5 GiB``."""
    if abs(nbytes) < 1024:
        return f"{nbytes} B"
    power = 1
    # 1023.96 would be printed as 1024.0 of the smaller unit.
    while power < 4 and abs(nbytes) / 1024**power >= 1023.95:
        power += 1
    return f"{nbytes / 1024**power:.1f} {' KMGT'[power]}iB"
