"""Parts that a component starts beside its cache: one that fails or hangs affects no other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dagcache.airflow import component as module
from dagcache.airflow.component import Component
from dagcache.airflow.settings import read_settings
from dagcache.demo.playground import free_ports
from dagcache.metrics.scrape import scrape
from dagcache.traces import recording
from tests.in_airflow.support import install_anew, scheduler_bag
from tests.support.patience import PATIENCE

PARTS = ("MemoryPressure", "MetricsEndpoint", "HeapFreeze", "record", "memory_limit", "AttributionServer.start")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Component]]:
    """Builds and starts a component with everything that there is; closed afterwards."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    texts: dict[str, str] = {
        "max_bytes": "25%",
        "metrics_host": "127.0.0.1",
        "metrics_port": str(free_ports(1)[0]),
        "trace": str(tmp_path / "traces"),
        "gc_freeze": "True",
    }
    made: list[Component] = []

    def start() -> Component:
        settings = read_settings(texts.get, "scheduler")
        component = Component(settings, home=tmp_path, serves=True)
        made.append(component)
        component.start()
        return component

    yield start
    for component in made:
        component.close()


def running(component: Component) -> dict[str, bool]:
    """Which parts have been started."""
    return {
        "MemoryPressure": component.pressure is not None,
        "MetricsEndpoint": component.exposition is not None and component.exposition.port is not None,
        "HeapFreeze": component._heap is not None,
        "record": component.recording is not None,
        "AttributionServer.start": component.attribution.path is not None,
    }


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_fails_does_not_take_the_others_along(
    part: str,
    make: Callable[[], Component],
    monkeypatch: pytest.MonkeyPatch,
    complaints: list[logging.LogRecord],
) -> None:
    """One line names it; the cache serves."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("of our own")

    monkeypatch.setattr(f"dagcache.airflow.component.{part}", fail)
    component = make()
    assert running(component) == {name: name != part for name in running(component)}
    assert component.cache.stats().misses == 0
    assert len(complaints) == 1


def test_a_directory_for_traces_that_hangs_does_not_hang_the_component(
    make: Callable[[], Component], monkeypatch: pytest.MonkeyPatch, complaints: list[logging.LogRecord]
) -> None:
    """Recording begins when it answers."""
    answers, began = threading.Event(), threading.Event()
    new_file_in, record = recording.new_file_in, recording.record

    def hang(*arguments: Any) -> Path:
        answers.wait()
        return new_file_in(*arguments)

    def begin(*arguments: Any, **options: Any) -> Any:
        began.set()
        return record(*arguments, **options)

    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    monkeypatch.setattr(module, "new_file_in", hang)
    monkeypatch.setattr(module, "record", begin)
    component = make()
    assert running(component) == {**dict.fromkeys(running(component), True), "record": False}
    assert ["does not respond" in line.getMessage() for line in complaints] == [True]
    answers.set()
    assert began.wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "dagcache-trace-file":
            thread.join(PATIENCE)
    assert component.recording is not None
    assert component.exposition is not None
    told = scrape(f"http://127.0.0.1:{component.exposition.port}/metrics", timeout=PATIENCE)
    assert told.value("dagcache_max_bytes") == component.cache.max_bytes


def test_a_log_that_fails_does_not_fail_a_component(make: Callable[[], Component]) -> None:
    """A handler of the host's that raises: neither at the start nor on the way to the hook."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("no space left")

    logger = logging.getLogger("dagcache")
    level, handler = logger.level, Failing()
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        assert all(running(make()).values())
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_a_number_of_workers_that_is_none_does_not_turn_the_cache_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow refuses it by itself, unless its command line has another."""
    monkeypatch.setenv("AIRFLOW__API__WORKERS", "many")
    monkeypatch.setattr("sys.argv", ["airflow", "api-server", "--workers", "3"])
    install_anew("api_server", monkeypatch, memory_limit="4GiB", max_bytes="25%")
    from tests.in_airflow.support import api_bag

    bag = api_bag()
    assert bag.dagcache.config.workers == 3
    bag._component.close()


def test_without_a_word_a_scheduler_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line says nothing of the API server's workers."""
    monkeypatch.setattr("sys.argv", ["airflow", "api-server", "--workers", "3"])
    install_anew("scheduler", monkeypatch)
    bag = scheduler_bag()
    assert bag.dagcache.config.workers == 1
    bag._component.close()
