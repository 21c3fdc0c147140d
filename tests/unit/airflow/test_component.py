"""The parts beside a component's cache: their start by settings, their failures, and forks."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from dagcache.airflow import component as module
from dagcache.airflow import graphs, warm_key
from dagcache.airflow.component import Component
from dagcache.airflow.settings import read_settings
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.inspection.client import ask
from dagcache.metrics.definitions import WARM_ERRORS
from dagcache.metrics.ports import parse_ports
from dagcache.metrics.scrape import scrape
from dagcache.sizing.memory import MemoryLimit
from dagcache.warm_start.counts import ERRORS
from dagcache.warm_start.disk import DiskStore
from tests.support.patience import PATIENCE
from tests.support.warm import filled, key_of, record_of

OFF = {"metrics_port": "0", "attribution": "False", "airflow_metrics": "0"}

Make = Callable[..., Component]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """AIRFLOW_HOME, with a short name: the path of a socket has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="com", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(path))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a component with these settings, which is closed afterwards; without settings it starts nothing."""
    monkeypatch.setattr(graphs, "freezer", lambda allowed=None: (PickleFreezer(allowed=allowed), []))
    made: list[Component] = []

    def make(*, serves: bool = True, workers: int = 1, **texts: str) -> Component:
        texts = {**OFF, "max_bytes": "1MiB", "mode": "observe", **texts}
        settings = read_settings(texts.get, "scheduler", workers)
        made.append(Component(settings, home=folder, serves=serves))
        return made[-1]

    yield make
    for component in made:
        component.close()


def free_port() -> str:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def parts(component: Component) -> set[str]:
    """The parts that run."""
    found = {
        "pressure": component.pressure,
        "metrics": component.exposition,
        "heap": component._heap,
        "recording": component.recording,
        "usage": component.attribution.path,
    }
    return {name for name, part in found.items() if part is not None}


def test_settings_that_start_nothing_leave_the_cache_alone(make: Make) -> None:
    """No thread, no socket, no file."""
    component = make()
    component.start()
    assert parts(component) == set()
    component.cache.check_invariants()


@pytest.mark.parametrize(
    ("texts", "started"),
    [
        ({"mode": "enforce"}, "pressure"),
        ({"attribution": "True"}, "usage"),
        ({"gc_freeze": "True"}, "heap"),
    ],
)
def test_a_setting_starts_its_part_only(make: Make, texts: dict[str, str], started: str) -> None:
    """The others are off."""
    component = make(**texts)
    component.start()
    assert parts(component) == {started}


def test_the_usage_socket_answers_with_the_components_name(make: Make) -> None:
    """So that `dagcache top --dags` can show it."""
    component = make(attribution="True")
    component.start()
    assert component.attribution.path is not None
    assert ask(component.attribution.path)["component"] == "scheduler"


def test_a_process_that_does_not_serve_has_no_endpoint_and_no_socket(make: Make) -> None:
    """As a triggerer with the API server's bag."""
    component = make(serves=False, attribution="True", metrics_port=free_port(), metrics_host="127.0.0.1")
    component.start()
    assert parts(component) == set()


def test_lookups_are_recorded_into_the_directory_of_the_setting(make: Make, folder: Path) -> None:
    """One file per process."""
    component = make(trace=str(folder / "traces"), trace_ids="plain")
    component.start()
    assert component.recording is not None
    component.cache["etl"] = ["task"]  # type: ignore[index]
    assert component.cache.get("etl") == ["task"]  # type: ignore[call-overload]
    component.close()
    [path] = (folder / "traces").iterdir()
    assert path == component.recording.path
    assert path.name.startswith("scheduler-")
    with path.open() as lines:
        assert any("etl" in line for line in lines)


