"""A line of the scorecard, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """A figure and a verdict."""

    figure: str
    passed: bool | None
    """None: it could not be measured here; the figure says why."""

    @property
    def verdict(self) -> str:
        """As the table shows it."""
        return {True: "passed", False: "FAILED", None: "not run"}[self.passed]


def not_run(why: str) -> Outcome:
    """The outcome of a line that cannot be measured here."""
    return Outcome(why, None)


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the scorecard; several rows may make up one line."""

    line: str
    what: str
    limit: str
    measure: Callable[[bool], Outcome]
    """``measure(short)``; raises `processes.MeasureError` if the measurement itself breaks."""
