"""The files by which Prometheus finds the processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dagcache.metrics import file_sd as module
from dagcache.metrics import process_age as process_age_module
from dagcache.metrics.file_sd import STALE_SECONDS, Targets, address, announced, announcer
from dagcache.metrics.process_age import process_age
from tests.support.patience import PATIENCE

GONE = 2**31 - 2  # beyond Linux' largest process id


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine of a known name."""
    monkeypatch.setattr(socket, "gethostname", lambda: "box-1")
    return "box_1"


def names(directory: Path) -> set[str]:
    """The content of the directory."""
    return {path.name for path in directory.iterdir()}


def test_an_endpoint_is_announced_in_a_file_of_its_own(tmp_path: Path) -> None:
    """With the component as the only label: a process id would make new series at every start."""
    targets = Targets(tmp_path / "new")
    targets.add("scheduler", "0.0.0.0", 11780)
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == f"scheduler-box_1-{os.getpid()}.json"
    assert json.loads(path.read_text()) == [{"targets": ["box-1:11780"], "labels": {"component": "scheduler"}}]


@pytest.mark.parametrize(
    ("host", "announced_as"),
    [
        ("0.0.0.0", "box-1:11780"),
        ("::", "box-1:11780"),
        ("[::]", "box-1:11780"),
        ("", "box-1:11780"),
        ("127.0.0.1", "127.0.0.1:11780"),
        ("127.0.0.2", "127.0.0.2:11780"),
        ("10.1.2.3", "10.1.2.3:11780"),
        ("::1", "[::1]:11780"),
        ("[fd00::7]", "[fd00::7]:11780"),
        ("localhost", "localhost:11780"),
    ],
)
def test_an_endpoint_is_announced_by_the_address_that_it_listens_on(host: str, announced_as: str) -> None:
    """Only an endpoint on all addresses answers at the name of the machine."""
    assert address(host, 11780) == announced_as


def test_a_component_cannot_leave_the_directory(tmp_path: Path) -> None:
    """Its name is the user's."""
    targets = Targets(tmp_path / "inside")
    targets.add("../../x", "0.0.0.0", 11780)
    assert names(tmp_path / "inside") == {f".._.._x-box_1-{os.getpid()}.json"}


def test_the_files_of_dead_processes_of_this_machine_go(tmp_path: Path, machine: str) -> None:
    alive, foreign, other = f"api-{machine}-{os.getppid()}.json", f"api-elsewhere-{GONE}.json", "README.txt"
    for name in (f"api-{machine}-{GONE}.json", f"api-{machine}-{GONE}.draft", f"api-{machine}-{10**30}.json"):
        (tmp_path / name).touch()
    for name in (alive, foreign, other):
        (tmp_path / name).touch()
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    assert names(tmp_path) == {f"scheduler-{machine}-{os.getpid()}.json", alive, foreign, other}


@pytest.mark.skipif(process_age(os.getpid()) is None, reason="the start of a process is unknown here")
@pytest.mark.parametrize(("seconds_before_its_start", "stays"), [(-0.5, True), (60, False)])
def test_a_process_id_that_belongs_to_another_program_by_now_is_not_alive(
    seconds_before_its_start: float, stays: bool, tmp_path: Path
) -> None:
    """A file that was last renewed before the process of its id started is of an earlier process."""
    file = tmp_path / f"api-box_1-{os.getppid()}.json"
    file.touch()
    age(file, (process_age(os.getppid()) or 0.0) + seconds_before_its_start)
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    assert file.exists() == stays
    targets.remove()


def test_the_age_of_a_process_is_its_own() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        young, old = process_age(child.pid), process_age(os.getpid())
        child.kill()
    assert (young is None) == (old is None) == (sys.platform != "linux")
    assert young is None or old is None or 0 <= young <= old
    assert process_age(GONE) is None