def test_a_directory_that_cannot_be_written_to_is_one_warning(
    make: Make, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the reason; the cache serves."""
    (folder / "file").touch()
    component = make(trace=str(folder / "file"))
    component.start()
    assert component.recording is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"trace recording in {folder / 'file'} is unavailable: " in caplog.text


def test_a_directory_that_does_not_respond_delays_recording_only(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Recording starts when the directory responds."""
    responds = threading.Event()
    new_file_in = vars(module)["new_file_in"]

    def wait(*arguments: Any) -> Path:
        assert responds.wait(PATIENCE)
        return Path(new_file_in(*arguments))

    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    monkeypatch.setattr(module, "new_file_in", wait)
    component = make(trace=str(folder / "traces"))
    component.start()
    assert component.recording is None
    assert "trace recording is delayed: directory" in caplog.text
    responds.set()
    for thread in threading.enumerate():
        if thread.name == "dagcache-trace-file":
            thread.join(PATIENCE)
    assert component.recording is not None


def test_a_part_that_fails_is_one_line_and_the_others_start(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the part."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(module, "MemoryPressure", fail)
    component = make(mode="enforce", attribution="True")
    component.start()
    assert parts(component) == {"usage"}
    assert "dagcache serves the scheduler without the memory pressure watch" in caplog.text


def test_starting_twice_starts_once(make: Make) -> None:
    """Also from a thread that waited for the first start."""
    component = make(attribution="True")
    component.start()
    path = component.attribution.path
    component.start()
    component._start_once()
    assert component.attribution.path == path


def test_a_load_starts_the_parts_of_its_process(make: Make) -> None:
    """A bag may be used in another process than the one that built it."""
    component = make(attribution="True", gc_freeze="True")
    component.loaded()
    assert parts(component) == {"usage", "heap"}
    component.loaded()


def test_a_forked_child_has_no_part_until_its_first_load(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor's children inherit the bag and do not use it."""
    component = make(mode="enforce", gc_freeze="True")
    component.start()
    pressure = component.pressure
    assert pressure is not None
    component._after_fork_in_child()
    assert parts(component) == set()
    pressure.stop()
    monkeypatch.setattr(os, "getpid", lambda: component._pid + 1)
    component.loaded()
    assert parts(component) == {"pressure", "heap"}


@pytest.mark.parametrize(
    ("texts", "workers", "line"),
    [
        ({"max_bytes": "1MiB"}, 1, "max_bytes = 1.0 MiB, ttl = 60 s, observe"),
        ({"max_bytes": "0"}, 1, "max_bytes = unbounded, ttl = 60 s"),
        ({"max_bytes": "25%", "memory_limit": "4GiB"}, 1, "(25% of memory_limit, 4.0 GiB)"),
        ({"max_bytes": "25%", "memory_limit": "4GiB"}, 4, "(25% of memory_limit, 4.0 GiB, shared by 4 workers)"),
    ],
)
def test_the_start_is_one_line_with_the_limits(
    make: Make, texts: dict[str, str], workers: int, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the source of a relative budget."""
    with caplog.at_level(logging.INFO, "dagcache"):
        make(ttl="60", workers=workers, **texts).start()
    [record] = caplog.records
    assert record.getMessage().startswith("dagcache serves the scheduler: ")
    assert line in record.getMessage()


@pytest.mark.parametrize(
    ("source", "named"),
    [("machine", "the machine's memory"), ("cgroup2", "the container's memory limit"), ("cgroup1", "the container's")],
)
def test_the_start_line_names_the_memory_that_a_percentage_is_of(
    source: Any, named: str, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit of a container and the memory of a machine are changed in different places."""
    component = make(max_bytes="25%")
    monkeypatch.setattr(module, "memory_limit", lambda: MemoryLimit(6 << 30, source))
    with caplog.at_level(logging.INFO, "dagcache"):
        component.start()
    assert f"(25% of {named}" in caplog.text
    assert ", 6.0 GiB), ttl" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["airflow", "dag-processor"], "the dag_processor"),
        (["airflow", "triggerer"], "the triggerer"),
        (["python"], "this process"),
    ],
)
def test_a_process_with_an_api_of_its_own_does_not_call_itself_the_api_server(
    arguments: list[str],
    named: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A DAG processor builds the application of the API server as well."""
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(graphs, "freezer", lambda: (PickleFreezer(), []))
    component = Component(read_settings(OFF.get, "api_server"), home=folder, serves=False)
    with caplog.at_level(logging.INFO, "dagcache"):
        component.start()
    component.close()
    assert f"dagcache serves the in-process API of {named}: " in caplog.text
    assert "the api_server" not in caplog.text


def test_a_bound_of_airflows_own_bag_without_effect_is_one_more_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO: an operator who has set it reads there which settings count."""
    monkeypatch.setattr(graphs, "freezer", lambda allowed=None: (PickleFreezer(allowed=allowed), []))
    texts = {**OFF, "max_bytes": "1MiB", "mode": "observe"}
    names = ["[scheduler] dag_cache_size", "[scheduler] dag_cache_ttl"]
    component = Component(read_settings(texts.get, "scheduler"), home=folder, serves=True, without_effect=names)
    with caplog.at_level(logging.INFO, "dagcache"):
        component.start()
    component.close()
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    line = caplog.records[1].getMessage()
    assert line.startswith("without effect in the scheduler: [scheduler] dag_cache_size, [scheduler] dag_cache_ttl;")


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::", "[::]"), ("[::]", "[::]")])
def test_the_start_line_has_the_address_of_the_endpoint(
    make: Make, host: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a URL, with brackets around an IPv6 address."""
    port = free_port()
    component = make(metrics_port=port, metrics_host=host)
    with caplog.at_level(logging.INFO, "dagcache"):
        component.start()
    assert parts(component) == {"metrics"}
    assert f"metrics on http://{shown}:{parse_ports(port)[0]}/metrics" in caplog.text


def test_the_figures_beside_the_cache_are_on_the_endpoint(make: Make) -> None:
    """A quarantine looks like an absence to the cache, and a fault that Airflow's code covers is not the cache's."""
    port = free_port()
    component = make(metrics_port=port, metrics_host="127.0.0.1", quarantine="5m")
    component.start()
    for version in "ab":
        component.quarantine.takes(version, ValueError(), monotonic())
    component.quarantine.takes("c", ValueError(), monotonic() - 1000)
    for _ in range(5):
        component.quarantine.count_miss()
    component.count_fault()
    found = scrape(f"http://127.0.0.1:{port}/metrics")
    names = ("quarantined", "quarantines_total", "quarantine_misses_total", "internal_errors_total")
    assert [found.value(f"dagcache_{name}", component="scheduler") for name in names] == [2, 3, 5, 1]


def test_the_figures_of_the_warm_store_are_on_the_endpoint(make: Make, tmp_path: Path) -> None:
    port = free_port()
    component = make(metrics_port=port, metrics_host="127.0.0.1")
    component.start()
    address = f"http://127.0.0.1:{port}/metrics"
    assert scrape(address).value("dagcache_warm_start_hits_total", component="scheduler") == 0
    component.warm_store = store = filled(tmp_path / "warm", 3)
    store.get_many([key_of(0), key_of(1), key_of(9), key_of(2, "other")])
    store.refused(key_of(1))
    found = scrape(address)

    def value(name: str, **labels: str) -> float | None:
        return found.value(f"dagcache_warm_start_{name}", component="scheduler", **labels)

    assert [value(name) for name in ("hits_total", "misses_total", "stored_total", "records")] == [2, 2, 3, 2]
    assert [value("rejected_total", reason=reason) for reason in ("stale", "forged", "refused")] == [1, 0, 1]
    assert {value("errors_total", kind=kind) for kind in WARM_ERRORS} == {0}
    assert WARM_ERRORS == ERRORS
    assert value("bytes_total", direction="written") == store.stats().bytes_written
    assert value("passed_over") == 0
    component.close()
    assert store.get_many([key_of(0)]) == {}


class OneFingerprint:
    """A fingerprint without parts."""

    def digest(self) -> str:
        """Of nothing."""
        return "0123abcd"

    def parts(self) -> dict[str, str]:
        """None."""
        return {}


def test_the_warm_store_is_made_by_the_settings_and_closed_with_the_component(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_key, "secret_key", lambda: b"secret")
    assert make().open_warm_store(OneFingerprint()) is None
    component = make(warm_start="disk")
    store = component.open_warm_store(OneFingerprint())
    assert store is not None
    assert store is component.warm_store
    assert isinstance(store, DiskStore)
    assert store.path == folder / "dagcache-warm"
    assert component.stats().warm == store.stats()
    component.close()
    store.put(key_of(1), record_of(1))
    assert not (folder / "dagcache-warm").exists()


def test_a_withdrawal_removes_the_announcements_of_all_components(make: Make, folder: Path) -> None:
    """Before the process ends by a signal, which runs no finaliser."""
    made = make(metrics_port=free_port(), metrics_host="127.0.0.1")
    made.start()
    make()
    assert list((folder / "dagcache" / "targets").iterdir())
    module.withdraw()
    assert not list((folder / "dagcache" / "targets").iterdir())


def test_without_frozen_copies_there_is_no_freezer(make: Make) -> None:
    """The setting `frozen`."""
    component = make(frozen="False")
    component.cache["etl"] = ["task"]  # type: ignore[index]
    assert component.cache.stats().frozen_bytes == 0
