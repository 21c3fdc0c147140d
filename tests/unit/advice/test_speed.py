"""The speed of this machine: predicted seconds beside those of a process that loads and thaws the same DAGs."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from dagcache.advice import speed
from dagcache.advice.sizes import Size
from dagcache.advice.speed import Sample, Speed, measured

SIZE = Size(1, 1, 1, 0.5, 0.1)
SAMPLES = [Sample(json.dumps({"number": number}), SIZE) for number in range(3)]


def process(code: str) -> list[str]:
    """A process in place of the one that has Airflow."""
    return [sys.executable, "-c", code]


def answering(answer: object) -> list[str]:
    """One that prints an answer, and other bytes beside it."""
    return process(f"import sys; sys.stderr.buffer.write(b'caf\\xe9'); print({json.dumps(answer)!r})")


def test_loads_and_thaws_have_a_factor_each() -> None:
    """Measured seconds over predicted ones. A thaw displaces a graph, whose disposal counts."""
    load, thaw = SIZE.load_seconds, SIZE.thaw_seconds + SIZE.release_seconds
    answer = {"dags": [0, 1, 2], "load_seconds": 2.0 * 3 * load, "thaw_seconds": 5.0 * 3 * thaw}
    found = measured(SAMPLES, answering(answer))
    assert (found.loads, found.thaws) == pytest.approx((2.0, 5.0))
    assert (found.dags, found.problem) == (3, "")


def test_only_the_dags_that_were_timed_count() -> None:
    """A plugin's code may be missing."""
    answer = {"dags": [1], "load_seconds": SIZE.load_seconds, "thaw_seconds": 1.0}
    found = measured(SAMPLES, answering(answer))
    assert found.loads == pytest.approx(1.0)
    assert found.dags == 1


def test_the_process_gets_one_dag_a_line_and_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configuration its home is a throw-away folder: Airflow writes one where it is missing."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.delenv("AIRFLOW_CONFIG", raising=False)
    code = (
        "import json, os, sys; env = os.environ; lines = sys.stdin.read().splitlines()\n"
        "print(json.dumps({'problem': json.dumps([lines, env['AIRFLOW__DAGCACHE__MODE'], env['AIRFLOW_HOME'],\n"
        "    env['AIRFLOW__LOGGING__BASE_LOG_FOLDER'], env.get('AIRFLOW__CORE__PLUGINS_FOLDER')])}))"
    )
    monkeypatch.delenv("AIRFLOW__CORE__PLUGINS_FOLDER", raising=False)
    lines, mode, home, logs, plugins = json.loads(measured(SAMPLES, process(code)).problem)
    assert lines == [sample.text for sample in SAMPLES]
    assert mode == "off"
    assert home != str(tmp_path)
    assert not os.path.exists(home)
    assert logs.startswith(home)
    assert plugins == str(tmp_path / "plugins")
    (tmp_path / "airflow.cfg").write_text("")
    _, _, home, logs, plugins = json.loads(measured(SAMPLES, process(code)).problem)
    assert (home, plugins) == (str(tmp_path), None)
    assert not logs.startswith(home)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (process("raise SystemExit('secret')"), "ended with exit code 1"),
        (process("print('hello')"), "gave no answer"),
        (process(""), "gave no answer"),
        (process("import sys; sys.stdout.buffer.write(b'caf\\xe9')"), "gave no answer"),
        (answering([1]), "gave no answer"),
        (answering({"dags": [7], "load_seconds": 1.0, "thaw_seconds": 1.0}), "IndexError"),
        (answering({"dags": [], "load_seconds": 1.0, "thaw_seconds": 1.0}), "ZeroDivisionError"),
        (answering({"dags": [0], "load_seconds": "1"}), "TypeError"),
        (answering({"problem": "none of 3 DAGs"}), "none of 3 DAGs"),
        (["/nowhere/python"], "No such file"),
    ],
    ids=["failed", "talked", "silent", "latin-1", "a list", "no such dag", "none", "text", "told", "not there"],
)
def test_what_cannot_be_measured_is_the_speed_of_another_machine(command: list[str], problem: str) -> None:
    """With a reason that quotes no output."""
    found = measured(SAMPLES, command)
    assert (found.loads, found.thaws, found.dags) == (1.0, 1.0, 0)
    assert problem in found.problem
    assert "secret" not in found.problem


def test_text_without_a_byte_form_does_no_harm() -> None:
    """A lone surrogate has none in UTF-8."""
    assert measured([Sample("\ud800", SIZE)], answering({"problem": "read"})).problem == "read"


def test_a_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_PATIENCE", 0.1)
    assert "took longer than 0 s" in measured(SAMPLES, process("import time; time.sleep(3600)")).problem


def test_without_dags_or_a_folder_for_files_no_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a root file system that is read-only."""
    assert "too large" in measured([], ["/nowhere/python"]).problem

    def refused(**_: object) -> None:
        raise FileNotFoundError(2, "no usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refused)
    assert "no usable temporary directory" in measured(SAMPLES, answering({})).problem


def test_without_airflow_no_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "find_spec", lambda name: None)
    assert measured(SAMPLES, ["/nowhere/python"]) == Speed(problem="this environment has no Airflow")
