"""The number of workers of an API server: they share a container's memory, and each has its own cache.

Airflow takes the number from its command line, else from ``[api] workers``. Workers inherit the command line in
``sys.argv``, forked by gunicorn or spawned by uvicorn. The command line that the system shows is of no use: Airflow
overwrites it with a title.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

_MOST = 1024  # a larger number is a typing error, and would leave each cache almost no bytes
_AIRFLOW = {"airflow", "__main__.py"}
_SERVERS = {"uvicorn", "gunicorn", "fastapi"}


def count_workers(
    configured: int,
    *,
    argv: Sequence[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    gunicorn: bool | None = None,
) -> int:
    """The API server's workers, from 1 to 1024. Never raises.

    Args:
        configured: the value of ``[api] workers``; other sources outrank it.
        argv: the command line; by default that of this process.
        environment: the variables that gunicorn and uvicorn read.
        gunicorn: whether gunicorn serves; by default, whether it runs in this process.

    """
    words = list(getattr(sys, "argv", ()) if argv is None else argv)  # missing in an embedded interpreter
    if gunicorn is None:
        gunicorn = "gunicorn.arbiter" in sys.modules
    counts = [configured, *_outranking(words, environment, gunicorn=gunicorn)]
    return min(max(1, [number for number in counts if number is not None][-1]), _MOST)


def _outranking(words: Sequence[str], environment: Mapping[str, str], *, gunicorn: bool) -> list[int | None]:
    """The numbers from other sources, the strongest last."""
    program = PurePath(words[0]).name if words else ""
    of_gunicorn = _option(_split(environment.get("GUNICORN_CMD_ARGS", ""))) if gunicorn else None
    if program in _AIRFLOW and words[1:2] == ["api-server"]:
        return [_option(words[2:]), of_gunicorn]
    if program in _SERVERS:
        return [_number(environment.get("WEB_CONCURRENCY")), of_gunicorn, _option(words[1:])]
    return []


def _option(words: Sequence[str]) -> int | None:
    """The number after ``--workers``, in any form that argparse accepts, among unknown options."""
    parser = argparse.ArgumentParser(prog="", add_help=False)
    parser.add_argument("-w", "--workers", nargs="?")  # a missing value is not an error
    return _number(parser.parse_known_args(list(words))[0].workers)


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an unclosed quote: gunicorn itself does not start
        return []
