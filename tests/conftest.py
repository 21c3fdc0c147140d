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
from dagcache.reclaim import gc_lap
from tests.support.databases import Database
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from dagcache.database.loader import SerializedDagLoader


UNTRACED = (
    "tests/unit/airflow/test_quarantine.py::test_many_corrupt_versions_do_not_fill_the_log",
    "tests/unit/concurrency/test_lock.py::test_interrupts_leak_nothing",
    "tests/unit/core/test_interrupts.py",
    "tests/unit/core/test_mapping_protocol.py::TestLive::test_popitem",
    "tests/unit/metrics/test_collector.py::test_the_number_of_series_does_not_depend_on_the_keys",
    "tests/unit/metrics/test_many_dags.py",
    "tests/unit/reclaim/test_gc_pause.py",
    "tests/unit/reclaim/test_holders.py",
    "tests/unit/reclaim/test_waiting_room.py",
    "tests/unit/sizing/test_estimate.py::test_the_total_holds_whether_or_not_the_features_tell_the_weight",
    "tests/unit/sizing/test_hidden_weights.py",
    "tests/unit/sizing/test_instance_weights.py",
    "tests/unit/sizing/test_sampled_walks.py",
    "tests/unit/tools/test_mutants_runner.py::test_a_fault_is_noticed_if_a_test_fails_and_in_no_other_case",
    "tests/unit/tools/test_mutants_runner.py::test_a_run_changes_nothing_in_the_checkout",
    "tests/unit/tools/test_mutants_runner.py::test_the_tests_are_run_without_a_fault_too",
    "tests/unit/tools/test_scorecard.py::test_tests_are_run_in_a_process_of_their_own",
    "tests/unit/traces/test_replay.py::test_a_real_cache_makes_the_same_of_the_same_lookups",
)
"""Those of `SLOW` that `make check` runs without coverage, which doubles their time and more. Other tests reach the
same lines."""

SLOW = (
    *UNTRACED,
    "tests/unit/benchmarks/test_loop_benchmark.py::test_a_process_counts_its_collections_and_statements",
    "tests/unit/cli/test_advise.py",
    "tests/unit/cli/test_top.py::test_not_even_the_traceback_shows_it",
    "tests/unit/examples/test_other_scheduler.py::test_the_example_of_another_scheduler_runs",
    "tests/unit/freezing/test_pickle_freezer.py::test_plain_values_come_back",
    "tests/unit/freezing/test_set_order.py::test_any_history_leads_to_a_set_that_comes_back",
    "tests/unit/freezing/test_set_order.py::test_other_sets_iterate_as_before_or_are_refused",
    "tests/unit/reclaim/test_gc_freeze.py",
    "tests/unit/sizing/test_walk.py::test_a_loaded_dag_weighs_what_the_allocators_handed_out",
    "tests/unit/sizing/test_walk.py::test_a_thawed_dag_weighs_what_the_allocators_handed_out",
    "tests/unit/sizing/test_walk.py::test_instances_weigh_what_the_allocators_handed_out",
    "tests/unit/test_pressure.py::test_whatever_happens_no_swing_is_faster_than_documented_and_81_percent_gives_all_back",
)
"""The unit tests that `make quick` and `make pythons` leave out, by file or function: two thirds of the suite's time.
`make pythons` runs those of `WEIGHTS` none the less.

Here and not at the tests, so that the whole choice can be seen at once. A test compares the names with the files.
"""

WEIGHTS = (
    "tests/unit/sizing/test_hidden_weights.py",
    "tests/unit/sizing/test_instance_weights.py",
    "tests/unit/sizing/test_sampled_walks.py",
    "tests/unit/sizing/test_walk.py::test_a_loaded_dag_weighs_what_the_allocators_handed_out",
    "tests/unit/sizing/test_walk.py::test_a_thawed_dag_weighs_what_the_allocators_handed_out",
    "tests/unit/sizing/test_walk.py::test_instances_weigh_what_the_allocators_handed_out",
)
"""Those of `SLOW` that depend on the layouts of a version of Python."""

