"""Answers of this machine's processes, all asked at the same time. One that gives none is a fault line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dagcache.concurrency.time_limit import results_within

Answers = tuple[list[dict[str, Any]], dict[str, str]]
"""The answers, and the fault of each process that gave none, by its name."""


def answers_of(
    paths: Sequence[Path], ask: Callable[[Path], dict[str, Any]], *, seconds: float, late: str, thread: str
) -> Answers:
    """Ask the processes behind some sockets. The socket of a killed process does not count.

    ``ask``: returns an answer that is not empty; the text of its error is the fault.
    ``seconds``: for all processes. ``late``: the fault of one that has not answered by then.
    ``thread``: the name of the threads.
    """
    calls = [partial(_answer, ask, path) for path in paths]
    none_yet: tuple[dict[str, Any], str] = {}, late
    answers, faults = [], {}
    for path, (answer, fault) in zip(paths, results_within(seconds, calls, none_yet, thread), strict=True):
        if fault:
            faults[path.stem] = fault
        elif answer:
            answers.append(answer)
    return answers, faults


def _answer(ask: Callable[[Path], dict[str, Any]], path: Path) -> tuple[dict[str, Any], str]:
    try:
        return ask(path), ""
    except (ConnectionRefusedError, FileNotFoundError):  # the process was killed, or has just ended
        return {}, ""
    except Exception as error:
        return {}, (str(error) or type(error).__name__).removeprefix(f"{path.name}: ")
