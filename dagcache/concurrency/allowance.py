"""The time that a call may spend on work that other calls have left."""

from __future__ import annotations

from collections.abc import Callable

LOOKUP_SECONDS = 0.001
"""For a lookup or a change: the expiry of other entries, and the disposal of values that left."""
VIEW_SECONDS = 0.005
"""For a call that looks at the whole cache: ``stats``, ``len``, iteration, ``entries``."""


class Allowance:
    """A number of seconds from now on, by a timer. Asked between two pieces of work: one piece may exceed it."""

    __slots__ = ("_timer", "_until")

    def __init__(self, seconds: float, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._until = timer() + seconds

    def is_spent(self) -> bool:
        """Whether the time is up."""
        return self._timer() >= self._until


def never() -> bool:
    """Stand for an unlimited allowance."""
    return False
