"""The part that both kinds of stores share: counters, two circuit breakers, a bounded queue, and faults.

A fault is counted, and is a line in the log. A store that fails or is slow is passed over for 30 s.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from dagcache.log_limits import report
from dagcache.stats import WarmStats
from dagcache.warm_start.circuit_breaker import PAUSE_SECONDS, SLOWEST_SECONDS, CircuitBreaker
from dagcache.warm_start.counts import WarmCounts
from dagcache.warm_start.opening import OffError, Opening
from dagcache.warm_start.record_format import content_of
from dagcache.warm_start.store import WarmKey, WarmRecord
from dagcache.warm_start.version_index import VersionIndex

REFRESH_SECONDS: Final = 5.0
"""The time between two looks for records of other processes, while lookups miss or records are stored."""

_MOST_WAITING: Final = 256
_MOST_WAITING_BYTES: Final = 8 * 2**20


class Opened(Protocol):
    """The opened part of a store."""

    @property
    def index(self) -> VersionIndex[Any]:
        """The versions that have a record."""
        ...


O = TypeVar("O", bound=Opened)  # noqa: E741 - of `Opened`


class CommonStore(ABC, Generic[O]):
    """Thread-safe. A subclass sets the parts of its own, and opens and reads."""

    failures: ClassVar[tuple[type[Exception], ...]]
    """The errors of the disk or the database."""

    _opening: Opening[O]
    _reads: CircuitBreaker
    _writes: CircuitBreaker
    _waiting: deque[tuple[WarmKey, WarmRecord]]

    def __init__(self) -> None:
        self.counts = WarmCounts()

    def put(self, key: WarmKey, record: WarmRecord) -> None:
        """Store a record, now or later. A record that cannot be stored is dropped and counted."""
        self._try("write", self._put, key, record)

    def forget(self, keys: Sequence[WarmKey]) -> None:
        """Do not return the records of these keys again, unless they are stored again."""
        self._try("read", self._forget, keys)

    def refused(self, key: WarmKey) -> None:
        """Count a record that names a class which may not be unpickled, and do not return it again."""
        self.counts.add(refused=1)
        self.forget((key,))

    def stats(self) -> WarmStats:
        """The counters, the number of records, and the state."""
        opened = self._opening.opened
        return self.counts.snapshot(
            records=0 if opened is None else len(opened.index),
            is_passed_over=self._opening.is_off or self._reads.is_open() or self._writes.is_open(),
        )

    @abstractmethod
    def _put(self, key: WarmKey, record: WarmRecord) -> None:
        """Store a record, or have it wait by `_enqueue`."""

    @abstractmethod
    def _place(self) -> str:
        """The directory or the database, as a log may show it."""

    @abstractmethod
    def _failed(self, kind: str, error: Any) -> str:
        """Do what follows a failure, and give its reason, without secrets."""

    def _enqueue(self, key: WarmKey, record: WarmRecord) -> bool:
        """Have a record wait; False if the store has ended, is passed over, or too much waits already."""
        if self._opening.has_ended:
            return False
        nbytes = sum(len(each.data) for _, each in list(self._waiting))
        if self._writes.is_open() or len(self._waiting) >= _MOST_WAITING or nbytes > _MOST_WAITING_BYTES:
            self.counts.add_error("dropped")
            return False
        self._waiting.append((key, record))
        self._opening.ready()
        return True

    def _forget(self, keys: Sequence[WarmKey]) -> None:
        opened = self._opening.opened
        if opened is not None:
            for key in keys:
                opened.index.discard(key.version_id.bytes, content_of(key), forget=True)

    # ---- faults ----

    def _try(self, kind: str, action: Callable[..., object], *args: object) -> None:
        """Run an action; its error is counted and logged."""
        try:
            action(*args)
        except Exception as error:
            self._fault(kind, error)

    def _open_failed(self, error: Exception) -> None:
        self._reads.trip()
        self._fault("open", error)

    def _fault(self, kind: str, error: Exception) -> None:
        if isinstance(error, OffError):
            self._turn_off(error)
        elif isinstance(error, self.failures):
            self._report_failure(kind, error)
        else:
            self.counts.add_error("internal")
            report("warm start", "warm start failed, and the lookup is served without it", error=error)

    def _turn_off(self, error: OffError) -> None:
        self._opening.turn_off()
        self._waiting.clear()
        self.counts.add_error(error.kind)
        report("warm start, off", "warm start is off: %s", error, level=error.level)

    def _report_failure(self, kind: str, error: Exception) -> None:
        self.counts.add_error(kind)
        reason = self._failed(kind, error)
        message = "warm start passes over %s for %g s: %s failed (%s)"
        report(f"warm start, {kind}", message, self._place(), PAUSE_SECONDS, kind, reason, level=logging.WARNING)

    def _report_slow(self) -> None:
        self.counts.add_error("slow")
        message = "warm start passes over %s for %g s: a call took longer than %g s"
        report("warm start, slow", message, self._place(), PAUSE_SECONDS, SLOWEST_SECONDS, level=logging.WARNING)


def report_forged(counts: WarmCounts, place: str) -> None:
    """Count a record that is not authentic. ``place``: as a log may show it."""
    counts.add(forged=1)
    message = "a record of warm start in %s is damaged or forged, and is not used"
    report("warm start, forged", message, place, level=logging.WARNING)


def report_full(counts: WarmCounts, reason: Exception) -> None:
    """Count a record that does not fit."""
    counts.add_error("full")
    report("warm start, full", "warm start does not store a version: %s", reason, level=logging.INFO)
