"""Checks an installation: the hook in Airflow, settings, memory, warm start, ports, endpoints and the database.

A child process imports the same modules as a scheduler and an API server. Nothing is changed. The exit code is 1 if a
check failed, or could not be made. With --no-strict, the default on a terminal, only a failed check counts.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import IO, Any

from dagcache.cli.doctor import checks, endpoints
from dagcache.cli.doctor.checks import Check, Fact
from dagcache.cli.shared.arguments import number
from dagcache.cli.shared.endpoint import Endpoint, announced, chosen
from dagcache.cli.shared.installed import has_airflow
from dagcache.concurrency.global_lock import is_free_threaded
from dagcache.config import CacheConfig
from dagcache.own_version import own_version
from dagcache.sizing.memory import memory_limit

HELP = "check the installation: hook, settings, memory, ports, database"
EXAMPLE = "dagcache doctor --json --url http://scheduler:11780/metrics"

_DIAGNOSIS = "dagcache.airflow.diagnosis"
_PACKAGES = ("prometheus-client", "sqlalchemy")
_MOST_SECONDS = 600
_ENDING_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        help="exit with 1 also if a check could not be made (default: unless stdout is a terminal)",
    )
    parser.add_argument("--url", action="append", default=[], help="a further endpoint to query; may be repeated")
    parser.add_argument(
        "--timeout",
        type=number("seconds", most=_MOST_SECONDS),
        default=60.0,
        metavar="S",
        help="seconds to wait for Airflow (default: 60)",
    )


def main(options: argparse.Namespace) -> int:
    """Run all checks and print them. Returns 1 if one failed, or if strict, was not made.

    Raises:
        InputError: a URL is not valid.

    """
    given = chosen(options.url)
    packages = {"dagcache": own_version(), **{name: _version(name) for name in _PACKAGES}}
    found = [checks.versions(sys.version_info[:3], packages, free_threaded=is_free_threaded())]
    found += _of_airflow(given, options.timeout) if has_airflow() else _without_airflow(given)
    failed, unknown = (any(check.status == status for check in found) for status in ("failed", "unknown"))
    if options.json:
        ok = not failed and not unknown
        sys.stdout.write(json.dumps({"ok": ok, "checks": [asdict(check) for check in found]}) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for check in found for line in _lines(check))
    strict = not sys.stdout.isatty() if options.strict is None else options.strict
    return int(failed or (unknown and strict))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except Exception:  # no metadata, or damaged
        return None


def _hooks() -> list[str]:
    """The entry points named dagcache among Airflow's policies."""
    return [point.value for point in entry_points(group="airflow.policy") if point.name == "dagcache"]


def _without_airflow(given: Sequence[Endpoint]) -> list[Check]:
    config, memory = CacheConfig(), memory_limit()
    return [
        checks.no_airflow(),
        checks.memory("default", str(config.max_bytes), config.budget(), 1, memory.bytes, memory.source, memory.file),
        *_query(given, ""),
    ]


def _of_airflow(given: Sequence[Endpoint], timeout: float) -> list[Check]:
    with _spinner("querying Airflow ..."):
        facts, ending = _facts(timeout)
    found = [checks.entry_point(_hooks()), *checks.of_airflow(facts, ending)]
    settled = next((fact for fact in facts if fact.get("enabled")), None)
    if settled is not None:
        host, numbers = settled["metrics_host"], settled["metrics_ports"]
        found.append(checks.ports(host, numbers, endpoints.check_ports(host, numbers)))
    elif all(fact.get("enabled") is None for fact in facts):
        found.append(checks.unknown_ports())
    directory = "" if settled is None else settled["targets"]
    return [*found, *_query(given, directory)]


def _query(given: Sequence[Endpoint], directory: str) -> list[Check]:
    known = [*given, *(announced(Path(directory), most_files=endpoints.MOST_FILES) if directory else [])]
    asked = list(zip(known, endpoints.query_all(known), strict=True))
    return [checks.endpoints(asked, directory), checks.frozen_copies(asked)]


def _facts(timeout: float) -> tuple[list[Fact], str]:
    """The facts that the child process reports in so many seconds, and why they end early; empty: they do not."""
    # Its log is not shown: it may contain passwords.
    child = subprocess.Popen(
        [sys.executable, "-m", _DIAGNOSIS],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdout is not None
    facts: list[Fact] = []
    reader = threading.Thread(target=_read, args=(child.stdout, facts), daemon=True, name="dagcache-doctor")
    late = True
    try:
        reader.start()
        reader.join(timeout)
        late = reader.is_alive()
        if not late:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_ENDING_SECONDS)
    finally:
        with suppress(OSError):  # the child and its descendants
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        reader.join(_ENDING_SECONDS)
    if late:
        return list(facts), f"no answer within {timeout:g} s"
    return facts, "" if code == 0 else f"the process that imports it ended with exit code {code}"


def _read(lines: IO[bytes], facts: list[Fact]) -> None:
    with lines, suppress(OSError, ValueError):
        for line in lines:
            fact = json.loads(line)
            if isinstance(fact, Mapping):
                facts.append(fact)


def _lines(check: Check) -> Iterator[str]:
    yield f"{check.status:<8} {check.name}: {check.message}"
    yield from (f"{'':<8}   {detail}" for detail in check.details)
    if check.remedy and check.status != "ok":
        yield f"{'':<8} -> {check.remedy}"


@contextmanager
def _spinner(text: str) -> Iterator[None]:
    """Show on a terminal that the command is running."""
    status: Any = None
    if sys.stderr.isatty():
        with suppress(ImportError):
            from rich.console import Console

            status = Console(stderr=True).status(text)
            status.start()
    try:
        yield
    finally:
        if status is not None:
            status.stop()
