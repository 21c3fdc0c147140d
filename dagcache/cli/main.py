"""The command ``dagcache`` and its subcommands."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from dagcache.cli.advise import command as advise
from dagcache.cli.audit import command as audit
from dagcache.cli.doctor import command as doctor
from dagcache.cli.monitoring import command as monitoring
from dagcache.cli.replay import command as replay
from dagcache.cli.run import command as run
from dagcache.cli.set import command as set_
from dagcache.cli.shared.broken_pipe import discard_output
from dagcache.cli.shared.failure import CommandError
from dagcache.cli.top import command as top
from dagcache.cli.warm import command as warm
from dagcache.own_version import own_version

_COMMANDS = {
    "run": run,
    "advise": advise,
    "top": top,
    "set": set_,
    "doctor": doctor,
    "replay": replay,
    "audit": audit,
    "monitoring": monitoring,
    "warm": warm,
}
_INTERRUPTED = 128 + signal.SIGINT  # the exit code that a shell reports


def parser() -> argparse.ArgumentParser:
    """All subcommands with their options."""
    whole = argparse.ArgumentParser(prog="dagcache", description="A memory-aware cache of deserialised DAG versions.")
    whole.add_argument("--version", action="version", version=f"dagcache {own_version()}")
    whole.add_argument("--debug", action="store_true", help="show the traceback of a failure")
    commands = whole.add_subparsers(title="commands", metavar="COMMAND")
    for name, module in _COMMANDS.items():
        _add_command(commands, name, module)
    return whole


def _add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, module: ModuleType) -> None:
    command = commands.add_parser(
        name,
        help=module.HELP,
        description=module.__doc__,
        epilog=f"example: {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(command)
    command.set_defaults(main=module.main)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv``. The exit code is 0 for success, 1 for a failure, 2 for unusable input."""
    whole = parser()
    chosen = whole.parse_args(argv)
    if not hasattr(chosen, "main"):
        whole.print_help()
        return 0
    try:
        return int(chosen.main(chosen))
    except CommandError as failure:
        if chosen.debug:
            traceback.print_exc()
        sys.stderr.write(f"dagcache: {failure}\n")
        return failure.exit_code
    except BrokenPipeError:
        discard_output()
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
