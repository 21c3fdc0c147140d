"""Released copies and values: out of the store, and still to be reported and destroyed by its owner."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dagcache.core.entry import Entry, LiveCopy
from dagcache.stats import RemovalCause


class Rejected(NamedTuple):
    """A value that was served and is not kept live. It is garbage once its callers drop it."""

    value: Any
    nbytes: int
    own_references: int | None
    """Number of references to the value from its own parts; None = unknown."""
    ticket: int = 0
    """As `LiveCopy.ticket`."""


@dataclass(slots=True)
class Released:
    """The copies and values that left the store in one change."""

    entries: deque[tuple[Entry, RemovalCause]] = field(default_factory=deque)
    """Removed entries, with the copies that they had."""
    demoted: list[LiveCopy] = field(default_factory=list)
    """Live copies of entries that stay."""
    rejected: list[Rejected] = field(default_factory=list)
    """Values that passed through."""

    def __bool__(self) -> bool:
        return bool(self.entries or self.demoted or self.rejected)

    @property
    def nbytes(self) -> int:
        """Bytes of everything released."""
        entries = sum(entry.copies_bytes for entry, _ in self.entries)
        demoted = sum(copy.nbytes for copy in self.demoted)
        return entries + demoted + sum(each.nbytes for each in self.rejected)
