"""Changes max_bytes or ttl of running processes, without a restart.

The processes are those of this user on this machine, as in `dagcache top --dags`: in a container, run the command
there. Root changes processes of other users with --pid or --all-users. A restart restores the configured values:
change the configuration as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dagcache.cli.shared.answers import answers_of
from dagcache.cli.shared.arguments import whole_number
from dagcache.cli.shared.failure import CommandError, InputError
from dagcache.cli.shared.plain_text import plain
from dagcache.errors import ConfigError
from dagcache.inspection import client
from dagcache.inspection.changes import OF_ZERO, SETTINGS, check

_PATIENCE = 31.0  # seconds for all processes: a client gives up earlier
_LATE = "it did not answer in 30 s, and will not change"

HELP = "change max_bytes or ttl of running processes, until they restart"
EXAMPLE = "dagcache set max_bytes=256MiB ttl=1h --component scheduler"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "settings", metavar="NAME=VALUE", nargs="+", help=f"a setting and its new value: {' or '.join(SETTINGS)}"
    )
    parser.add_argument("--component", help="only processes of this component: scheduler or api_server")
    parser.add_argument("--pid", type=whole_number(1, 2**31), help="only this process")
    parser.add_argument(
        "--all-users", action="store_true", help="for root: processes of all users, not only those of root"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(options: argparse.Namespace) -> int:
    """Change the settings of each process, and print its answer.

    Raises:
        InputError: a setting has no such value, or no process is found.
        CommandError: a process did not change its settings.

    """
    settings = _settings(options.settings)
    chosen = [path for path in client.sockets() if _is_chosen(path, options)]
    allowed = [path for path in chosen if options.all_users or options.pid or _is_own(path)]
    change = partial(_change, settings=settings)
    answers, faults = answers_of(allowed, change, seconds=_PATIENCE, late=_LATE, thread="dagcache-set")
    if not answers and not faults:
        raise InputError(_none_found(others=len(chosen) - len(allowed)))
    if options.json:
        sys.stdout.write(f"{json.dumps({'changed': answers, 'failed': faults})}\n")
    else:
        sys.stdout.writelines(f"{_line(answer)}\n" for answer in answers)
        if answers:
            sys.stdout.write("A restart restores the configured values: change the configuration as well.\n")
    if faults:
        raise CommandError(plain("; ".join(f"{name}: {fault}" for name, fault in faults.items())))
    return 0


def _none_found(others: int) -> str:
    text = (
        "no such process of this machine listens for changes; run this command in the container of the process, as its"
        " user or root (see the setting attribution)"
    )
    return f"{text}; processes of other users: {others}, choose them by --pid or --all-users" if others else text


def _settings(texts: Sequence[str]) -> dict[str, str]:
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{text!r} is not NAME=VALUE")
        settings[name.strip().lower()] = value.strip()
    try:
        check(settings)
    except ConfigError as error:
        raise InputError(str(error)) from None
    return settings


def _is_chosen(path: Path, options: argparse.Namespace) -> bool:
    wanted = options.component and options.component.lower().replace("-", "_")
    return wanted in (None, client.component_of(path)) and options.pid in (None, client.process_of(path))


def _is_own(path: Path) -> bool:
    """Whether the socket is in a folder of this user. Root finds those of all users."""
    return path.parent.stat().st_uid == os.geteuid()


def _change(path: Path, settings: dict[str, str]) -> dict[str, Any]:
    """The answer of a process.

    Raises:
        ValueError: it did not change its settings.
        OSError: it did not answer.

    """
    try:
        answer = client.change(path, settings)
    except TimeoutError:
        raise OSError(_LATE) from None
    if answer["error"]:
        raise ValueError(answer["error"])
    return answer


def _line(answer: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} = {value}{_meaning(name, value)}" for name, value in answer["settings"].items())
    note = f" ({answer['note']})" if answer["note"] else ""
    return plain(f"{answer['component']}, process {answer['pid']}: {settings}{note}")


def _meaning(name: str, value: str) -> str:
    return f" ({OF_ZERO[name]})" if value == "0" and name in OF_ZERO else ""
