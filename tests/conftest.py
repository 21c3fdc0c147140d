"""Fixtures of several test modules."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dagcache import log_limits
from tests.support.databases import Database

if TYPE_CHECKING:
    from dagcache.database.loader import SerializedDagLoader

_PATIENCE = 30.0
"""Seconds that a thread gets to end after the test that started it."""


def pytest_configure() -> None:
    """How long an example takes says nothing: on a busy machine, in a fresh checkout, Hypothesis is slow itself."""
    with suppress(ImportError):  # not installed beside every version of Airflow
        from hypothesis import HealthCheck, settings

        settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test() -> Iterator[None]:
    """One that did would make garbage, and take time, in the tests that come after: they count both."""
    before = set(threading.enumerate())
    yield
    if left := set(threading.enumerate()) - before:
        gc.collect()  # some end with what they work for
        for thread in left:
            thread.join(_PATIENCE)
    assert not {thread.name for thread in left if thread.is_alive()}


@pytest.fixture(autouse=True)
def _every_failure_is_a_first_one() -> None:
    """What an earlier test has had written is not left out of a later one's log."""
    log_limits._process.forget()


@pytest.fixture
def quiet() -> Iterator[None]:
    """Injected failures are logged with tracebacks, by design: not where a module asks for this."""
    logger = logging.getLogger("dagcache")
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Empty, with Airflow's tables."""
    return Database(tmp_path / "airflow.db")


@pytest.fixture
def loader(database: Database) -> Iterator[SerializedDagLoader]:
    """Of that database."""
    from dagcache.database.loader import SerializedDagLoader  # here: not every test needs SQLAlchemy

    with SerializedDagLoader(database.url) as made:
        yield made


@pytest.fixture(scope="module")
def only_our_objects() -> Iterator[None]:
    """Collections look at what the tests of a module make, and are quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed in a test is not freed by the collector; and what is left over, it finds in the end."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
