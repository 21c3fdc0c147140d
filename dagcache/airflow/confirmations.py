"""Which content each version was last found to have, and when: this decides whether the database is asked again.

Airflow rewrites a version in place no more often than once in a window, so each is asked for once in a window, too. A
statement for each would cost as much as serving it from the cache: a lookup that has to ask also asks for others that
are due, or soon will be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple
from uuid import UUID

_TOGETHER = 100  # versions that one statement asks for
_EARLY = 0.5  # of the window: as old as this, a confirmation is renewed when the database is asked anyway
_REFILL = 0.125  # of the window: what else is due is not looked for more often; it means looking through all
_SPARE = 64


class Confirmation(NamedTuple):
    """A version's content at a time."""

    content: Hashable
    since: float
    """When the view of the database began in which it was found, monotonic seconds: what was written from then on may
    have gone unseen."""


class Confirmations:
    """What is known of the content of the versions that ``resident`` holds.

    window: for so long a confirmation is good, seconds; 0 = never.

    `confirm` and `retract` run under the cache's lock, together with the change of the cache that they belong to; the
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
        """What was last found, if anything."""
        return self._known.get(key)

    def is_due(self, known: Confirmation, now: float) -> bool:
        """Whether the database has to be asked before this version is served."""
        return now - known.since >= self._window

    def confirm(self, key: UUID, content: Hashable, since: float, resident: Collection[UUID]) -> bool:
        """Note what a version's content was at a time; False, and nothing noted, if another content was found later.

        What is not resident any more is forgotten now and then.
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
        """Forget the content, if it is still what was known; False if another thread has found something since."""
        if self._known.get(key) is not known:
            return False
        self._known.pop(key, None)
        return True

    def to_ask(self, key: UUID, now: float, resident: Collection[UUID]) -> dict[UUID, Confirmation | None]:
        """What to ask for: this version, and others along with it, a hundred in all; and what is known of them."""
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
        """Confirm those whose content is what it was, as of the moment when the view that was asked began.

        The others stay as they are: asked for when they are needed.
        """
        for key, known in asked.items():
            if known is None or found.get(key) != known.content or since <= known.since:
                continue
            if self._known.get(key) is known:
                self._known[key] = Confirmation(known.content, since)

    def is_fresh(self, since: float, now: float) -> bool:
        """Whether a view that began then is new enough to confirm other versions along."""
        return now - since < _EARLY * self._window

    def _is_aging(self, known: Confirmation, now: float) -> bool:
        return now - known.since >= _EARLY * self._window
