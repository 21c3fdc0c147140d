"""Time that a call may spend on work that others have left to be done."""

from __future__ import annotations

from collections.abc import Callable

LOOKUP_SECONDS = 0.001
"""Of a lookup or a change: on the expiry of other entries, and on the disposal of what left."""
VIEW_SECONDS = 0.005
"""Of a call that looks at the whole cache: ``stats``, ``len``, iteration, ``entries``."""


class Allowance:
    """So many seconds from now on, by a timer. Asked between two pieces of work, so it may be exceeded by one piece."""

    __slots__ = ("_timer", "_until")

    def __init__(self, seconds: float, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._until = timer() + seconds

    def is_spent(self) -> bool:
        """Whether the time is up."""
        return self._timer() >= self._until


def never() -> bool:
    """Stand for an allowance without an end."""
    return False
