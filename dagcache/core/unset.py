"""The sign for "no value": None may be a value."""

from __future__ import annotations

import enum
from typing import Final


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = enum.auto()

    def __repr__(self) -> str:
        return "<default>"


UNSET: Final = Unset.UNSET
"""No value."""
