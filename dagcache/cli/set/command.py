"""Changes max_bytes or ttl of running processes, without a restart.

The processes are those of this machine that this user may ask, as in `dagcache top --dags`: in a container, run the
command there. A restart takes the change back: change the configuration as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagcache.cli.shared.arguments import whole_number
from dagcache.cli.shared.failure import CommandError, InputError
from dagcache.cli.shared.plain_text import plain
from dagcache.errors import ConfigError
from dagcache.inspection import client
from dagcache.inspection.changes import SETTINGS, check

HELP = "change max_bytes or ttl of running processes, until they restart"
EXAMPLE = "dagcache set max_bytes=256MiB ttl=1h --component scheduler"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "settings", metavar="NAME=VALUE", nargs="+", help=f"a setting and its new value: {' or '.join(SETTINGS)}"
    )
    parser.add_argument("--component", help="only processes of this component, as scheduler or api_server")
    parser.add_argument("--pid", type=whole_number(1, 2**31), help="only this process")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(options: argparse.Namespace) -> int:
    """Change the settings of each process, and print its answer.

    Raises:
        InputError: a setting has no such value, or no process is found.
        CommandError: a process did not change its settings.

    """
    settings = _settings(options.settings)
    paths = [path for path in client.sockets() if _is_chosen(path, options)]
    if not paths:
        raise InputError(
            "no such process of this machine listens for changes; run this command in the container of the process, as"
            " its user or root (see the setting attribution)"
        )
    answers, faults = _change(paths, settings)
    if options.json:
        sys.stdout.write(f"{json.dumps({'changed': answers, 'failed': faults})}\n")
    else:
        sys.stdout.writelines(f"{_line(answer)}\n" for answer in answers)
        if answers:
            sys.stdout.write("A restart takes this back: change the configuration as well.\n")
    if faults:
        raise CommandError(plain("; ".join(f"{name}: {fault}" for name, fault in faults.items())))
    return 0


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
    component, _, pid = path.stem.rpartition("-")
    return options.component in (None, component) and str(options.pid or pid) == pid


def _change(paths: Sequence[Path], settings: dict[str, str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The answers, and the fault of each process that did not change its settings."""
    answers, faults = [], {}
    for path in paths:
        try:
            answer = client.change(path, settings)
        except (OSError, ValueError) as error:
            faults[path.stem] = str(error)
            continue
        if answer["error"]:
            faults[path.stem] = answer["error"]
        else:
            answers.append(answer)
    return answers, faults


def _line(answer: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in answer["settings"].items())
    return plain(f"{answer['component']}, process {answer['pid']}: {settings}")
