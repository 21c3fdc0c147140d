"""How many workers an API server has: they share a container's memory, and each has a cache of its own.

Airflow takes the number from its command line, else from ``[api] workers``. Workers inherit the command line in
``sys.argv``, forked by gunicorn or spawned by uvicorn; what the system shows of it, Airflow overwrites by a title.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

_MOST = 1024  # more is a typing error, and would leave a cache nothing
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
        configured: what ``[api] workers`` says; it holds where nothing outranks it.
        argv: the command line; by default this process's.
        environment: where gunicorn and uvicorn look as well.
        gunicorn: whether gunicorn serves; by default, whether it is running here.

    """
    words = list(getattr(sys, "argv", ()) if argv is None else argv)  # embedded, there may be none
    if gunicorn is None:
        gunicorn = "gunicorn.arbiter" in sys.modules
    counts = [configured, *_outranking(words, environment, gunicorn=gunicorn)]
    return min(max(1, [number for number in counts if number is not None][-1]), _MOST)


def _outranking(words: Sequence[str], environment: Mapping[str, str], *, gunicorn: bool) -> list[int | None]:
    """What else says how many, the strongest last."""
    program = PurePath(words[0]).name if words else ""
    of_gunicorn = _option(_split(environment.get("GUNICORN_CMD_ARGS", ""))) if gunicorn else None
    if program in _AIRFLOW and words[1:2] == ["api-server"]:
        return [_option(words[2:]), of_gunicorn]
    if program in _SERVERS:
        return [_number(environment.get("WEB_CONCURRENCY")), of_gunicorn, _option(words[1:])]
    return []


def _option(words: Sequence[str]) -> int | None:
    """The number after ``--workers``, in any form that argparse takes, among options that are not known here."""
    parser = argparse.ArgumentParser(prog="", add_help=False)
    parser.add_argument("-w", "--workers", nargs="?")  # so that nothing is an error
    return _number(parser.parse_known_args(list(words))[0].workers)


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an open quotation mark: gunicorn itself does not start
        return []
