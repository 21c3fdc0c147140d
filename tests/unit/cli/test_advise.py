"""`dagcache advise` as it is typed: its output, its errors, and no passwords."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dagcache.advice.speed import Speed
from dagcache.cli.advise import command as advise
from dagcache.cli.advise import drawing
from dagcache.cli.main import main
from dagcache.cli.shared import progress
from dagcache.cli.shared.failure import CommandError
from tests.support.databases import Database, payload
from tests.support.patience import PATIENCE

SECRET = "s3cr3t"
URL_VARIABLE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Fifteen DAGs that are running, and one of which new versions are written all the time."""
    made = Database(tmp_path_factory.mktemp("database") / "airflow.db")
    for number in range(15):
        dag_id = f"dag_{number}"
        version = made.version(dag_id, data=payload(dag_id, 10 + number))
        made.run(dag_id, 10.0 + number, version=version)
    for number in range(12):
        made.version("inflated", number, created=20.0)
    return made


@pytest.fixture(autouse=True)
def without_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads and thaws are not timed in this process: importing Airflow takes seconds."""
    monkeypatch.setattr("dagcache.advice.report.measured", lambda samples: Speed(2.0, 3.0, len(samples)))


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own, without Airflow's settings of the caller."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    command = [sys.executable, "-m", "dagcache.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, env={**clean, **(env or {})}
    )


@pytest.mark.parametrize("section", ["database", "core"])
def test_the_database_of_airflow_cfg_is_the_default(database: Database, tmp_path: Path, section: str) -> None:
    cfg = tmp_path / "airflow.cfg"
    cfg.write_text(f"[{section}]\nsql_alchemy_conn = {database.url}?x=%%20\n")
    done = run("advise", "--no-airflow", "--json", env={"AIRFLOW_CONFIG": str(cfg)})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["dags"] == 16


def test_the_environment_precedes_airflow_cfg(database: Database, tmp_path: Path) -> None:
    cfg = tmp_path / "airflow.cfg"
    cfg.write_text("[database]\nsql_alchemy_conn = sqlite:////nowhere/airflow.db\n")
    done = run("advise", "--no-airflow", "--json", env={"AIRFLOW_CONFIG": str(cfg), URL_VARIABLE: database.url})
    assert (done.returncode, done.stderr) == (0, "")


def test_without_any_database_the_error_names_the_three_places(tmp_path: Path) -> None:
    done = run("advise", env={"AIRFLOW_HOME": str(tmp_path)})
    assert done.returncode == 2
    for place in ("--db URL", URL_VARIABLE, f"[database] sql_alchemy_conn in {tmp_path}/airflow.cfg"):
        assert place in done.stderr


def test_the_advice_as_text(database: Database, tmp_path: Path) -> None:
    """Without a terminal: plain lines, and the picture on request."""
    picture = tmp_path / "curve.png"
    done = run("advise", "--no-airflow", "--db", database.url, "--max-workers", "4", "--png", str(picture))
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "Airflow 3.3",
        "in use now: 15 versions for 15 runs",
        "dag_14: 24 tasks",
        "inflated: 12 versions for 0 runs",
        "max_bytes    live  thawed  loaded",
        "Airflow's  100.0%",
        "AIRFLOW__DAGCACHE__MAX_BYTES=16MiB",
        "AIRFLOW__DAGCACHE__TTL=10800",
        "4 x 16MiB = 64MiB",
        "together, with one scheduler: 80.0 MiB",
        "seconds are those of another machine: --no-airflow",
    ):
        assert part in done.stdout
    assert "\x1b" not in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_advice_as_json(database: Database) -> None:
    done = run("advise", "--no-airflow", "--json", "--budgets", "1MiB,64KiB", env={URL_VARIABLE: database.url})
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert [row["max_bytes"] for row in told["curve"]] == [65_536, 2**20]
    assert told["now"]["versions"] == 15
    assert told["speed"] == {"loads": 1.0, "thaws": 1.0, "dags": 0, "problem": "--no-airflow"}
    assert told["scheduler"]["nbytes"] == 16 * 2**20


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql+psycopg2://airflow:{SECRET}@127.0.0.1:1/airflow?connect_timeout=1", "refused"),
        (f"postgresql+psycopg2://127.0.0.1:1/airflow?user=x&password={SECRET}&connect_timeout=1", "refused"),
        (f"postgresql+psycopg2://airflow:{SECRET}@127.0.0.1:port/airflow", "not understood"),
        (f"postgresql+psycopg2://airflow:p@{SECRET}@127.0.0.1/airflow", "more than one @|not understood"),
        (f"postgres://{SECRET}", "not understood"),
        (f"oracle+oracledb://airflow:{SECRET}@127.0.0.1/airflow", "is not installed"),
    ],
)
@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["", "debug"])
def test_a_database_that_cannot_be_reached_is_bad_input_without_its_password(
    url: str, said: str, debug: tuple[str, ...], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One line on stderr; with --debug, the traceback, and no password in that either."""
    assert main([*debug, "advise", "--db", url]) == 2
    shown = capsys.readouterr()
    assert ("Traceback" in shown.err) == bool(debug)
    *_, line = shown.err.splitlines()
    assert line.startswith("dagcache: ")
    assert re.search(said, line)
    assert debug or shown.err.count("\n") == 1
    assert shown.out == ""
    assert SECRET not in shown.err + caplog.text


