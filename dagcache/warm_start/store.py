"""The protocol of a warm store: a place for frozen copies that outlives the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from dagcache.stats import WarmStats


class WarmKey(NamedTuple):
    """The identity of a version's content. A version id alone does not suffice: rows are rewritten in place."""

    version_id: UUID
    dag_hash: str
    last_updated: str
    """The row's time of change, ISO 8601 with microseconds and ``+00:00``."""


@dataclass(frozen=True, slots=True)
class WarmRecord:
    """A frozen copy, and the facts that its process measured."""

    data: bytes
    """The portable frozen form: valid in each process with the same fingerprint."""
    live_bytes: int
    """The weight of the loaded DAG, bytes."""
    serialized_bytes: int
    """The size of the serialised DAG in the database, bytes."""
    load_seconds: float
    """The time of the load, seconds."""
    family: str
    """The DAG's id."""
    order: int
    """The number of the version."""


class WarmStore(Protocol):
    """Keeps records. Thread-safe. No method raises, and none waits longer than 250 ms.

    A store returns only records that it has authenticated. It unpickles nothing.
    """

    def get_many(self, keys: Sequence[WarmKey]) -> Mapping[WarmKey, WarmRecord]:
        """The records of these keys; missing, stale and refused ones are left out."""
        ...

    def versions_near(self, version_id: UUID, limit: int) -> Sequence[UUID]:
        """The version and those that were stored after it, at most ``limit``; empty if the store does not have it.

        One statement to the database then confirms the content of all of them.
        """
        ...

    def put(self, key: WarmKey, record: WarmRecord) -> None:
        """Store a record, now or later. A record that cannot be stored is dropped and counted."""
        ...

    def forget(self, keys: Sequence[WarmKey]) -> None:
        """Do not return the records of these keys again. For records that could not be thawed, or are stale."""
        ...

    def refused(self, key: WarmKey) -> None:
        """Count a record that names a class which may not be unpickled, and do not return it again."""
        ...

    def close(self) -> None:
        """Release what the store holds. Idempotent; every other method does nothing afterwards."""
        ...


class CountedStore(WarmStore, Protocol):
    """A store with statistics."""

    def stats(self) -> WarmStats:
        """The counters, the number of records, and the state."""
        ...