LATER = (
    "tests/unit/advice/test_advice.py::test_a_report_says_what_is_in_use_and_what_to_set",
    "tests/unit/advice/test_advice.py::test_versions_that_were_sampled_before_there_was_a_dictionary_are_measured_again",
    "tests/unit/airflow/test_warm.py::test_switched_off_it_costs_no_import_no_thread_and_no_file",
    "tests/unit/benchmarks/test_recorded_traces.py",
    "tests/unit/cli/test_command_line.py::test_a_descendant_in_a_session_of_its_own_that_ignores_sigterm_is_ended",
    "tests/unit/cli/test_command_line.py::test_a_home_is_built_by_a_process_that_reports_its_steps",
    "tests/unit/cli/test_command_line.py::test_the_module_is_the_command",
    "tests/unit/cli/test_command_line.py::test_what_was_started_ends_when_the_command_is_killed",
    "tests/unit/cli/test_commands.py::test_a_reader_that_goes_away_ends_a_command_without_a_traceback",
    "tests/unit/cli/test_commands.py::test_the_package_runs_as_the_command",
    "tests/unit/cli/test_doctor.py::test_patience_ends",
    "tests/unit/cli/test_doctor.py::test_ports_are_free_or_taken_by_whom",
    "tests/unit/cli/test_doctor.py::test_without_airflow_it_says_so_and_goes_on",
    "tests/unit/cli/test_full_screen.py::test_a_signal_gives_the_terminal_back",
    "tests/unit/cli/test_full_screen.py::test_ctrl_z_shows_the_shells_screen_and_q_ends_the_view",
    "tests/unit/cli/test_replay.py::test_the_command_works_on_its_own",
    "tests/unit/cli/test_run.py::test_a_run_shows_the_cache_and_the_comparison_and_ends_in_time",
    "tests/unit/cli/test_run.py::test_a_run_that_ends_before_the_comparison_shows_its_progress",
    "tests/unit/cli/test_run.py::test_metrics_that_are_not_of_a_scheduler_are_not_its_cache",
    "tests/unit/cli/test_run.py::test_the_comparison_waits_for_a_success_or_twenty_seconds",
    "tests/unit/cli/test_top.py::test_a_reader_that_has_seen_enough_ends_the_view",
    "tests/unit/cli/test_top.py::test_no_change_of_one_line_ends_the_view_and_the_others_are_shown",
    "tests/unit/cli/test_top.py::test_one_that_never_finishes_its_answer_does_not_hold_the_others_up",
    "tests/unit/cli/test_top.py::test_the_command_needs_neither_airflow_nor_rich_for_one_picture",
    "tests/unit/cli/test_warm.py::test_airflow_is_not_imported",
    "tests/unit/concurrency/test_time_limit.py::test_calls_that_hang_do_not_hold_the_others_up",
    "tests/unit/core/test_private_copies.py::test_no_change_of_a_private_copy_is_ever_seen_by_another_caller",
    "tests/unit/core/test_reentry.py::test_exceptions_thrown_into_a_thread_leave_no_lock_and_no_flight_behind",
    "tests/unit/core/test_reweighing.py::TestGrowing::runTest",
    "tests/unit/core/test_thawed_weights.py::test_one_thaw_in_eight_is_estimated_again",
    "tests/unit/database/warm/test_attacks.py::test_a_flipped_bit_anywhere_in_a_record_costs_this_record",
    "tests/unit/database/warm/test_cleaning.py",
    "tests/unit/database/warm/test_failures.py",
    "tests/unit/database/warm/test_store.py::TestStores::runTest",
    "tests/unit/freezing/test_hubs.py::test_a_group_comes_back_whatever_its_state_consists_of",
    "tests/unit/freezing/test_hubs.py::test_a_group_that_is_made_by_a_call_is_entered_from_its_neighbours",
    "tests/unit/freezing/test_hubs.py::test_groups_freeze_however_deep_they_are",
    "tests/unit/freezing/test_hubs.py::test_hubs_may_include_the_value_and_shared_objects_and_name_a_part_twice",
    "tests/unit/freezing/test_hubs.py::test_sets_in_deep_values_keep_their_order",
    "tests/unit/freezing/test_hubs.py::test_the_rule_over_classes_holds_for_hubs",
    "tests/unit/metrics/test_server.py::test_a_crowd_of_slow_clients_does_not_keep_a_scrape_from_its_answer",
    "tests/unit/reclaim/test_breaker.py::test_any_graph_is_judged_as_the_collector_would",
    "tests/unit/sizing/test_walk.py::test_a_graph_that_another_thread_changes_is_still_weighed",
    "tests/unit/sizing/test_walk.py::test_depth_is_no_problem",
    "tests/unit/sizing/test_walk_stdlib.py::test_an_instance_of_any_class_is_weighed",
    "tests/unit/test_errors.py::test_a_config_error_of_a_worker_process_reaches_its_parent",
    "tests/unit/test_pressure.py::test_days_of_peaks_cost_few_wrong_steps",
    "tests/unit/test_random_settings.py::test_a_flipped_bit_of_a_frozen_copy_is_a_miss",
    "tests/unit/traces/test_recording.py::test_a_killed_process_leaves_a_trace_that_can_be_read",
    "tests/unit/traces/test_replay.py::test_values_that_callers_hold_take_room_as_in_a_cache",
    "tests/unit/typing/test_typing.py::test_each_mistake_is_an_error",
    "tests/unit/typing/test_typing.py::test_typical_code_has_the_types_that_one_expects",
    "tests/unit/warm_start/test_attacks.py::test_a_flipped_bit_anywhere_costs_at_most_one_record",
    "tests/unit/warm_start/test_attacks.py::test_the_records_before_and_behind_any_cut_are_served",
    "tests/unit/warm_start/test_compaction.py::test_two_processes_that_start_at_the_same_time_both_have_everything",
    "tests/unit/warm_start/test_disk.py::TestStores::runTest",
    "tests/unit/warm_start/test_failures.py::test_a_writer_that_is_killed_in_the_middle_of_a_record_loses_no_other",
)
"""The unit tests that only `make quick` leaves out: each takes a third of a second and more, or waits as long."""

