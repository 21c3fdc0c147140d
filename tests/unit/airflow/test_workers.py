"""How many workers share the memory, as the servers themselves count them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.airflow.workers import count_workers

API = ["/usr/local/bin/airflow", "api-server"]
MODULE = ["/usr/lib/python3/site-packages/airflow/__main__.py", "api-server"]


def count(argv: list[str], configured: int = 1, gunicorn: bool = False, **environment: str) -> int:
    """Of a process that was started so."""
    return count_workers(configured, argv=argv, environment=environment, gunicorn=gunicorn)


@pytest.mark.parametrize("start", [API, MODULE, ["airflow", "api-server"]])
@pytest.mark.parametrize("form", [["--workers", "3"], ["--workers=3"], ["-w", "3"], ["-w3"], ["--work", "3"]])
def test_the_command_line_outranks_the_configuration(start: list[str], form: list[str]) -> None:
    """In each form that Airflow understands, wherever it stands."""
    assert count([*start, *form], configured=8) == 3
    assert count([*start, "--port", "8080", *form, "-D", "--worker-timeout", "60"], configured=8) == 3


@pytest.mark.parametrize("start", [API, MODULE])
def test_without_the_option_the_configuration_counts(start: list[str]) -> None:
    assert count([*start, "--worker-timeout", "60", "--port", "5"], configured=4) == 4


@pytest.mark.parametrize("argv", [["airflow", "triggerer", "-w", "3"], ["pytest", "-w", "3"], ["serve.py"], [""], []])
def test_other_programs_options_are_not_counted(argv: list[str]) -> None:
    """They mean something else."""
    assert count(argv, configured=2) == 2


def test_gunicorns_own_variable_outranks_airflows_command_line() -> None:
    """As Airflow hands it on; where uvicorn serves it means nothing."""
    assert count([*API, "-w", "3"], gunicorn=True, GUNICORN_CMD_ARGS="--timeout 5 --workers=6") == 6
    assert count([*API, "-w", "3"], gunicorn=True, GUNICORN_CMD_ARGS="--timeout 5") == 3
    assert count([*API, "-w", "3"], gunicorn=False, GUNICORN_CMD_ARGS="--workers=6") == 3
    assert count([*API, "-w", "3"], gunicorn=True, GUNICORN_CMD_ARGS="--workers '6") == 3
    assert count([*API, "-w", "3"], WEB_CONCURRENCY="7") == 3


def test_a_server_that_is_started_directly_is_asked_its_own_way() -> None:
    """The command line, the variables, and last the configuration."""
    uvicorn = ["/usr/local/bin/uvicorn", "airflow.api_fastapi.main:app"]
    assert count([*uvicorn, "--workers", "5"], WEB_CONCURRENCY="7") == 5
    assert count(uvicorn, WEB_CONCURRENCY="7") == 7
    assert count(uvicorn, configured=2) == 2
    gunicorn = ["gunicorn", "-k", "uvicorn.workers.UvicornWorker", "airflow.api_fastapi.main:app"]
    assert count([*gunicorn, "-w", "5"], gunicorn=True, GUNICORN_CMD_ARGS="-w 6", WEB_CONCURRENCY="7") == 5
    assert count(gunicorn, gunicorn=True, GUNICORN_CMD_ARGS="-w 6", WEB_CONCURRENCY="7") == 6
    assert count(["fastapi", "run", "--workers", "4", "main.py"]) == 4


@pytest.mark.parametrize("text", ["0", "-1", "many", "", "1e3"])
def test_there_is_at_least_one(text: str) -> None:
    """A budget is divided by it."""
    assert count([*API, f"--workers={text}"], configured=0) == 1


def test_this_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line, as workers inherit it."""
    monkeypatch.setattr(sys, "argv", [*API, "--workers", "3"])
    assert count_workers(1) == 3


@pytest.mark.parametrize("argv", [[], None])
def test_an_embedded_interpreter_has_no_command_line(argv: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a web server's module, say."""
    monkeypatch.setattr(sys, "argv", argv)
    if argv is None:
        monkeypatch.delattr(sys, "argv")
    assert count_workers(2) == 2
    assert count([*API, "-w", "3"]) == 3


@given(st.lists(st.text(max_size=10)), st.text(max_size=20), st.booleans(), st.sampled_from(["airflow", "uvicorn", ""]))
def test_no_command_line_is_an_error(words: list[str], text: str, gunicorn: bool, program: str) -> None:
    """Airflow itself has to refuse it."""
    environment = {"GUNICORN_CMD_ARGS": text, "WEB_CONCURRENCY": text}
    argv = [program, "api-server", *words]
    assert 1 <= count_workers(1, argv=argv, environment=environment, gunicorn=gunicorn) <= 1024
