"""``airflow dagcache ...``: the command line ``dagcache``, where Airflow lets providers add commands (3.2 and later).

Airflow imports this module in each of its own commands. It therefore imports the standard library only.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import entry_points
from typing import Any

_HELP = "The cache of deserialised DAG versions: top, set, doctor, advise and others"


def get_commands() -> list[Any]:
    """The command, as Airflow's command line has them."""
    from airflow.cli.cli_config import ActionCommand, Arg

    rest = Arg(("arguments",), nargs=argparse.REMAINDER, metavar="COMMAND ...", help="As for dagcache; none: its help")
    return [ActionCommand(name="dagcache", help=_HELP, func=run, args=(rest,))]


def run(parsed: argparse.Namespace) -> None:
    """Run the installed command ``dagcache`` with the arguments behind it.

    Raises:
        SystemExit: always, with the exit code of the command.

    """
    (command,) = entry_points(group="console_scripts", name="dagcache")
    sys.exit(command.load()(parsed.arguments))
