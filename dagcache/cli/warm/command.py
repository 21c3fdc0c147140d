"""Shows what the warm store has on disk, or removes it.

`status` counts the records and names the parts of the fingerprint in which two generations differ. `clear` removes all
generations at once, without a question; running processes begin with an empty one. Run it as the user of Airflow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dagcache.airflow.configuration_file import airflow_home, airflow_setting
from dagcache.cli.shared.failure import CommandError, InputError
from dagcache.cli.shared.plain_text import plain
from dagcache.sizing.limits import format_bytes

if TYPE_CHECKING:
    from dagcache.warm_start.generation import Generation

HELP = "show or clear the frozen copies on disk (warm start)"
EXAMPLE = "dagcache warm status --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("action", choices=("status", "clear"), help="what to do")
    parser.add_argument("--path", type=Path, help="the directory (default: warm_start_path, else that in AIRFLOW_HOME)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(options: argparse.Namespace) -> int:
    """Do it.

    Raises:
        InputError: the directory does not exist, is not private to this user, or is not a warm store's.
        CommandError: a file cannot be read or removed.

    """
    from dagcache.warm_start.inventory import clear, inventory

    path = options.path or _configured()
    action: Callable[[Path], list[Generation]] = inventory if options.action == "status" else clear
    found = _within(path, action)
    if options.json:
        sys.stdout.write(f"{json.dumps(_facts(path, options.action, found))}\n")
    else:
        sys.stdout.writelines(f"{plain(line)}\n" for line in _lines(path, options.action, found))
    return 0


def _configured() -> Path:
    """By the environment and airflow.cfg. Airflow is not imported."""
    from dagcache.airflow.warm import FOLDER

    return Path(airflow_setting("dagcache", "warm_start_path") or airflow_home() / FOLDER)


def _within(path: Path, action: Callable[[Path], list[Generation]]) -> list[Generation]:
    from dagcache.warm_start.folder import UnsafeError
    from dagcache.warm_start.inventory import ForeignError

    try:
        return action(path)
    except FileNotFoundError:
        raise InputError(f"there is no directory {path}: no process has stored a version, or --path is wrong") from None
    except (ForeignError, UnsafeError) as error:
        raise InputError(plain(str(error))) from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None


def _facts(path: Path, action: str, found: Sequence[Generation]) -> dict[str, object]:
    generations = [
        {
            "name": each.name,
            "digest": each.digest,
            "parts": dict(each.parts),
            "records": each.records,
            "bytes": each.nbytes,
            "packs": each.packs,
            "written_at": each.written_at,
            "is_in_use": each.is_in_use,
        }
        for each in found
    ]
    return {"path": str(path), "action": action, "generations": generations}


def _lines(path: Path, action: str, found: Sequence[Generation]) -> Iterator[str]:
    from dagcache.warm_start.differences import differing_parts

    if not found:
        yield f"{path} has no records"
    for place, each in enumerate(found):
        verb = "removed " if action == "clear" else ""
        written = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(each.written_at))
        state = "in use" if each.is_in_use else "not in use"
        packs = "1 pack" if each.packs == 1 else f"{each.packs} packs"
        size = f"{each.records} records, {format_bytes(each.nbytes)} in {packs}"
        yield f"{verb}{each.name}: {size}, written at {written}, {state}"
        if place and action == "status":
            differing = ", ".join(differing_parts(found[0].parts, each.parts)) or "nothing that is described"
            yield f"  differs from the first one in: {differing}"
