"""The command ``dagcache``: finds the subcommand and runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dagcache.cli import run
from dagcache.cli.failure import CommandError

_COMMANDS = {"run": run}


def parser() -> argparse.ArgumentParser:
    """All subcommands with their options."""
    top = argparse.ArgumentParser(prog="dagcache", description="A memory-aware cache of deserialised DAG versions.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run what ``argv`` says and return the exit code: 0 well, 1 failed, 2 not understood (argparse's own exit)."""
    top = parser()
    chosen = top.parse_args(argv)
    if not hasattr(chosen, "main"):
        top.print_help()
        return 0
    try:
        return int(chosen.main(chosen))
    except CommandError as failure:
        sys.stderr.write(f"dagcache: {failure}\n")
        return 1
