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

SLOW = (
    "tests/unit/airflow/test_quarantine.py::test_many_corrupt_versions_do_not_fill_the_log",
    "tests/unit/benchmarks/test_loop_benchmark.py::test_a_process_counts_its_collections_and_statements",
    "tests/unit/cli/test_advise.py",
    "tests/unit/cli/test_top.py::test_not_even_the_traceback_shows_it",
    "tests/unit/concurrency/test_lock.py::test_interrupts_leak_nothing",
    "tests/unit/core/test_interrupts.py",
    "tests/unit/core/test_mapping_protocol.py::TestLive::test_popitem",
    "tests/unit/database/test_loader.py::test_the_example_of_another_scheduler_runs",
    "tests/unit/freezing/test_pickle_freezer.py::test_plain_values_come_back",
    "tests/unit/freezing/test_set_order.py::test_any_history_leads_to_a_set_that_comes_back",
    "tests/unit/freezing/test_set_order.py::test_other_sets_iterate_as_before_or_are_refused",
    "tests/unit/metrics/test_collector.py::test_the_number_of_series_does_not_depend_on_the_keys",
    "tests/unit/metrics/test_many_dags.py",
    "tests/unit/reclaim/test_gc_freeze.py",
    "tests/unit/reclaim/test_gc_pause.py",
    "tests/unit/reclaim/test_holders.py",
    "tests/unit/reclaim/test_waiting_room.py",
    "tests/unit/sizing/test_estimate.py::test_the_total_holds_whether_or_not_the_features_tell_the_weight",
    "tests/unit/sizing/test_hidden_weights.py",
    "tests/unit/sizing/test_instance_weights.py",
    "tests/unit/sizing/test_sampled_walks.py",
    "tests/unit/sizing/test_walk.py::test_a_loaded_dag_weighs_what_the_allocators_handed_out",
    "tests/unit/sizing/test_walk.py::test_a_thawed_dag_weighs_what_the_allocators_handed_out",
    "tests/unit/sizing/test_walk.py::test_instances_weigh_what_the_allocators_handed_out",
    "tests/unit/test_pressure.py::test_whatever_happens_no_swing_is_faster_than_documented_and_81_percent_gives_all_back",
    "tests/unit/tools/test_mutants_runner.py::test_a_fault_is_noticed_if_a_test_fails_and_in_no_other_case",
    "tests/unit/tools/test_mutants_runner.py::test_a_run_changes_nothing_in_the_checkout",
    "tests/unit/tools/test_mutants_runner.py::test_the_tests_are_run_without_a_fault_too",
    "tests/unit/tools/test_scorecard.py::test_tests_are_run_in_a_process_of_their_own",
    "tests/unit/traces/test_replay.py::test_a_real_cache_makes_the_same_of_the_same_lookups",
)
"""The unit tests that `make quick` leaves out, by file or function: they take two thirds of the suite's time.

Here and not at the tests, so that the whole choice can be seen at once. A test compares the names with the files.
"""


def pytest_configure() -> None:
    """How long an example takes says nothing: on a busy machine, in a fresh checkout, Hypothesis is slow itself."""
    with suppress(ImportError):  # not installed beside every version of Airflow
        from hypothesis import HealthCheck, Phase, settings

        settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("unhurried")
        # For `--hypothesis-profile`: where it is enough that an example fails, the search for the smallest is a waste.
        settings.register_profile("unshrunk", settings(), phases=[Phase.explicit, Phase.generate])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest chooses by marker."""
    for item in items:
        function = item.nodeid.partition("[")[0]
        if function in SLOW or function.partition("::")[0] in SLOW:
            item.add_marker(pytest.mark.slow)


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
