"""``airflow dagcache ...``: the command line of dagcache among Airflow's commands."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module

import pytest

from dagcache.airflow import commands
from dagcache.airflow.provider_info import get_provider_info


def test_the_provider_names_a_function_that_exists() -> None:
    """Airflow imports it by that name."""
    (name,) = get_provider_info()["cli"]
    module, _, function = name.rpartition(".")
    assert getattr(import_module(module), function) is commands.get_commands


def test_the_arguments_and_the_exit_code_pass_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.run(argparse.Namespace(arguments=["set", "mode=off"]))
    assert ended.value.code == 2
    assert "mode" in capsys.readouterr().err


def test_the_module_needs_the_standard_library_only() -> None:
    """Airflow imports it in each of its commands."""
    code = (
        "import sys; import dagcache.airflow.commands; "
        "print({name.partition('.')[0] for name in sys.modules} & {'airflow', 'sqlalchemy', 'prometheus_client'},"
        " 'dagcache.cli' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() False\n"
