"""Shows what the warm store has, on disk or in a database, or removes it.

`status` counts the records and names the parts of the fingerprint in which two generations differ. `clear` removes all
generations at once, without a question; running processes begin with an empty one. By default both use the store of
the settings. On disk, run them as the user of Airflow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dagcache.airflow.configuration_file import airflow_home, airflow_setting
from dagcache.cli.shared.failure import CommandError, InputError
from dagcache.cli.shared.plain_text import plain
from dagcache.sizing.limits import format_bytes

if TYPE_CHECKING:
    from dagcache.warm_start.generation import Generation

HELP = "show or clear the frozen copies of a warm start"
EXAMPLE = "dagcache warm status --json"

_URL_VARIABLE = "AIRFLOW__DAGCACHE__WARM_START_URL"


class Content(NamedTuple):
    """The generations of a store, or those that were removed."""

    kind: str
    """``path`` for a directory, ``database`` for a database."""
    place: str
    """The directory, or the URL without its password."""
    generations: Sequence[Generation]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("action", choices=("status", "clear"), help="what to do")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--path", type=Path, help="the directory (default: warm_start_path, else that in AIRFLOW_HOME)")
    where.add_argument("--db", metavar="URL", help="the database, as a URL of SQLAlchemy (default: by the settings)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(options: argparse.Namespace) -> int:
    """Do it.

    Raises:
        InputError: the directory does not exist, is not private to this user, or is not a warm store's; the database
            is not named, or has no tables of a warm store.
        CommandError: a file or the database cannot be read, or records cannot be removed.

    """
    is_in_database = airflow_setting("dagcache", "warm_start").lower() == "database"
    if options.db or (is_in_database and not options.path):
        content = _in_database(options.db or _configured_url(), options.action)
    else:
        content = _on_disk(options.path or _configured_path(), options.action)
    if options.json:
        sys.stdout.write(f"{json.dumps(_facts(content, options.action))}\n")
    else:
        sys.stdout.writelines(f"{plain(line)}\n" for line in _lines(content, options.action))
    return 0


# ---- by the environment and airflow.cfg: Airflow is not imported ----


def _configured_path() -> Path:
    from dagcache.airflow.warm import FOLDER

    return Path(airflow_setting("dagcache", "warm_start_path") or airflow_home() / FOLDER)


def _configured_url() -> str:
    url = airflow_setting("dagcache", "warm_start_url")
    if not url and not any(airflow_setting("dagcache", f"warm_start_url_{end}") for end in ("cmd", "secret")):
        url = airflow_setting("database", "sql_alchemy_conn")
    if not url:
        raise InputError(
            f"no database: expected --db URL, {_URL_VARIABLE} in the environment, or [dagcache] warm_start_url or"
            " [database] sql_alchemy_conn in airflow.cfg; a URL from a command or a secrets backend is not read"
        )
    return url


# ---- the two kinds ----


def _on_disk(path: Path, action: str) -> Content:
    from dagcache.warm_start.folder import UnsafeError
    from dagcache.warm_start.inventory import ForeignError, clear, inventory

    try:
        return Content("path", str(path), inventory(path) if action == "status" else clear(path))
    except FileNotFoundError:
        raise InputError(f"there is no directory {path}: no process has stored a version, or --path is wrong") from None
    except (ForeignError, UnsafeError) as error:
        raise InputError(plain(str(error))) from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None


def _in_database(url: str, action: str) -> Content:
    from dagcache.database.warm.database import database_at
    from dagcache.database.warm.inventory import NoTablesError, clear, inventory
    from dagcache.errors import LoadError

    try:
        database = database_at(url)
    except LoadError as error:
        raise InputError(str(error)) from None
    try:
        with database.load_errors():
            found = (inventory if action == "status" else clear)(database, int(time.time()))
    except NoTablesError as error:
        raise InputError(plain(str(error))) from None
    except LoadError as error:
        raise CommandError(plain(str(error))) from None
    finally:
        database.close()
    return Content("database", database.name, found)


# ---- the output ----


def _facts(content: Content, action: str) -> dict[str, object]:
    generations = [
        {
            "name": each.name,
            "digest": each.digest,
            "parts": dict(each.parts),
            "records": each.records,
            "bytes": each.nbytes,
            **({"packs": each.packs} if content.kind == "path" else {}),
            "written_at": each.written_at,
            "is_in_use": each.is_in_use,
        }
        for each in content.generations
    ]
    return {content.kind: content.place, "action": action, "generations": generations}


def _lines(content: Content, action: str) -> Iterator[str]:
    from dagcache.warm_start.differences import differing_parts

    found = content.generations
    if not found:
        yield f"{content.place} has no records"
    for place, each in enumerate(found):
        verb = "removed " if action == "clear" else ""
        written = _time(each.written_at)
        state = "in use" if each.is_in_use else "not in use"
        size = f"{each.records} records, {format_bytes(each.nbytes)}"
        if content.kind == "path":
            size = f"{size} in 1 pack" if each.packs == 1 else f"{size} in {each.packs} packs"
        yield f"{verb}{each.name}: {size}, written at {written}, {state}"
        if place and action == "status":
            differing = ", ".join(differing_parts(found[0].parts, each.parts)) or "nothing that is described"
            yield f"  differs from the first one in: {differing}"


def _time(seconds: float) -> str:
    """For people. A table may have any number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):
        return "an impossible time"
