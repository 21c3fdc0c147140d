"""When which entry is looked at for its idle time."""

from __future__ import annotations

from math import inf

import pytest

from dagcache.core.entry import Candidate, Entry
from dagcache.core.expiry import Deadlines


def make_entry(used: float) -> Entry:
    """An entry that was last used then."""
    entry = Entry(Candidate(key=object(), value=None, live_bytes=1), used)
    entry.used = used
    return entry


def watching(*entries: Entry, ttl: float = 10) -> Deadlines:
    """Deadlines of these entries."""
    deadlines = Deadlines(ttl)
    for entry in entries:
        deadlines.schedule(entry)
    return deadlines


def resident(_entry: Entry) -> bool:
    """Every entry is."""
    return True


def test_the_next_look_is_when_the_first_ttl_is_up() -> None:
    """In any order of arrival; never, without entries."""
    assert watching(make_entry(5), make_entry(3), make_entry(4)).next_due == 13
    assert watching().next_due == inf


def test_an_entry_expires_after_its_ttl_and_not_at_it() -> None:
    """Idle for longer than the TTL."""
    entry = make_entry(3)
    deadlines = watching(entry)
    assert not deadlines.expired(entry, 13)
    assert list(deadlines.due(13, resident, 9)) == []
    assert deadlines.expired(entry, 13.1)
    assert list(deadlines.due(13.1, resident, 9)) == [entry]
    assert len(deadlines) == 0
    assert deadlines.next_due == inf


def test_an_entry_that_was_used_meanwhile_is_looked_at_later() -> None:
    """Its look moves to the end of its new time."""
    entry = make_entry(3)
    deadlines = watching(entry)
    entry.used = 9
    assert list(deadlines.due(14, resident, 9)) == []
    assert deadlines.next_due == 19
    assert list(deadlines.due(19.1, resident, 9)) == [entry]


def test_an_entry_that_left_is_not_due() -> None:
    """It is forgotten when its time comes."""
    deadlines = watching(make_entry(3))
    assert list(deadlines.due(99, lambda _: False, 9)) == []
    assert len(deadlines) == 0


def test_no_more_are_looked_at_than_the_limit() -> None:
    """The rest stays due."""
    entries = [make_entry(used) for used in (1, 2, 3)]
    deadlines = watching(*entries)
    assert list(deadlines.due(99, resident, 2)) == entries[:2]
    assert deadlines.next_due == 13
    assert list(deadlines.due(99, resident, 2)) == entries[2:]


def test_without_a_ttl_nothing_is_watched() -> None:
    """0 turns it off, for new entries and when all are scheduled again."""
    entry = make_entry(3)
    deadlines = watching(entry, ttl=0)
    deadlines.rebuild([entry])
    assert not deadlines.expired(entry, 1e9)
    assert (len(deadlines), deadlines.next_due) == (0, inf)
    deadlines.check_invariants([entry])


def test_what_is_watched_in_vain_is_forgotten_once_it_is_much() -> None:
    """More than twice the residents and a few: then exactly the residents are watched."""
    entries = [make_entry(used) for used in range(70)]
    deadlines = watching(*entries)
    deadlines.drop_removed(entries[:3], 3)
    assert len(deadlines) == 70
    deadlines.drop_removed(entries[1:3], 2)
    assert len(deadlines) == 2
    assert deadlines.next_due == 11


def test_its_check_notices_a_resident_that_is_watched_too_late() -> None:
    """Or not at all, or a next look that is wrong."""
    entry, other = make_entry(3), make_entry(4)
    deadlines = watching(entry)
    deadlines.check_invariants([entry])
    with pytest.raises(AssertionError):
        deadlines.check_invariants([entry, other])
    deadlines.next_due = 99
    with pytest.raises(AssertionError):
        deadlines.check_invariants([entry])
    deadlines.next_due = 13
    entry.used = 2
    with pytest.raises(AssertionError):
        deadlines.check_invariants([entry])
