"""Which versions the database is asked for, and together with which others."""

from __future__ import annotations

from uuid import UUID

from dagcache.airflow.confirmations import Confirmations

WINDOW = 30.0
KEYS = [UUID(int=number) for number in range(250)]


def confirmed(keys: list[UUID] = KEYS, since: float = 0.0, window: float = WINDOW) -> Confirmations:
    """All of these, with the same hash at the same time; all resident."""
    made = Confirmations(window)
    for key in keys:
        made.confirm(key, "hash", since, keys)
    return made


def test_a_confirmation_is_good_for_the_window() -> None:
    """And not an instant longer."""
    known = confirmed().get(KEYS[0])
    found = Confirmations(WINDOW)
    assert known is not None
    assert not found.is_due(known, WINDOW - 0.001)
    assert found.is_due(known, WINDOW)


def test_who_has_to_ask_asks_for_a_hundred_at_a_time() -> None:
    """One sweep over 250 due versions takes three statements."""
    confirmations = confirmed()
    statements = []
    for key in KEYS:
        known = confirmations.get(key)
        assert known is not None
        if confirmations.is_due(known, WINDOW):
            asked = confirmations.to_ask(key, WINDOW, KEYS)
            statements.append(len(asked))
            confirmations.renew(asked, dict.fromkeys(asked, "hash"), WINDOW)
    assert statements == [100, 100, 50]


def test_what_will_soon_be_due_is_asked_for_along() -> None:
    """From half of the window on."""
    confirmations = confirmed(KEYS[:2])
    confirmations.confirm(KEYS[2], "hash", WINDOW / 2, KEYS)
    confirmations.confirm(KEYS[3], "hash", WINDOW / 2 + 0.001, KEYS)
    assert list(confirmations.to_ask(KEYS[1], WINDOW, KEYS)) == [KEYS[1], KEYS[0], KEYS[2]]


def test_what_is_no_longer_resident_is_not_asked_for() -> None:
    """It will be read whole, if ever."""
    assert list(confirmed(KEYS[:4]).to_ask(KEYS[0], WINDOW, KEYS[2:])) == [KEYS[0], KEYS[2], KEYS[3]]


def test_a_rewritten_neighbour_stays_due() -> None:
    """Its own lookup has to find out, and to read it; so has one of which the row is gone."""
    confirmations = confirmed(KEYS[:3])
    asked = confirmations.to_ask(KEYS[0], WINDOW, KEYS)
    confirmations.renew(asked, {KEYS[0]: "hash", KEYS[1]: "another"}, WINDOW)
    due = [key for key in KEYS[:3] if (known := confirmations.get(key)) and confirmations.is_due(known, WINDOW)]
    assert due == [KEYS[1], KEYS[2]]


def test_what_another_thread_has_found_meanwhile_is_not_overwritten() -> None:
    """A late answer is older than the findings noted since."""
    confirmations = confirmed(KEYS[:2])
    asked = confirmations.to_ask(KEYS[0], WINDOW, KEYS)
    confirmations.confirm(KEYS[1], "newer", WINDOW + 1, KEYS)
    confirmations.renew(asked, dict.fromkeys(asked, "hash"), WINDOW)
    assert confirmations.get(KEYS[1]) == ("newer", WINDOW + 1)


def test_what_was_forgotten_meanwhile_stays_forgotten() -> None:
    """Nothing is confirmed that is not known."""
    confirmations = confirmed(KEYS[:2])
    asked = confirmations.to_ask(KEYS[0], WINDOW, KEYS)
    assert confirmations.retract(KEYS[1], confirmations.get(KEYS[1]))
    confirmations.renew(asked, dict.fromkeys(asked, "hash"), WINDOW)
    assert confirmations.get(KEYS[1]) is None


def test_a_view_that_began_earlier_confirms_nothing_later() -> None:
    """Its findings are valid as of its beginning, and never replace newer ones."""
    confirmations = confirmed(KEYS[:2], since=10.0)
    asked = confirmations.to_ask(KEYS[0], 40.0, KEYS)
    confirmations.renew(asked, dict.fromkeys(asked, "hash"), 9.0)
    assert confirmations.get(KEYS[0]) == ("hash", 10.0)
    confirmations.renew(asked, dict.fromkeys(asked, "hash"), 11.0)
    assert confirmations.get(KEYS[0]) == ("hash", 11.0)
    assert not confirmations.confirm(KEYS[0], "older", 10.5, KEYS)
    assert confirmations.confirm(KEYS[0], "hash", 10.5, KEYS)
    assert confirmations.get(KEYS[0]) == ("hash", 11.0)


def test_only_what_was_known_is_retracted() -> None:
    """Of several threads that find a version rewritten, one retracts it, and none what has been found since."""
    confirmations = confirmed(KEYS[:1])
    known = confirmations.get(KEYS[0])
    assert confirmations.retract(KEYS[0], known)
    assert not confirmations.retract(KEYS[0], known)
    assert confirmations.confirm(KEYS[0], "newer", 1.0, KEYS)
    assert not confirmations.retract(KEYS[0], known)
    assert confirmations.get(KEYS[0]) == ("newer", 1.0)


def test_a_view_is_fresh_for_half_of_the_window() -> None:
    """An older one would confirm others that are due again at once."""
    assert confirmed().is_fresh(0.0, WINDOW / 2 - 0.001)
    assert not confirmed().is_fresh(0.0, WINDOW / 2)
    assert not confirmed().is_fresh(float("-inf"), 0.0)


def test_without_a_window_each_version_is_asked_for_alone() -> None:
    """An answer for another would be out of date before it is used."""
    assert list(confirmed(window=0.0).to_ask(KEYS[0], 1.0, KEYS)) == [KEYS[0]]


def test_others_are_looked_for_a_few_times_in_a_window_only() -> None:
    """It means looking through all: not for each of many that become due one by one."""
    confirmations = confirmed(KEYS[:2])
    confirmations.confirm(KEYS[2], "hash", 16.0, KEYS)
    assert len(confirmations.to_ask(KEYS[0], WINDOW, KEYS)) == 2
    assert len(confirmations.to_ask(KEYS[0], WINDOW + 3.0, KEYS)) == 1
    assert len(confirmations.to_ask(KEYS[0], WINDOW + 3.75, KEYS)) == 3


def test_what_is_gone_is_forgotten_in_the_end() -> None:
    """Else a process would keep a note of every version it has ever served."""
    confirmations = Confirmations(WINDOW)
    for number in range(10_000):
        confirmations.confirm(UUID(int=number), "hash", 0.0, KEYS[:1])
    assert len(confirmations) <= 67
    assert confirmations.get(UUID(int=9_999)) is not None
