"""The files by which Prometheus finds the processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dagcache.metrics.targets import Targets

GONE = 2**31 - 2  # beyond Linux' largest process id


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine of a known name."""
    monkeypatch.setattr(socket, "gethostname", lambda: "box-1")
    return "box_1"


def names(directory: Path) -> set[str]:
    """What is in the directory."""
    return {path.name for path in directory.iterdir()}


def test_an_endpoint_is_announced_in_a_file_of_its_own(tmp_path: Path) -> None:
    """With the component as the only label: a process id would make new series at every start."""
    targets = Targets(tmp_path / "new")
    targets.add("scheduler", "0.0.0.0", 11780)
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == f"scheduler-box_1-{os.getpid()}.json"
    assert json.loads(path.read_text()) == [{"targets": ["box-1:11780"], "labels": {"component": "scheduler"}}]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_an_endpoint_on_loopback_is_announced_as_localhost(tmp_path: Path, host: str) -> None:
    """The machine's name would lead to another address."""
    targets = Targets(tmp_path)
    targets.add("scheduler", host, 11780)
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())[0]["targets"] == ["localhost:11780"]


def test_a_component_cannot_leave_the_directory(tmp_path: Path) -> None:
    """Its name is the user's."""
    targets = Targets(tmp_path / "inside")
    targets.add("../../x", "0.0.0.0", 11780)
    assert names(tmp_path / "inside") == {f".._.._x-box_1-{os.getpid()}.json"}


def test_the_files_of_dead_processes_of_this_machine_go(tmp_path: Path, machine: str) -> None:
    """Those of living ones, of other machines, and whatever else is there, stay."""
    alive, foreign, other = f"api-{machine}-{os.getppid()}.json", f"api-elsewhere-{GONE}.json", "README.txt"
    for name in (f"api-{machine}-{GONE}.json", f"api-{machine}-{GONE}.draft", f"api-{machine}-{10**30}.json"):
        (tmp_path / name).touch()
    for name in (alive, foreign, other):
        (tmp_path / name).touch()
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    assert names(tmp_path) == {f"scheduler-{machine}-{os.getpid()}.json", alive, foreign, other}


def test_a_process_that_may_not_be_asked_counts_as_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is somebody else's."""
    path = tmp_path / "api-box_1-1.json"
    path.touch()

    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    assert path.exists()


def test_remove_takes_the_files_back(tmp_path: Path) -> None:
    """All of this process, once."""
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    targets.add("api_server", "0.0.0.0", 11781)
    targets.remove()
    targets.remove()
    assert names(tmp_path) == set()


def test_the_files_go_with_the_object(tmp_path: Path) -> None:
    """Whoever forgets to remove them."""
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    del targets
    assert names(tmp_path) == set()


def test_the_files_go_at_exit(tmp_path: Path) -> None:
    """Of a process that ends in an orderly way."""
    code = (
        "import pathlib, sys; from dagcache.metrics.targets import Targets;"
        "targets = Targets(pathlib.Path(sys.argv[1])); targets.add('scheduler', '', 1);"
        "print(len(list(pathlib.Path(sys.argv[1]).iterdir())))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), names(tmp_path)) == ("1", set()), done.stderr


def test_a_forked_child_leaves_its_parents_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And takes back its own."""
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    before, parent = names(tmp_path), os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: os.getppid())
    targets.add("scheduler", "0.0.0.0", 11781)
    assert len(names(tmp_path)) == 2
    targets.remove()
    assert names(tmp_path) == before
    monkeypatch.setattr(os, "getpid", lambda: parent)
    targets.remove()
    assert names(tmp_path) == set()


def test_a_directory_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However many endpoints there are."""
    (tmp_path / "file").touch()
    targets = Targets(tmp_path / "file")
    targets.add("scheduler", "0.0.0.0", 11780)
    targets.add("api_server", "0.0.0.0", 11781)
    targets.remove()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / "file") in caplog.text


def test_a_file_that_cannot_be_removed_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no error at exit."""
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)

    def refuse(_path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "not allowed")

    monkeypatch.setattr(Path, "unlink", refuse)
    targets.remove()
    assert "stays behind: not allowed" in caplog.text
