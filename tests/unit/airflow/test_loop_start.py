"""The start of the scheduler's loop, and the fork of its executor before it."""

from __future__ import annotations

from typing import Any

import pytest

from dagcache.airflow import fault_endpoint, loop_start
from dagcache.airflow.reporting_bag import reporting


def runner_class() -> Any:
    """A class with the names of a scheduler's that are used."""

    class Runner:
        """As `SchedulerJobRunner`."""

        def __init__(self, bag: Any) -> None:
            self.scheduler_dag_bag = bag

        def _run_scheduler_loop(self, number: int) -> int:
            """The loop."""
            return number + 1

    return Runner


def test_the_loop_starts_what_the_bag_has_to_start_and_runs() -> None:
    """Once, however often it is asked for."""
    runner, started = runner_class(), []

    class Bag:
        def at_loop_start(self) -> None:
            started.append(self)

    assert loop_start.watch(runner)
    assert loop_start.watch(runner)
    bag = Bag()
    assert runner(bag)._run_scheduler_loop(1) == 2
    assert started == [bag]
    assert runner._run_scheduler_loop.__doc__ == "The loop."


class Failing:
    """A bag whose start fails."""

    def at_loop_start(self) -> None:
        """Fail."""
        raise OSError("no space left")


@pytest.mark.parametrize("bag", [object(), Failing()], ids=["stock", "a fault of our own"])
def test_no_bag_stops_the_loop(bag: Any) -> None:
    runner = runner_class()
    assert loop_start.watch(runner)
    assert runner(bag)._run_scheduler_loop(number=1) == 2


class Other:
    """Without a loop of that name."""

    _run_scheduler_loop = None


@pytest.mark.parametrize("runner", [None, object, Other])
def test_without_a_loop_of_that_name_nothing_waits_for_it(runner: Any) -> None:
    """The threads then start where the bag is built."""
    assert not loop_start.watch(runner)


@pytest.mark.parametrize("later", [False, True])
def test_a_fault_is_exported_with_the_bag_or_with_the_loop(later: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its endpoint has threads as well."""
    exported: list[tuple[str, str]] = []
    monkeypatch.setattr(fault_endpoint, "export", lambda *place: exported.append(place))

    class Bag:
        pass

    bag: Any = reporting(Bag, "scheduler", "setting", later=later)()
    assert bool(exported) != later
    if later:
        bag.at_loop_start()
    assert exported == [("scheduler", "setting")]
