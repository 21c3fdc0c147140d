"""Values that refer to themselves: the cache finds out whether a caller holds them."""

from __future__ import annotations

import gc

from tests.support.caches import KIB, Weighted


class Ring(Weighted):
    """A value that refers to itself."""

    def __init__(self, label: object, nbytes: int = 100 * KIB) -> None:
        super().__init__(label, nbytes)
        self.me = self


def rings() -> int:
    """The number of rings in memory."""
    return sum(type(item) is Ring for item in gc.get_objects())
