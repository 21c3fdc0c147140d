"""Confirmations: the content last found for each version, and the time. They decide when the database is asked again.

Airflow rewrites a version in place at most once in a window, so each version is also queried once in a window. One
statement per version would cost as much as serving it from the cache. A lookup that has to ask therefore also asks for
other versions that are due, or soon will be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple
from uuid import UUID

_TOGETHER = 100  # versions per statement
_EARLY = 0.5  # share of the window: a confirmation of this age is renewed with the next query
_REFILL = 0.125  # share of the window between two scans of all versions for due ones
_SPARE = 64

RECORD_BYTES = 460
"""Bytes of a version's id, its confirmation, and the slot of a table, as measured by a test. The session that an id
comes from ends; the cache keeps the id."""


class Confirmation(NamedTuple):
    """The content of a version at a time."""

    content: Hashable
    since: float
    """The start of the database view in which it was found, in monotonic seconds. The view may miss later writes."""


class Confirmations:
    """The confirmations of resident versions.

    ``window``: seconds for which a confirmation is valid; 0 = never.

    `confirm` and `retract` run under the cache's lock, together with the change of the cache that they belong to. The
    other methods run without it, in any thread: a race costs one statement.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._known: dict[UUID, Confirmation] = {}
        self._aging: deque[UUID] = deque()
        self._looked = float("-inf")

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: UUID) -> Confirmation | None:
        """The last confirmation of a version; None if there is none."""
        return self._known.get(key)

    def is_due(self, known: Confirmation, now: float) -> bool:
        """Whether the database must be asked before this version is served."""
        return now - known.since >= self._window

    def confirm(self, key: UUID, content: Hashable, since: float, resident: Collection[UUID]) -> bool:
        """Note a version's content at a time; False, without a note, if a later view has other content.

        Confirmations of versions that are not resident are removed from time to time.
        """
        known = self._known.get(key)
        if known is not None and known.since > since:
            return known.content == content
        self._known[key] = Confirmation(content, since)
        if len(self._known) > 2 * len(resident) + _SPARE:
            for gone in [other for other in list(self._known) if other != key and other not in resident]:
                self._known.pop(gone, None)
        return True

    def retract(self, key: UUID, known: Confirmation | None) -> bool:
        """Remove a confirmation if it is still ``known``; False if another thread has changed it."""
        if self._known.get(key) is not known:
            return False
        self._known.pop(key, None)
        return True

    def to_ask(self, key: UUID, now: float, resident: Collection[UUID]) -> dict[UUID, Confirmation | None]:
        """The versions to ask for, with their confirmations: this version and up to 99 others."""
        asked = {key: self._known.get(key)}
        if self._window <= 0:
            return asked
        if not self._aging and now - self._looked >= _REFILL * self._window:
            self._looked = now
            self._aging = deque(other for other, known in list(self._known.items()) if self._is_aging(known, now))
        while len(asked) < _TOGETHER:
            try:
                other = self._aging.popleft()
            except IndexError:
                break
            known = self._known.get(other)
            if other != key and known is not None and self._is_aging(known, now) and other in resident:
                asked[other] = known
        return asked

    def renew(self, asked: Mapping[UUID, Confirmation | None], found: Mapping[UUID, Hashable], since: float) -> None:
        """Confirm versions with unchanged content as of ``since``, the start of the view that was asked.

        The others stay as they are, and are asked for when they are needed.
        """
        for key, known in asked.items():
            if known is None or found.get(key) != known.content or since <= known.since:
                continue
            if self._known.get(key) is known:
                self._known[key] = Confirmation(known.content, since)

    def is_fresh(self, since: float, now: float) -> bool:
        """Whether a view that began at ``since`` is new enough to confirm other versions."""
        return now - since < _EARLY * self._window

    def _is_aging(self, known: Confirmation, now: float) -> bool:
        return now - known.since >= _EARLY * self._window
