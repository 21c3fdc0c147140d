"""Medians over rounds, and ratios of rounds beside each other, as cells of a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def middle(rounds: Sequence[object], name: str) -> float:
    """The median of one figure over all rounds."""
    return float(statistics.median(getattr(each, name) for each in rounds))


def ratios(rounds: Sequence[object], base: Sequence[object], name: str) -> list[float]:
    """Of one figure, round by round, in ascending order."""
    return sorted(getattr(mine, name) / getattr(theirs, name) for mine, theirs in zip(rounds, base, strict=True))


def ratio(rounds: Sequence[object], base: Sequence[object], name: str) -> str:
    """The median of the ratios and their spread, if there are several; 1 for the base itself."""
    if rounds is base:
        return "1"
    return bold_with_spread(ratios(rounds, base, name))


def beside(own: Iterable[float], base: Iterable[float]) -> str:
    """The same of figures round by round."""
    return bold_with_spread([mine / its for mine, its in zip(own, base, strict=True)])


def bold_with_spread(found: Sequence[float], form: str = ".2f", single: str = "one round") -> str:
    """The median, in bold, and the spread, each in a format; ``single`` replaces the spread of a single figure."""
    return f"**{statistics.median(found):{form}}** {_spread(found, form, single)}"


def with_spread(found: Sequence[float], form: str = ".2f", single: str = "one round") -> str:
    """The same without bold."""
    return f"{statistics.median(found):{form}} {_spread(found, form, single)}"


def _spread(found: Sequence[float], form: str, single: str) -> str:
    return f"({min(found):{form}} - {max(found):{form}})" if len(found) > 1 else f"({single})"
