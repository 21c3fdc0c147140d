"""`dagcache set`: settings of running processes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.cli.main import main
from dagcache.inspection import client
from dagcache.inspection.server import AttributionServer
from tests.support.caches import MIB, make_cache


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, DagCache[Any, Any]]]:
    """A scheduler and an API server that can be asked."""
    folder = tempfile.mkdtemp(prefix="set", dir="/tmp")  # short: the path of a socket has 107 bytes
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    made = {name: make_cache(max_bytes="8MiB", name=name)[0] for name in ("scheduler", "api_server")}
    servers = [AttributionServer(cache) for cache in made.values()]
    assert all(server.start() for server in servers)
    yield made
    for server in servers:
        server.close()
    shutil.rmtree(folder)


def test_all_processes_are_changed_and_said_so(
    caches: dict[str, DagCache[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the settings in force, and that a restart takes them back."""
    assert main(["set", "max_bytes=2MiB", "TTL = 1h"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"api_server, process {os.getpid()}: max_bytes = 2MiB, ttl = 3600",
        f"scheduler, process {os.getpid()}: max_bytes = 2MiB, ttl = 3600",
        "A restart restores the configured values: change the configuration as well.",
    ]
    assert [cache.max_bytes for cache in caches.values()] == [2 * MIB, 2 * MIB]


def test_zero_is_shown_with_its_meaning(
    caches: dict[str, DagCache[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the opposite of a small limit."""
    assert main(["set", "max_bytes=0", "ttl=0", "--component", "scheduler"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        f"scheduler, process {os.getpid()}: max_bytes = 0 (unbounded), ttl = 0 (no expiry)"
    )


@pytest.mark.parametrize("choice", [["--component", "scheduler"], ["--component", "scheduler", "--pid", "OWN"]])
def test_one_component_or_process_can_be_chosen(
    caches: dict[str, DagCache[Any, Any]], choice: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one keeps its budget."""
    chosen = [str(os.getpid()) if each == "OWN" else each for each in choice]
    assert main(["set", "max_bytes=2MiB", "--json", *chosen]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["changed"]
    assert (answer["component"], answer["settings"]["max_bytes"]) == ("scheduler", "2MiB")
    assert caches["api_server"].max_bytes == 8 * MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="only root finds processes of other users")
@pytest.mark.parametrize("choice", [["--all-users"], ["--pid", str(os.getpid())]])
def test_root_changes_processes_of_other_users_by_choice_only(
    caches: dict[str, DagCache[Any, Any]], choice: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """They may belong to another installation."""
    for path in client.sockets():
        os.chown(path, 12345, -1)
        os.chown(path.parent, 12345, -1)
    assert main(["set", "max_bytes=2MiB"]) == 2
    assert "processes of other users: 2, choose them by --pid or --all-users" in capsys.readouterr().err
    assert {cache.max_bytes for cache in caches.values()} == {8 * MIB}
    assert main(["set", "max_bytes=2MiB", *choice]) == 1
    # Asked, and refused: their sockets have another owner, but the listeners are root's own.
    assert capsys.readouterr().err.count("its listener is not a process of the user 12345") == 2


@pytest.mark.parametrize(
    "arguments", [["max_bytes"], ["max_bytes=much"], ["ttl=soon"], ["mode=off"], ["ttl=1h", "--component", "worker"]]
)
def test_unusable_input_asks_no_process(
    caches: dict[str, DagCache[Any, Any]], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, with one line."""
    assert main(["set", *arguments]) == 2
    assert capsys.readouterr().err.startswith("dagcache: ")
    assert all(cache.changed_settings == {} for cache in caches.values())


def test_a_process_that_does_not_change_is_a_failure_and_the_others_are_shown(
    caches: dict[str, DagCache[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One may refuse, one may be gone; text from other processes cannot command the terminal."""
    answers: dict[str, Any] = {
        "a-1": {"component": "a\x1b[2J", "pid": 1, "settings": {"ttl": "5"}, "error": "", "note": "of use\x07"},
        "b-2": {"component": "b", "pid": 2, "settings": {}, "error": "no\x1b", "note": ""},
        "c-3": OSError("no access"),
        "d-4": ValueError("d-4.sock: the answer is not JSON"),
        "e-5": TimeoutError("timed out"),
        "f-6": ConnectionRefusedError("killed: no process"),
    }

    def answer(path: Path, _settings: object) -> Any:
        if isinstance(answers[path.stem], Exception):
            raise answers[path.stem]
        return answers[path.stem]

    monkeypatch.setattr(client, "sockets", lambda: [Path(f"/run/{name}.sock") for name in answers])
    monkeypatch.setattr(client, "change", answer)
    assert main(["set", "ttl=5"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "a?[2J, process 1: ttl = 5 (of use?)"
    assert told.err == (
        "dagcache: b-2: no?; c-3: no access; d-4: the answer is not JSON; e-5: it did not answer in 30 s, and will not"
        " change\n"
    )


def test_sockets_of_killed_processes_are_no_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, as if there were no file."""

    def refuse(_path: Path, _settings: object) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(client, "sockets", lambda: [Path("/run/scheduler-1.sock")])
    monkeypatch.setattr(client, "change", refuse)
    assert main(["set", "ttl=5"]) == 2
    assert "no such process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        ([], ["scheduler-7", "scheduler-7-2", "api_server-8"]),
        (["--pid", "7"], ["scheduler-7", "scheduler-7-2"]),
        (["--pid", "2"], []),
        (["--component", "scheduler"], ["scheduler-7", "scheduler-7-2"]),
        (["--component", "API-Server"], ["api_server-8"]),
    ],
)
def test_a_further_cache_of_one_name_belongs_to_its_process(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], chosen: list[str]
) -> None:
    """Its socket has a number behind the process's."""
    asked: list[str] = []

    def answer(path: Path, _settings: object) -> Any:
        asked.append(path.stem)
        return {"component": "c", "pid": 1, "settings": {}, "error": "", "note": ""}

    sockets = [Path(f"/run/{name}.sock") for name in ("scheduler-7", "scheduler-7-2", "api_server-8")]
    monkeypatch.setattr(client, "sockets", lambda: sockets)
    monkeypatch.setattr(client, "change", answer)
    assert main(["set", "ttl=5", *arguments]) == (0 if chosen else 2)
    assert sorted(asked) == sorted(chosen)