def test_without_a_clock_since_the_boot_the_age_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on other systems than Linux, where a process id that is in use counts as alive."""
    monkeypatch.setattr(process_age_module, "_BOOT_CLOCK", None)
    assert process_age(os.getpid()) is None


def test_a_process_that_may_not_be_asked_counts_as_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    del targets
    assert names(tmp_path) == set()


def test_the_files_go_at_exit(tmp_path: Path) -> None:
    """Of a process that ends in an orderly way."""
    code = (
        "import pathlib, sys; from dagcache.metrics.file_sd import Targets;"
        "targets = Targets(pathlib.Path(sys.argv[1])); targets.add('scheduler', '', 1);"
        "print(len(list(pathlib.Path(sys.argv[1]).iterdir())))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=PATIENCE)
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


def test_a_dead_file_that_cannot_be_removed_is_no_reason_not_to_announce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another user's, in a directory for all users."""
    dead = tmp_path / f"scheduler-{socket.gethostname()}-999999999.json"
    dead.touch()
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == dead:
            raise PermissionError(1, "not permitted")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    assert len(list(tmp_path.glob("*.json"))) == 2
    assert not caplog.records
    targets.remove()


def test_a_directory_of_no_possible_name_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As airflow.cfg may have it."""
    Targets(tmp_path / "a\0b").add("scheduler", "0.0.0.0", 11780)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


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
    assert ": not allowed" in caplog.text


# ---- renewals ----


def age(path: Path, seconds: float) -> None:
    """Have a file look as if it had been renewed so many seconds earlier."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_a_renewal_keeps_the_content_and_makes_the_file_young(tmp_path: Path) -> None:
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime, path.read_text()
    age(path, 1000)
    targets.renew()
    assert path.stat().st_mtime >= before[0]
    assert path.read_text() == before[1]
    targets.remove()


def test_a_file_that_was_removed_by_mistake_comes_back_with_the_renewal(tmp_path: Path) -> None:
    """As after a cleaning of the directory, or when a machine was suspended."""
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    (path,) = tmp_path.iterdir()
    content = path.read_text()
    path.unlink()
    targets.renew()
    assert path.read_text() == content
    targets.remove()


def test_a_directory_that_appears_later_has_the_file_with_the_next_renewal(tmp_path: Path) -> None:
    (tmp_path / "blocked").touch()
    targets = Targets(tmp_path / "blocked")
    targets.add("scheduler", "0.0.0.0", 11780)
    (tmp_path / "blocked").unlink()
    targets.renew()
    assert len(names(tmp_path / "blocked")) == 1
    targets.remove()


OURS = '[{"targets": ["elsewhere:11780"], "labels": {"component": "api"}}]'


@pytest.mark.parametrize("name", ["api-elsewhere-12.json", f"api-box_1-{os.getppid()}.json"])
def test_a_file_without_renewals_is_removed_by_any_other_process(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a pod that is gone, on a shared home, and that of a process that has hung for minutes."""
    monkeypatch.setattr(module, "process_age", lambda _pid: 1e6)
    (tmp_path / name).write_text(OURS)
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    age(tmp_path / name, STALE_SECONDS - 30)
    targets.renew()
    assert name in names(tmp_path)
    age(tmp_path / name, 60)
    targets.renew()
    assert name not in names(tmp_path)
    targets.remove()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.txt", OURS),
        ("targets.json", OURS),
        ("api-elsewhere-12.yml", OURS),
        ("node-elsewhere-9100.json", OURS),
        ("node-elsewhere-9100.json", '[{"targets": ["elsewhere:9100"], "labels": {"env": "prod"}}]'),
        ("api-elsewhere-12.json", OURS.replace('"api"', '"api", "env": "prod"')),
        ("api-elsewhere-12.json", OURS.replace('"elsewhere:11780"', '"elsewhere:11780", "another:1"')),
        ("api-elsewhere-12.json", '[{"targets": ["elsewhere:9100"], "labels": 7}]'),
        ("api-elsewhere-12.json", ""),
    ],
)
def test_a_file_that_is_not_an_announcement_is_never_removed(name: str, content: str, tmp_path: Path) -> None:
    """The directory may have targets of other programs, with names like ours."""
    (tmp_path / name).write_text(content)
    age(tmp_path / name, 10 * STALE_SECONDS)
    targets = Targets(tmp_path)
    targets.add("scheduler", "0.0.0.0", 11780)
    assert name in names(tmp_path)
    targets.remove()


def test_the_clock_of_the_files_decides_and_not_that_of_a_machine(tmp_path: Path) -> None:
    """Machines that share a directory may disagree by hours: a file is compared with one renewed at the same server."""
    one, other = Targets(tmp_path), Targets(tmp_path)
    one.add("scheduler", "0.0.0.0", 11780)
    other.add("api_server", "0.0.0.0", 11781)
    for path in tmp_path.iterdir():
        age(path, 7200)
    (tmp_path / "api-elsewhere-12.json").write_text(OURS)
    age(tmp_path / "api-elsewhere-12.json", 7200)
    one._remove_dead(max(path.stat().st_mtime for path in tmp_path.iterdir()))
    assert len(names(tmp_path)) == 3
    one.remove()
    other.remove()


def test_a_removal_during_a_renewal_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renewal runs in a thread of its own."""
    targets = Targets(tmp_path)
    targets.register("scheduler", "0.0.0.0", 11780)
    replace = Path.replace

    def removed_meanwhile(path: Path, target: Path) -> Path:
        targets.remove()
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", removed_meanwhile)
    targets.renew()
    assert names(tmp_path) == set()


# ---- reading them back ----


def targets_in(directory: Path, *, here: bool = False, most_files: int = 64) -> list[Any]:
    """The targets as they stand there."""
    return announced(directory, lambda target, _: target, here=here, most_files=most_files)


def announce(path: Path, *targets: object) -> None:
    """Write a file of one group."""
    path.write_text(json.dumps([{"targets": targets}]))


def test_what_was_announced_is_read_back_with_its_component(tmp_path: Path) -> None:
    """In the order of the files' names."""
    targets = Targets(tmp_path)
    targets.add("scheduler", "127.0.0.1", 11780)
    targets.add("api_server", "0.0.0.0", 11781)
    found = announced(tmp_path, lambda target, group: (target, group["labels"]["component"]))
    assert found == [("box-1:11781", "api_server"), ("127.0.0.1:11780", "scheduler")]
    targets.remove()
    assert targets_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "pid"),
    [
        ("scheduler-box_1-12.json", 12),
        ("api-server-box_1-12.draft", 12),
        ("scheduler-elsewhere-12.json", None),
        ("scheduler-box_10-12.json", None),
        ("box_1-12.json", None),
        ("scheduler-box_1-x.json", None),
        ("scheduler-box_1-12.json.old", None),
    ],
)
def test_the_announcer_of_a_file_is_a_process_of_this_machine(name: str, pid: int | None) -> None:
    """By its name alone."""
    assert announcer(Path("somewhere", name)) == pid


