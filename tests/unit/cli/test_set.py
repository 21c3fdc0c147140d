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
        "A restart takes this back: change the configuration as well.",
    ]
    assert [cache.max_bytes for cache in caches.values()] == [2 * MIB, 2 * MIB]


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
        "a-1": {"component": "a\x1b[2J", "pid": 1, "settings": {"ttl": "5"}, "error": ""},
        "b-2": {"component": "b", "pid": 2, "settings": {}, "error": "no\x1b"},
        "c-3": OSError("gone"),
    }

    def answer(path: Path, _settings: object) -> Any:
        if isinstance(answers[path.stem], OSError):
            raise answers[path.stem]
        return answers[path.stem]

    monkeypatch.setattr(client, "sockets", lambda: [Path(f"/run/{name}.sock") for name in answers])
    monkeypatch.setattr(client, "change", answer)
    assert main(["set", "ttl=5"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "a?[2J, process 1: ttl = 5"
    assert told.err == "dagcache: b-2: no?; c-3: gone\n"
