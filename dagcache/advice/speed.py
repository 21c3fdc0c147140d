"""The speed of this machine: the time that its own Airflow and this cache take to load and to thaw some of the DAGs.

Predicted seconds are those of one machine, Python and Airflow. The time of a load over that of a thaw differs from
machine to machine, and both depend on the memory as much as on the processor. So they are measured, with the DAGs that
they are predicted for. Airflow works in a process of its own, and sees no database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

from dagcache.advice.sizes import Size
from dagcache.airflow.configuration_file import airflow_cfg, airflow_home

_CODE = """
import sys
sys.path[:] = sys.argv[1:]
from dagcache.airflow.load_timing import main
sys.exit(main())
"""
_PATIENCE = 120.0
"""Seconds for the process, in which importing Airflow takes most of the time."""

_PROCESS = "the process that times them with Airflow"


class Sample(NamedTuple):
    """A DAG to be timed."""

    text: str
    """Its serialised form, JSON."""
    size: Size
    """With the seconds of the machine of the measurements."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds on this machine over the predicted ones."""

    loads: float = 1.0
    thaws: float = 1.0
    """Also of disposals."""
    dags: int = 0
    """The number of DAGs that were timed. 0: none, and all seconds are those of another machine."""
    problem: str = ""
    """Why none was timed."""


class _NotTimedError(Exception):
    """No DAG was timed; the message says why."""


def measured(samples: Sequence[Sample], command: Sequence[str] = ()) -> Speed:
    """Have this environment's Airflow load and thaw DAGs. Takes some five seconds; never raises an Exception.

    ``command``: a process that answers as `dagcache.airflow.load_timing`, in its place.
    """
    try:
        if not samples:
            raise _NotTimedError("every DAG in use is too large to be timed, or damaged")
        return _compared(samples, _timed([sample.text for sample in samples], command))
    except _NotTimedError as error:
        return Speed(problem=str(error))


def _compared(samples: Sequence[Sample], timed: Mapping[str, Any]) -> Speed:
    try:
        sizes = [samples[number].size for number in timed["dags"]]
        loads = timed["load_seconds"] / sum(size.load_seconds for size in sizes)
        thaws = timed["thaw_seconds"] / sum(size.thaw_seconds + size.release_seconds for size in sizes)
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise _NotTimedError(f"{_PROCESS} gave an answer of another kind ({type(error).__name__})") from None
    return Speed(loads, thaws, len(sizes))


def _timed(texts: Iterable[str], command: Sequence[str]) -> dict[str, Any]:
    if find_spec("airflow") is None:
        raise _NotTimedError("this environment has no Airflow")
    try:
        with tempfile.TemporaryDirectory(prefix="dagcache-advise-", ignore_cleanup_errors=True) as scratch:
            done = subprocess.run(
                command or _command(),
                input="\n".join(texts).encode(errors="replace"),
                env=_environment(scratch),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it may quote a secret
                timeout=_PATIENCE,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise _NotTimedError(f"{_PROCESS} took longer than {_PATIENCE:.0f} s") from None
    except OSError as error:
        raise _NotTimedError(f"could not start {_PROCESS}: {error.strerror}") from None
    if done.returncode:
        raise _NotTimedError(f"{_PROCESS} ended with exit code {done.returncode}")
    return _answer(done.stdout)


def _command() -> list[str]:
    """The process finds modules where this one does: ``-m`` would look in the working directory first."""
    return [sys.executable, "-I", "-c", _CODE, *sys.path]


def _answer(output: bytes) -> dict[str, Any]:
    try:
        found = json.loads(output)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _NotTimedError(f"{_PROCESS} gave no answer")
    if "problem" in found:
        raise _NotTimedError(str(found["problem"]))
    return found


def _environment(scratch: str) -> dict[str, str]:
    """That of this process, without the cache, and with a folder for the files that Airflow writes when it starts."""
    env = {**os.environ, "AIRFLOW__DAGCACHE__MODE": "off", "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{scratch}/logs"}
    if airflow_cfg().exists():
        return env
    env.setdefault("AIRFLOW__CORE__PLUGINS_FOLDER", str(airflow_home() / "plugins"))
    return {**env, "AIRFLOW_HOME": scratch, "AIRFLOW_CONFIG": f"{scratch}/airflow.cfg"}