def test_only_this_machines_files_are_read_on_request(tmp_path: Path) -> None:
    """In a shared directory, the announcements of other machines do not count towards the bound."""
    announce(tmp_path / "api-elsewhere-12.json", "elsewhere:1")
    announce(tmp_path / "scheduler-box_1-12.json", "localhost:1")
    assert targets_in(tmp_path) == ["elsewhere:1", "localhost:1"]
    assert targets_in(tmp_path, here=True, most_files=1) == ["localhost:1"]


def test_no_more_files_are_read_than_the_bound_allows(tmp_path: Path) -> None:
    """The first ones by name."""
    for number in range(5):
        announce(tmp_path / f"{number}.json", number)
    assert targets_in(tmp_path, most_files=3) == [0, 1, 2]


def test_a_file_of_unreasonable_size_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of it is read than the bound allows."""
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    announce(tmp_path / "long.json", "x" * 100)
    announce(tmp_path / "short.json", "x:1")
    assert targets_in(tmp_path) == ["x:1"]


@pytest.mark.parametrize(
    "text",
    ["", "[{", "7", "[1]", '["targets"]', "[{}]", '[{"targets": ["y:2"]}, {"targets": 7}]', "[" * 50_000, "\udcff"],
    ids=["empty", "cut", "number", "numbers", "texts", "no targets", "half", "deep", "no text"],
)
def test_a_file_that_is_no_announcement_is_left_out_as_a_whole(tmp_path: Path, text: str) -> None:
    """The others are read."""
    (tmp_path / "garbage.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "folder.json").mkdir()
    announce(tmp_path / "good.json", "x:1")
    assert targets_in(tmp_path) == ["x:1"]


def test_a_file_whose_targets_are_not_understood_is_left_out_as_a_whole(tmp_path: Path) -> None:
    announce(tmp_path / "bad.json", "1", "x")
    announce(tmp_path / "good.json", "2", "3")
    announce(tmp_path / "strange.json", "4", 5)
    assert announced(tmp_path, lambda target, _: int(target.strip())) == [2, 3]


def test_nothing_is_announced_in_a_directory_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert targets_in(tmp_path / "missing") == targets_in(tmp_path / "file") == []
