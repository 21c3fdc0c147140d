"""The quarantine of versions with unreadable content."""

from __future__ import annotations

import logging
import sqlite3

import pytest
from sqlalchemy.exc import OperationalError

from dagcache.airflow.quarantine import Quarantine


def test_a_version_is_set_aside_for_as_long_as_was_said() -> None:
    """And may be tried again afterwards."""
    quarantine = Quarantine(60.0)
    assert not quarantine
    assert quarantine.takes("v1", ValueError("no JSON"), now=100.0)
    assert quarantine
    assert quarantine.holds("v1", now=159.9)
    assert not quarantine.holds("v1", now=160.0)
    assert not quarantine


def test_other_versions_are_not_set_aside() -> None:
    """One bad DAG is one bad DAG."""
    quarantine = Quarantine(60.0)
    quarantine.takes("v1", KeyError("dag"), now=100.0)
    assert not quarantine.holds("v2", now=100.0)


def test_none_is_set_aside_unless_it_is_wanted() -> None:
    """Then the error is Airflow's to handle."""
    quarantine = Quarantine(0.0)
    assert not quarantine.takes("v1", ValueError(), now=100.0)
    assert not quarantine


@pytest.mark.parametrize(
    "error",
    [OperationalError("select", None, Exception()), sqlite3.OperationalError(), ConnectionResetError(), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_database_sets_nothing_aside(error: Exception) -> None:
    """The next attempt may succeed at once."""
    quarantine = Quarantine(60.0)
    assert not quarantine.takes("v1", error, now=100.0)
    assert not quarantine


def test_what_was_set_aside_long_ago_is_forgotten() -> None:
    """The table holds no more versions than were corrupt lately."""
    quarantine = Quarantine(60.0)
    for number in range(1000):
        quarantine.takes(f"v{number}", ValueError(), now=float(number))
    assert len(quarantine._until) <= 60


def test_versions_and_lookups_in_quarantine_are_counted() -> None:
    """The gauge falls when a quarantine ends, without another lookup."""
    quarantine = Quarantine(60.0)
    quarantine.takes("v1", ValueError(), now=100.0)
    quarantine.takes("v2", ValueError(), now=130.0)
    quarantine.takes("v3", sqlite3.OperationalError(), now=130.0)
    quarantine.count_miss()
    assert (quarantine.taken, quarantine.missed) == (2, 1)
    assert [quarantine.held(now) for now in (100.0, 159.0, 160.0, 190.0)] == [2, 2, 1, 0]


def test_many_corrupt_versions_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred or so are named; the others are served as missing all the same."""
    quarantine = Quarantine(60.0)
    with caplog.at_level(logging.ERROR, "dagcache"):
        for number in range(10_000):
            assert quarantine.takes(f"v{number}", ValueError(), now=0.0)
    assert 100 < len(caplog.records) < 200


def test_the_log_names_the_version_and_nothing_of_its_content(caplog: pytest.LogCaptureFixture) -> None:
    """An error's text may quote what it could not read."""
    with caplog.at_level(logging.ERROR, "dagcache"):
        Quarantine(60.0).takes("v1", ValueError("invalid: the-password"), now=0.0)
    (record,) = caplog.records
    assert record.getMessage() == "DAG version v1 cannot be read (ValueError): served as missing for 60 s"