def test_a_traceback_of_a_real_process_shows_no_password() -> None:
    """As it is printed."""
    url = f"postgresql+psycopg2://airflow:{SECRET}@127.0.0.1:1/airflow?connect_timeout=1"
    done = run("--debug", "advise", "--db", url)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE dag_version", "an Airflow 2 database"),
        ("DROP TABLE dag_run", "the table dag_run"),
        ("DELETE FROM dag_version", "expected DAG versions with a serialised DAG; found none"),
        ("UPDATE serialized_dag SET data = '{'", "none of the 1 that were read is one"),
    ],
)
def test_a_database_of_another_kind_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, said: str
) -> None:
    database = Database(tmp_path / "airflow.db")
    database.version("etl")
    database.execute(change)
    assert main(["advise", "--db", database.url]) == 2
    assert said in capsys.readouterr().err


def test_no_database_is_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It has to be named somewhere."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert main(["advise"]) == 2
    assert f"expected --db URL, {URL_VARIABLE}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--days", "0"),
        ("--days", "nan"),
        ("--days", "x"),
        ("--max-workers", "-1"),
        ("--max-workers", "10000"),
        ("--budgets", "10XB"),
        ("--budgets", "25%"),
        ("--budgets", "0"),
        ("--loop-seconds", "-1"),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_refused(
    arguments: tuple[str, str], database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the parser, which names the option."""
    with pytest.raises(SystemExit) as ended:
        main(["advise", "--db", database.url, *arguments])
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_help_ends_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    """That can be typed."""
    with pytest.raises(SystemExit):
        main(["advise", "--help"])
    assert capsys.readouterr().out.strip().splitlines()[-1] == f"example: {advise.EXAMPLE}"


class Terminal(io.StringIO):
    """A terminal to write to."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_on_a_terminal_there_is_a_table_a_plot_and_a_bar(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar at once, for this test."""
    pytest.importorskip("plotext")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", -1.0)
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["advise", "--db", database.url]) == 0
    assert "the vertical line is the recommended limit" in out.getvalue()
    assert "replay" in err.getvalue()


def test_what_takes_no_time_shows_no_bar(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal neither."""
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 1e9)
    assert main(["advise", "--db", database.url, "--json"]) == 0
    assert err.getvalue() == ""


@pytest.mark.parametrize(
    ("package", "arguments"),
    [("matplotlib.figure", ("--png", "x.png")), ("plotext", ()),
     ("rich.table", ())],
)  # fmt: skip
def test_a_missing_extra_is_named(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: str,
    arguments: Sequence[str],
) -> None:
    """In one line, with exit code 2."""
    monkeypatch.setitem(sys.modules, package, None)
    if not arguments:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["advise", "--db", database.url, *arguments]) == 2
    assert f"pip install {package.split('.')[0]}" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    """Not bad input: everything was understood."""
    drawn = drawing.Curve([1, 2], [3.0, 1.0], 2, 4.0)
    with pytest.raises(CommandError, match=r"nowhere/c\.png: No such file") as caught:
        drawing.png(drawn, tmp_path / "nowhere" / "c.png")
    assert caught.value.exit_code == 1


def test_there_is_no_picture_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A database in which nothing ran gets advice, and no curve."""
    database = Database(tmp_path / "airflow.db")
    database.version("etl")
    assert main(["advise", "--db", database.url]) == 0
    assert "no run was active in the period" in capsys.readouterr().out
    assert main(["advise", "--db", database.url, "--png", str(tmp_path / "c.png")]) == 2


def test_the_advice_says_whose_seconds_it_has(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of this machine, if its Airflow has loaded some of the DAGs."""
    assert main(["advise", "--db", database.url]) == 0
    assert "seconds are measured on this machine, with 15 of these DAGs in its Airflow" in capsys.readouterr().out


def test_what_was_left_out_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged payloads, paused DAGs, runs beyond the limit, and versions that stand for others."""
    monkeypatch.setattr("dagcache.advice.curve._MOST_VERSIONS", 2)
    monkeypatch.setattr("dagcache.advice.history.MOST_RUNS", 12)
    database = Database(tmp_path / "airflow.db")
    for number in range(16):
        database.run(f"dag_{number}", 5.0, version=database.version(f"dag_{number}"))
    database.version("broken", data="{")
    database.execute("UPDATE dag SET is_paused = 1 WHERE dag_id = 'dag_15'")
    assert main(["advise", "--db", database.url]) == 0
    told = capsys.readouterr().out
    for part in (
        "1 payloads are damaged",
        "1 running runs are left out",
        "older runs are left out",
        "stand for all",
    ):
        assert part in told


def test_both_forms_of_plotext_are_drawn_with() -> None:
    """Version 5 is a module of functions; version 6 has figures."""
    calls: list[tuple[str, tuple[Any, ...]]] = []

    class Fifth:
        """Takes every call down."""

        def __getattr__(self, name: str) -> Any:
            return lambda *arguments, **_: calls.append((name, arguments))

    drawn = drawing.Curve([2**20, 2**21], [3.0, 1.0], 2**20, 4.0)
    assert drawing._plotext_5(Fifth(), drawn, [1.0, 2.0], 80) == "None"
    assert ("plot", ([1.0, 2.0], [3.0, 1.0])) in calls
    assert ("vertical_line", (1.0,)) in calls
