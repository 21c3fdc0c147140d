"""The command line without an Airflow."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import psutil  # type: ignore[import-untyped]
import pytest

from dagcache.cli.main import main, parser
from dagcache.cli.run import command as run
from dagcache.cli.run.comparison import Comparison
from dagcache.cli.run.home import Home, locked_home
from dagcache.cli.run.processes import Processes
from dagcache.cli.run.run_counts import RunCounts, read_run_counts
from dagcache.cli.shared.failure import CommandError
from dagcache.cli.shared.logs import tail
from dagcache.cli.shared.progress import Progress
from dagcache.demo.playground import environment, free_ports
from tests.support.measured import measured
from tests.support.patience import PATIENCE


def test_without_arguments_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "run" in capsys.readouterr().out


def test_the_module_is_the_command() -> None:
    """`python -m dagcache.cli` is the same, and needs no Airflow to print its help."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_AIRFLOW, "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "COMMAND" in done.stdout


_WITHOUT_AIRFLOW = """
import runpy, sys
sys.modules["airflow"] = sys.modules["psutil"] = sys.modules["rich"] = None
runpy.run_module("dagcache.cli", run_name="__main__", alter_sys=True)
"""


def test_the_options_of_run_have_the_documented_defaults() -> None:
    """`docs/running.md` names them."""
    chosen = parser().parse_args(["run"])
    assert (chosen.api, chosen.seconds, chosen.versions, str(chosen.max_bytes)) == (False, None, 700, "64MiB")
    assert (chosen.home, chosen.keep) == (None, False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-bytes", "10XB"], "max_bytes = '10XB' is not understood"),
        (["--versions", "0"], "expected a whole number from 1 to 1000000, found '0'"),
        (["--seconds", "soon"], "expected a whole number from 1 to 1000000, found 'soon'"),
    ],
)
def test_a_bad_option_is_refused_with_its_reason(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started."""
    with pytest.raises(SystemExit) as refused:
        main(["run", *arguments])
    assert refused.value.code == 2
    assert expected in capsys.readouterr().err


def test_without_an_airflow_run_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And how to get one."""
    monkeypatch.setattr(run, "has_airflow", lambda: False)
    assert main(["run"]) == 1
    assert "pip install 'apache-airflow>=3.1'" in capsys.readouterr().err


def test_nothing_of_the_callers_airflow_shines_through(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A playground never touches a real database."""
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER_CMD", "cat /production")
    env = environment(tmp_path)
    assert not [name for name, value in env.items() if "production" in value]
    assert env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith(f"sqlite:///{tmp_path}/airflow.db")


def test_settings_of_the_cache_become_options_of_its_section(tmp_path: Path) -> None:
    """As keywords."""
    env = environment(tmp_path, "postgresql://elsewhere", max_bytes="64MiB", metrics_port=0)
    assert env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql://elsewhere"
    assert (env["AIRFLOW__DAGCACHE__MAX_BYTES"], env["AIRFLOW__DAGCACHE__METRICS_PORT"]) == ("64MiB", "0")


def test_free_ports_differ() -> None:
    """Even though each is free."""
    assert len(set(free_ports(20))) == 20


# Processes ends every child of its process: in these tests that process is never the one that runs the tests.
_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
_PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {_STUBBORN!r}], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(float(sys.argv[1]))
"""
_COMMAND = f"""
import os, sys, time
from pathlib import Path
from dagcache.cli.run.processes import Processes
here = Path(sys.argv[1])
processes = Processes(patience=5.0)
out = here / "out"
parent = processes.start([sys.executable, "-c", {_PARENT!r}, sys.argv[2]], os.environ, log=here / "log", out=out)
while not (text := out.read_text()).endswith("\\n"):
    time.sleep(0.02)
if sys.argv[2] == "0":
    parent.wait()
print(parent.pid, text, flush=True)
sys.stdin.readline()
processes.close()
"""


@contextmanager
def _command(folder: Path, *, parent_stays: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A process that has started a parent, which has started a child that ignores SIGTERM in a session of its own."""
    arguments = [sys.executable, "-c", _COMMAND, str(folder), "600" if parent_stays else "0"]
    env = {**os.environ, **measured()}
    with subprocess.Popen(arguments, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as command:
        yield command
        command.kill()


def _family(command: subprocess.Popen[str]) -> list[int]:
    assert command.stdout is not None
    return [int(pid) for pid in command.stdout.readline().split()]


def _is_gone(pid: int) -> bool:
    try:
        psutil.Process(pid).kill()
    except psutil.NoSuchProcess:
        return True
    return False


@pytest.mark.parametrize("parent_stays", [True, False], ids=["parent there", "parent gone"])
def test_a_descendant_in_a_session_of_its_own_that_ignores_sigterm_is_ended(tmp_path: Path, parent_stays: bool) -> None:
    """Airflow's tasks are such processes; their parent may have ended by then."""
    if not parent_stays and sys.platform != "linux":
        pytest.skip("only on Linux are orphans adopted")
    with _command(tmp_path, parent_stays=parent_stays) as command:
        parent, stubborn = _family(command)
        command.communicate("end\n", timeout=PATIENCE)
    assert _is_gone(stubborn)
    assert _is_gone(parent)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a child when its parent dies")
def test_what_was_started_ends_when_the_command_is_killed(tmp_path: Path) -> None:
    """By SIGKILL, when it has no chance to end anything itself."""
    with _command(tmp_path) as command:
        family = [psutil.Process(pid) for pid in _family(command)]
    gone, _ = psutil.wait_procs(family[:1], timeout=PATIENCE)
    family[1].kill()
    assert gone == family[:1]


def test_an_interrupt_ends_the_block_and_a_second_one_does_not_disturb(capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM is as good as Ctrl-C; cleaning up is left alone."""
    went_on: list[bool] = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        with run._until_interrupted():
            signal.raise_signal(signal.SIGTERM)
            went_on.append(True)
        signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert (went_on, capsys.readouterr().out) == ([], "ending ...\n")


def test_a_temporary_home_is_removed_unless_kept() -> None:
    """`--keep` keeps it."""
    with locked_home(None, keep=False) as home:
        assert home.is_dir()
    assert not home.exists()
    with locked_home(None, keep=True) as home:
        pass
    assert home.exists()
    (home / ".dagcache-run.lock").unlink()
    home.rmdir()


def test_a_folder_with_somebodys_files_is_no_home(tmp_path: Path) -> None:
    """Building a home removes what is in it."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(CommandError, match="files that are not from a run"), locked_home(tmp_path, keep=False):
        pass
    assert (tmp_path / "thesis.tex").exists()


def test_two_runs_do_not_share_a_home(tmp_path: Path) -> None:
    with (
        locked_home(tmp_path, keep=False),
        pytest.raises(CommandError, match="another run is using it"),
        locked_home(tmp_path, keep=False),
    ):
        pass


class _BuiltHome(Home):
    """Counts how often it is built."""

    built = 0

    def _build(self, _processes: Processes, _progress: Progress) -> None:
        self.built += 1
        (self.path / "airflow.db").touch()


def _prepared(path: Path, versions: int = 5) -> tuple[_BuiltHome, str]:
    home, told = _BuiltHome(path, versions), io.StringIO()
    home.prepare(cast(Processes, None), Progress(told))
    return home, told.getvalue()


def test_a_home_that_was_left_in_good_order_is_used_again(tmp_path: Path) -> None:
    """Building takes a minute."""
    first, _ = _prepared(tmp_path)
    first.ended()
    second, told = _prepared(tmp_path)
    assert (first.built, second.built) == (1, 0)
    assert "from the last run" in told


@pytest.mark.parametrize(("ended", "versions"), [(False, 5), (True, 6)])
def test_a_home_of_a_killed_run_or_of_other_versions_is_built_anew(tmp_path: Path, ended: bool, versions: int) -> None:
    """From an empty folder."""
    first, _ = _prepared(tmp_path)
    (tmp_path / "leftover").mkdir()
    if ended:
        first.ended()
    second, told = _prepared(tmp_path, versions)
    assert (second.built, (tmp_path / "leftover").exists()) == (1, False)
    assert "rebuilding" in told


def test_an_unreadable_note_about_the_run_before_means_building_anew(tmp_path: Path) -> None:
    """As after a crash while it was written."""
    first, _ = _prepared(tmp_path)
    first.ended()
    (tmp_path / ".dagcache-run.json").write_text("{")
    assert _prepared(tmp_path)[0].built == 1


class _Playground:
    """Starts a stand-in for the process that builds a home."""

    def __init__(self, code: str) -> None:
        self._code = code

    def start(self, _command: object, _env: object, *, log: Path, out: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as errors, out.open("wb") as output:
            return subprocess.Popen([sys.executable, "-c", self._code], stdout=output, stderr=errors)


def test_a_home_is_built_by_a_process_that_reports_its_steps(tmp_path: Path) -> None:
    """Other lines are passed over, and leftovers of an earlier home are removed first."""
    shown = io.StringIO()
    (tmp_path / "leftover").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / ".dagcache-run.lock").touch()
    steps = "".join(
        f"print('{json.dumps({'step': step, 'done': 1, 'of': 1})}', flush=True)\n"
        for step in ("schema", "examples", "versions")
    )
    seen = tmp_path / "seen"

    class Seen(Progress):
        def step(self, text: str, done: int, of: int) -> None:
            super().step(text, done, of)
            if text.startswith("writing"):
                seen.touch()

    until_seen = f"import os, time\nwhile not os.path.exists({str(seen)!r}): time.sleep(0.01)"
    playground = _Playground(f"print('noise', flush=True)\n{steps}{until_seen}")
    Home(tmp_path, 5).prepare(cast(Processes, playground), Seen(shown))
    assert shown.getvalue().splitlines()[-3:] == [
        "creating the metadata database ...",
        "reading Airflow's example DAGs ...",
        "writing generated versions ...",
    ]
    assert not (tmp_path / "leftover").exists()
    assert (tmp_path / ".dagcache-run.lock").exists()


def test_a_home_that_cannot_be_built_is_a_failure_with_the_end_of_the_log(tmp_path: Path) -> None:
    """It names the log."""
    playground = _Playground("import sys; sys.exit('no room')")
    with pytest.raises(CommandError, match=r"could not be built; the end of .*playground.log:\nno room"):
        Home(tmp_path, 5).prepare(cast(Processes, playground), Progress(io.StringIO()))


def test_the_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(map(str, range(50_000))))
    assert tail(tmp_path / "log", 2) == "49998\n49999"
    assert tail(tmp_path / "none") == ""


def test_progress_is_told_once_per_step_and_at_its_end() -> None:
    """Not with each part: it may be a log file that it is written to."""
    told = io.StringIO()
    progress = Progress(told)
    for done in range(1, 101):
        progress.step("writing", done, 100)
    progress.step("reading", 0, 1)
    assert told.getvalue().splitlines() == ["writing: 1 of 100", "writing: 100 of 100", "reading ..."]


def test_runs_are_counted_by_state_and_those_that_wait_apart(tmp_path: Path) -> None:
    """From the database's file, read-only."""
    database = tmp_path / "airflow.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE dag_run (run_id, state)")
        rows = [
            ("backfill__waiting_1", "running"),
            ("backfill__waiting_2", "running"),
            ("manual__1", "running"),
            ("manual__2", "success"),
        ]
        connection.executemany("INSERT INTO dag_run VALUES (?, ?)", [*rows, ("scheduled__3", "failed")])
    assert read_run_counts(database) == RunCounts(succeeded=1, failed=1, running=1, waiting=2)


def test_a_service_that_died_ends_the_run_with_the_end_of_its_log(tmp_path: Path) -> None:
    """At the next look."""
    home = Home(tmp_path, 5)
    home.logs.mkdir()
    (home.logs / "scheduler.log").write_text("out of luck\n")
    started = run._Run(home, cast(Processes, None), parser().parse_args(["run"]))
    started._services["scheduler"] = cast("subprocess.Popen[bytes]", argparse.Namespace(poll=lambda: 3, returncode=3))
    with pytest.raises(CommandError, match=r"(?s)the scheduler ended with exit code 3.*out of luck"):
        started._wait_until(lambda: False, "scheduler", "unused")


def test_a_cache_that_does_not_appear_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline."""
    monkeypatch.setattr(run, "_DEADLINE_SECONDS", -1.0)
    started = run._Run(Home(tmp_path, 5), cast(Processes, None), parser().parse_args(["run"]))
    with pytest.raises(CommandError, match="the cache is not in it, after"):
        started._wait_until(started._cache_is_there, "scheduler", "the cache is not in it")


class _Children:
    """Stands for processes that end at once, with given sweeps and exit codes."""

    def __init__(self, outputs: dict[str, tuple[int, list[dict[str, object]]]]) -> None:
        self._outputs = outputs

    def start(self, _command: object, env: dict[str, str], *, log: Path, out: Path) -> argparse.Namespace:
        code, sweeps = self._outputs[env["side"]]
        log.write_text("why it failed\n")
        out.write_text("".join(f"{json.dumps(sweep)}\n" for sweep in sweeps))
        return argparse.Namespace(poll=lambda: code, returncode=code)


def _sweep(seconds: float, growth: int, payloads: int) -> dict[str, object]:
    return {"seconds": seconds, "rss_growth_bytes": growth, "payload_statements": payloads, "lookups": 700}


def _compared(outputs: dict[str, tuple[int, list[dict[str, object]]]], logs: Path) -> Comparison:
    comparison = Comparison(_Children(outputs), {side: {"side": side} for side in outputs}, logs)  # type: ignore[arg-type]
    assert "0 of 2 measured" in comparison.lines()[0]
    for _ in range(3):
        comparison.advance()
    return comparison


def test_the_comparison_shows_each_sides_last_sweep(tmp_path: Path) -> None:
    """The first one fills the cache."""
    stock = (0, [_sweep(12.0, 200 << 20, 700), _sweep(11.0, 210 << 20, 700)])
    ours = (0, [_sweep(13.0, 50 << 20, 700), _sweep(0.5, 60 << 20, 0)])
    header, first, second = _compared({"stock": stock, "dagcache": ours}, tmp_path).lines()
    assert first.split() == ["stock", "11.00", "210.0", "MiB", "700", "700"]
    assert second.split() == ["dagcache", "0.50", "60.0", "MiB", "0", "700"]
    assert len(header) == len(first) == len(second)


def test_a_comparison_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """And does not go on to the other side."""
    comparison = _compared({"stock": (1, []), "dagcache": (0, [])}, tmp_path)
    assert comparison.over
    assert "why it failed" in comparison.lines()[0]
