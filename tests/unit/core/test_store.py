"""The store: late thaws, rejected values, expired entries."""

from __future__ import annotations

from dagcache.core.entry import Candidate
from dagcache.core.store import Store
from dagcache.sizing.estimate import Sized
from dagcache.stats import Rejection, RemovalCause

KIB = 1024


def candidate(key: object, frozen_bytes: int = 20 * KIB) -> Candidate:
    """A value with a frozen form of that many bytes."""
    return Candidate(key=key, value=f"value of {key}", live_bytes=KIB, frozen=bytes(frozen_bytes), load_seconds=0.1)


def test_a_value_that_thawed_after_its_entry_left_is_not_kept() -> None:
    """Its bytes were needed meanwhile: it is served and released."""
    store = Store()
    store.admit(candidate("a"), 0.0)
    entry = store.entries["a"]
    store.remove("a", RemovalCause.SIZE, 0.0)
    store.take_released()
    assert not store.keep_thawed(entry, "thawed", Sized(KIB, exact=True, seconds=0.0), 0.01, None, 1.0)
    assert [each.value for each in store.take_released().rejected] == ["thawed"]
    assert not store.entries
    store.check_invariants()


def test_a_value_with_a_frozen_form_that_is_not_worth_its_room_passes_through() -> None:
    """A newcomer of more than half the budget, where all the others would have to go for it."""
    store = Store(budget=1024 * KIB)
    for second in range(0, 400, 10):
        store.admit(candidate(second), float(second))
    store.take_released()
    before = set(store.entries)
    assert store.admit(candidate("huge", 600 * KIB), 400.0) is Rejection.POLICY
    released = store.take_released()
    assert [each.value for each in released.rejected] == ["value of huge"]
    assert not released.entries
    assert set(store.entries) == before
    store.check_invariants()


def test_an_entry_that_is_due_is_not_found_even_if_nothing_has_swept() -> None:
    """The lookup removes it."""
    store = Store(ttl=10.0)
    store.admit(candidate("a"), 0.0)
    assert store.find("a", 10.0) is not None
    assert store.find("a", 20.5) is None
    assert store.counts.evictions[RemovalCause.EXPIRED] == 1
    store.check_invariants()
