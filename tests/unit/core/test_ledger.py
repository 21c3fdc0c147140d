"""The ledger of a store: bytes by tier, and the budget."""

from __future__ import annotations

import pytest

from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD, Candidate, Entry, FrozenCopy, LiveCopy
from dagcache.core.ledger import HELD_PART, UNLIMITED, Ledger

KIB = 1024


def entry(live: int = 0, frozen: int = 0) -> Entry:
    """An entry with a copy of that many bytes in each tier; 0 = none."""
    made = Entry(Candidate(key="a", value=None, live_bytes=live), 0.0)
    if frozen:
        made.frozen = FrozenCopy(made, bytes(frozen), 1.0)
    if live:
        made.live = LiveCopy(made, None, live, 1.0, None)
    return made


@pytest.mark.parametrize(("live", "frozen"), [(100, 0), (0, 10), (100, 10)])
def test_an_entry_that_enters_and_leaves_changes_nothing(live: int, frozen: int) -> None:
    """In between, its bytes are those of its copies and their overhead."""
    ledger, one = Ledger(KIB * KIB, enforce=True), entry(live, frozen)
    ledger.enter(one)
    ledger.check_invariants([one])
    assert (ledger.live_bytes, ledger.frozen_bytes) == (live, frozen)
    assert ledger.used == live + frozen + ENTRY_OVERHEAD + (LIVE_OVERHEAD if live else 0)
    ledger.leave(one)
    ledger.check_invariants([])
    assert ledger.used == 0


def test_a_demotion_moves_no_byte_of_the_frozen_tier() -> None:
    """The frozen copy is there already."""
    ledger, one = Ledger(KIB * KIB, enforce=True), entry(100, 10)
    ledger.enter(one)
    before = ledger.frozen_tier_bytes
    ledger.leave(one)
    one.live = None
    ledger.enter(one)
    ledger.check_invariants([one])
    assert (ledger.live_bytes, ledger.frozen_tier_bytes) == (0, before)


def test_its_check_notices_bytes_that_changed_elsewhere() -> None:
    """Each total is recomputed from the entries."""
    for total in ("live_bytes", "frozen_bytes", "overhead_bytes", "used", "frozen_tier_bytes", "serialized_bytes"):
        ledger, one = Ledger(0, enforce=True), entry(100, 10)
        ledger.enter(one)
        setattr(ledger, total, getattr(ledger, total) + 1)
        with pytest.raises(AssertionError):
            ledger.check_invariants([one])
        ledger.rebuild([one])
        ledger.check_invariants([one])


def test_held_bytes_take_at_most_their_part_of_the_budget() -> None:
    """More of them would leave nothing to the residents."""
    ledger = Ledger(1000, enforce=True)
    ledger.note_held(100)
    assert ledger.limit == 900
    ledger.note_held(10_000)
    assert ledger.limit == 1000 - 1000 // HELD_PART


def test_bytes_that_are_no_longer_held_come_back_slowly() -> None:
    """About half within 1,400 looks."""
    ledger = Ledger(4 * KIB * KIB, enforce=True)
    ledger.note_held(KIB * KIB)
    for _ in range(1_420):
        ledger.note_held(0)
    assert 0.4 * KIB * KIB < ledger.held < 0.6 * KIB * KIB


def test_bytes_beyond_that_part_do_not_exceed_the_budget() -> None:
    """Evictions would not free them."""
    ledger = Ledger(KIB * KIB, enforce=True)
    ledger.enter(entry(KIB * KIB // 2))
    assert not ledger.exceeds(10 * KIB * KIB)
    ledger.enter(entry(KIB * KIB // 3))
    assert ledger.exceeds(10 * KIB * KIB)


def test_bytes_that_are_about_to_be_freed_and_absences_count() -> None:
    """Both are in memory."""
    ledger = Ledger(KIB * KIB, enforce=True)
    ledger.enter(entry(KIB * KIB // 2))
    assert not ledger.exceeds(0, due=KIB * KIB // 4)
    assert ledger.exceeds(0, due=KIB * KIB // 2 + 1)
    ledger.absence_bytes = KIB * KIB // 2 + 1
    assert ledger.exceeds(0)


@pytest.mark.parametrize("held", [1, 1000, 5000])
def test_all_bytes_that_are_no_longer_held_come_back_in_the_end(held: int) -> None:
    """Down to the last byte, where a part of the rest is less than one."""
    ledger = Ledger(4 * KIB * KIB, enforce=True)
    ledger.note_held(held)
    for _ in range(held):
        ledger.note_held(0)
    assert ledger.held == 0
    assert ledger.limit == ledger.enforced_budget


@pytest.mark.parametrize(("budget", "enforce"), [(0, True), (1000, False)])
def test_without_a_budget_in_force_nothing_exceeds_it(budget: int, enforce: bool) -> None:
    """Unbounded, or only observing."""
    ledger = Ledger(budget, enforce=enforce)
    ledger.enter(entry(100_000))
    assert not ledger.exceeds(10**9)
    assert ledger.limit == UNLIMITED