_MARKERS = (
    (SLOW, pytest.mark.slow),
    (WEIGHTS, pytest.mark.weights),
    (LATER, pytest.mark.later),
    (UNTRACED, pytest.mark.untraced),
)

with suppress(ImportError):  # not installed beside every version of Airflow
    from hypothesis import HealthCheck, Phase, settings

    # The time of an example is no sign of a fault: on a busy machine, in a fresh checkout, Hypothesis itself is slow.
    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    # For `tools.mutants`, where it is enough that an example fails: no search for the smallest.
    unhurried = settings.get_profile("unhurried")
    settings.register_profile("unshrunk", unhurried, phases=[Phase.explicit, Phase.generate])
    settings.register_profile("quick", settings.get_profile("unhurried"), max_examples=20)


def pytest_configure(config: pytest.Config) -> None:
    """The profile of Hypothesis, unless the command line names one: `make quick` does."""
    with suppress(ImportError):
        from hypothesis import settings

        if not config.getoption("--hypothesis-profile", None):
            settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest chooses by marker."""
    for item in items:
        function = item.nodeid.partition("[")[0]
        for names, marker in _MARKERS:
            if function in names or function.partition("::")[0] in names:
                item.add_marker(marker)


@pytest.fixture(autouse=True)
def _no_thread_outlives_its_test() -> Iterator[None]:
    """One that did would make garbage, and take time, in the tests that come after: they count both."""
    before = set(threading.enumerate())
    yield
    if left := set(threading.enumerate()) - before:
        gc.collect()  # some end with their owner
        for thread in left:
            thread.join(PATIENCE)
    assert not {thread.name for thread in left if thread.is_alive()}


@pytest.fixture(autouse=True)
def _every_failure_is_a_first_one() -> None:
    """Forget the log lines of earlier tests, so that a later one has its own."""
    log_limits._process.forget()


@pytest.fixture(autouse=True)
def _no_lap_outlives_its_test() -> Iterator[None]:
    """Loads of one test must not make collections rare in the next one."""
    yield
    gc_lap.forbid_laps()


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
    """Keep collections fast: they visit only the objects of a module's tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keep the collector off during a test; it frees the remaining objects afterwards."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    """Restore the level of the root logger: a test may import Airflow, which sets it to INFO for all later tests."""
    before = logging.root.level
    yield
    logging.root.setLevel(before)
